"""A program as a C function: an address that C and C++ call, without the interpreter.

The function is a few instructions around `c_entry` of the emitted module. Where that says that a result is not finite,
a second program looks whether a parameter was out of range, which a status of its own tells."""

from __future__ import annotations

import ctypes
import os
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.arguments import text
from ppl.c_export.header import CDescription, header_text, prototype, require_identifier
from ppl.compiler.schedule.stages import all_steps
from ppl.errors import DataError, ModelError
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.runtime.executable import Executable

FIXED_ARGUMENTS = ("params", "grad", "aux", "hyper", "seed", "step", "row0", "scale", "work", "work_len")

ONE_ROW = 1

_kept_alive: list[Any] = []
"""What holds machine code and constants whose addresses were given away: nobody knows who calls them."""


@dataclass(frozen=True, eq=False)
class CFunction:
    """A program as a C function.

    Attributes
    ----------
    address : where it begins, valid until the process ends. It may be called by any thread, with or without the GIL;
        calls that run at the same time need workspaces (and `grad`, `aux`, `loss`) of their own.
    signature : its prototype in C.
    kind : "gradient", "value" or "sample".
    """

    address: int
    kind: str
    described: CDescription
    program: Any = field(repr=False)

    @property
    def signature(self) -> str:
        """The prototype."""
        return prototype(self.described, "function")

    @property
    def ctypes(self) -> Any:
        """The function for `ctypes`, which releases the GIL while it runs; arrays are passed as their addresses."""
        pointer, whole = ctypes.c_void_p, ctypes.c_int64
        fixed: list[Any] = [pointer] * 4 + [ctypes.c_uint64, whole, whole, ctypes.c_double, pointer, whole]
        rows, data = [whole] * len(self.described.plates), [pointer] * len(self.described.data)
        kind = ctypes.CFUNCTYPE(ctypes.c_int32, *fixed, *rows, *data, ctypes.POINTER(ctypes.c_double))
        return kind(self.address)

    def work_len(self, *rows: int) -> int:
        """Bytes of a workspace for these numbers of rows, one for each run-time plate.

        Raises
        ------
        DataError
            There are more or fewer plates, or a number of rows is below 1.
        """
        plates = self.described.plates
        if len(rows) != len(plates):
            raise DataError(f"work_len takes {len(plates)} numbers of rows ({', '.join(plates)}), not {len(rows)}")
        needed = ctypes.c_double()
        self.ctypes(*[None] * 4, 0, 0, 0, 1.0, None, 0, *rows, *[None] * len(self.described.data), ctypes.byref(needed))
        if needed.value == 0:
            raise DataError(f"work_len: {rows} are no numbers of rows")
        return int(needed.value)

    def header(self, path: str | os.PathLike[str], name: str | None = None) -> Path:
        """Write a header for C11 and C++17 that declares the function's type and documents its arguments.

        Parameters
        ----------
        path : the file, which is written over.
        name : what all its names begin with, a C identifier; by default that of the file.

        Raises
        ------
        DataError
            `name` is no identifier of C.
        """
        file = Path(path)
        chosen = file.stem if name is None else text("header: name", name)
        require_identifier(chosen)
        file.write_text(header_text(self.described, chosen), encoding="utf-8")
        return file

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, (self.program, self.kind)


def restored(program: Any, kind: str) -> CFunction:
    """Return the function that a pickle describes."""
    found: CFunction = program.cfunc(kind)
    return found


def make_c_function(
    program: Any, kind: str, executable: Executable, checks: Executable | None, described: CDescription
) -> CFunction:
    """The C function of an executable; `checks` is the program that looks for parameters out of range.

    Raises
    ------
    ModelError
        The program calls Python, or there is no compiler.
    """
    from ppl.kernels.cpu.entry_points import c_entry_function  # imports Numba

    nodes = [getattr(step, "node", None) for stage in executable.stages for step in all_steps(stage)]
    for fn in (node.attrs["fn"] for node in nodes if node is not None and node.op == "external"):
        if getattr(fn, "python", False):
            raise ModelError(f"cfunc: '{fn.name}' is a Python function (python=True), which a C function cannot call")
    if not hasattr(executable.module, "c_entry"):
        raise ModelError(f"cfunc: a program for target {described.target!r} is no C function")
    entries = [
        (e.module.c_entry, workspace_constants(e, described.particles)) for e in (executable, checks) if e is not None
    ]
    plates, data = len(described.plates), len(described.data)
    held, address = c_entry_function(f"ppl_{kind}", entries, plates, data)
    _kept_alive.append((held, entries, executable, checks))
    return CFunction(address, kind, described, program)


def workspace_constants(executable: Executable, particles: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The header of a workspace for one row, and the constants of both of its parts."""
    _, whole = executable.workspace(ONE_ROW, particles)
    header = whole[: len(executable.memory.header)].copy()
    consts = executable.memory.consts
    return header, consts["w"].astype(executable.float), consts["v"].astype(np.int64)
