"""The accounts of a CUDA program's call: launches, bytes and operations, from what was emitted; nothing is run."""

from __future__ import annotations

from collections.abc import Mapping

from ppl.compiler.emit.assemble import assemble
from ppl.compiler.emit.cuda.accounts import Accounts, account
from ppl.compiler.emit.cuda.traffic import Sized
from ppl.runtime.emitted import Emitted

CACHE = 40e6
"""Bytes that the blocks of a device hold together: the second-level cache of an A100."""


def accounts_of(executable: Emitted, rows: int | Mapping[str, int] = 1, particles: int = 1, cache: float = CACHE
                ) -> Accounts:  # fmt: skip
    """What a call moves and computes.

    Parameters
    ----------
    executable : a program emitted for CUDA
    rows : rows of all plates, or of each by its name
    particles : particles of a call
    cache : bytes that the blocks of the device hold together
    """
    unit = assemble(executable.request, executable.dtype, executable.target)[1].unit
    given = dict(rows) if isinstance(rows, Mapping) else dict.fromkeys(executable.plate_names, rows)
    sizes = executable._sizes(given, particles, 1)
    slabs = executable._slabs(sizes)
    full = executable.laid_out(sizes, slabs)
    floats, ints = (executable.extent(array, full, slabs, slabs) for array in "wv")
    at = Sized(unit, full, slabs)
    return account(at, cache, float(floats * at.itemsize + ints * 8))
