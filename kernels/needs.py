"""What compiled code needs in another process before it is loaded, and what it must agree with.

Machine code refers to symbols: kernels of other functions (`ppl.kernels.symbols`), what a module registers when it is
imported, Numba's threads. Numba hands functions that prepare a load (`reload_init`) from callees to callers and stores
them with machine code, a user's own ``@njit(cache=True)`` functions included. A `Need` is such a function. It also
carries the version of what it was compiled from: where that has changed, reading it fails with `OSError`, which Numba
takes for a missing file, and the caller is compiled again.

Numba forgets these functions when it loads a callee, so that a caller compiled afterwards would lack them in the
next process. `ppl.kernels.internals.remember_needs` mends that.
"""

from __future__ import annotations

import importlib
import sys
import weakref
from typing import Any, NamedTuple

from ppl.kernels.build import build

EMITTED, PRIVATE = "ppl_program_", "ppl_private_"
"""How names of emitted modules begin; what calls a private one is of no use to another process."""

shared_kernels: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
"""Kernels that are reached by symbol, by symbol."""


class Need(NamedTuple):
    """A module that has to be there, in one version, and a kernel whose symbol has to be known, if any."""

    module: str
    version: str
    symbol: str = ""

    def __call__(self) -> None:
        """Make the symbol known."""
        if self.symbol:
            shared_kernels[self.symbol].register()

    def __reduce__(self) -> tuple[Any, ...]:
        return restore, tuple(self)


def restore(*fields: str) -> Need:
    """A `Need` as it is read from disk: its module is imported and compared.

    Files of users' own caches contain the name of this function, whatever version wrote them.

    Raises
    ------
    OSError
        The module is missing or another one, and so machine code that contains it is stale.
    """
    if len(fields) != 3 or fields[1] != build():
        raise OSError(f"compiled with another version of {fields[:1]}")
    module, version, symbol = fields
    if module not in sys.modules:
        if module.startswith((EMITTED, PRIVATE)):
            raise OSError(f"compiled with {module}, which is not loaded")
        try:
            importlib.import_module(module)
        except Exception as error:
            raise OSError(f"compiled with {module}, which cannot be imported") from error
    if symbol and symbol not in shared_kernels:
        raise OSError(f"compiled with {symbol}, which is not there")
    return Need(module, version, symbol)
