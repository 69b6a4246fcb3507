"""The second printer of emitted functions: LLVM code for the CPU.

The Python text of a module is what readers see, and what Numba compiles wherever this printer refuses. The printer
walks through the same records once and writes LLVM code, so that no bytecode is read and no types are inferred
(`ppl.kernels.internals.lowering`). What it writes computes what the text says, but for an index below 0, which emitted
code does not contain. Its modules are imported when a function is compiled, not when a program is emitted."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from ppl.compiler.emit.code import Function
from ppl.records import dataclass

FORMS = ("jit", "shared")
"""The forms of functions that the printer takes."""


@functools.cache
def version() -> str:
    """A hash of this folder's files: machine code depends on them."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.blake2b(b"".join(path.read_bytes() for path in files), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes the LLVM code of one function of a program in `dtype`."""

    function: Function
    dtype: str

    def result(self) -> Any:
        """The type of its result, as far as it can be seen at once."""
        from ppl.compiler.emit.llvm.functions import guess_result_type

        return guess_result_type(self.function, self.dtype)

    def write(self, frame: Any) -> None:
        """Write the code into `frame`."""
        from ppl.compiler.emit.llvm.functions import FunctionWriter

        FunctionWriter(self.function, frame).write()
