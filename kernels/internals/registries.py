"""What Numba knows of the functions of Python and NumPy: loaded for functions that Numba itself compiles.

Numba loads all of it before it compiles a function or reads machine code, which takes longer than reading that of a
program. Machine code needs none of it, and functions with a writer (`ppl.kernels.internals.lowering`) need little.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from numba.core.compiler import CompilerBase
from numba.core.cpu import CPUContext
from numba.core.runtime import rtsys

_few: ContextVar[bool] = ContextVar("few", default=False)


@contextlib.contextmanager
def few_registries(few: bool = True) -> Iterator[None]:
    """Inside, contexts of Numba load numbers and tuples only, and what has been imported anyway; all if not `few`."""
    token = _few.set(few)
    try:
        yield
    finally:
        _few.reset(token)


all_registries = functools.partial(few_registries, few=False)
"""Inside, contexts of Numba load all that they know of."""


def ready_to_load(target_context: Any) -> None:
    """Make known what machine code calls of Numba's runtime.

    Relies on: all else that Numba's own cache asks for, `refresh`, is for compiling, which asks for it itself. Machine
    code of what Numba types may need more, such as the seeds of its hashes.
    """
    rtsys.initialize(target_context)


def load_few() -> None:
    """Patch: contexts load few registries where they are told so; compilers that are not `frugal` load all.

    Relies on `refresh`, which asks for registries each time, and adds what it has not seen before.
    """
    load, begin = CPUContext.load_additional_registries, CompilerBase.__init__
    if hasattr(load, "may_be_few"):
        return

    def load_additional_registries(context: Any) -> None:
        if not _few.get():
            load(context)
            return
        from numba.cpython import builtins, numbers, tupleobj  # noqa: F401

        rtsys.initialize(context)

    def __init__(compiler: Any, *arguments: Any, **named: Any) -> None:
        with few_registries(getattr(compiler, "frugal", False)):
            begin(compiler, *arguments, **named)

    vars(load_additional_registries)["may_be_few"] = True
    CPUContext.load_additional_registries = load_additional_registries
    CompilerBase.__init__ = __init__
