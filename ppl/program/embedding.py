"""Embedding a program in the user's own nopython code: serial functions, workspaces, flat vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ppl.arguments import MANY, choice, fits_memory, integer
from ppl.c_export.function import CFunction, make_c_function
from ppl.c_export.header import describe_c_function
from ppl.compiler.pipeline import VIOLATIONS_PREFIX
from ppl.compiler.surrogate.guards import OUT_OF_RANGE
from ppl.errors import ModelError
from ppl.names import Named
from ppl.program.draws import drawable_sites
from ppl.runtime.buffers import aligned_zeros
from ppl.runtime.executable import Executable
from ppl.runtime.prepared import PreparedProgram
from ppl.runtime.state import State

MAX_ROWS = 2**40
"""More rows than memory holds."""

FUNCTION_KINDS = ("gradient", "value", "sample")

CACHE_LINE_BYTES = 64
"""Bytes of a cache line."""


def _stack_workspaces(part: np.ndarray, n: int) -> np.ndarray:
    """`n` copies of a workspace's part as rows that are whole cache lines."""
    line = CACHE_LINE_BYTES // part.itemsize
    with fits_memory(f"{n} workspaces of {part.nbytes} bytes"):
        rows = aligned_zeros(n * (-(-part.size // line) * line), part.dtype.type).reshape(n, -1)
    rows[:, : part.size] = part
    return rows


class Embedding(PreparedProgram):
    """The part of a Program that users call from their own `@njit` code."""

    @property
    def njit(self) -> Any:
        """`fn(params, grad, aux, hyper, seed, step, row0, scale, work, *data) -> loss`, serial, for nopython code.

        Parameters
        ----------
        params, grad, aux, hyper : flat vectors, see `arrays`. `grad` is overwritten, `aux` (baselines, η) updated.
        seed, step : what the noise is made from, besides node and row.
        row0 : dataset row of the first row given; rows are consecutive.
        scale : N/B, rows of the data set over rows given (1.0 for all of them, or without data).
        work : `workspace(rows)`, one per thread. Pass it to your function as an argument: Numba freezes arrays that
            a function takes from outside.
        data : C-contiguous arrays of the program's dtype (int64, bool) in the order of the model's arguments.
        """
        return self._embedded("gradient").njit

    @property
    def njit_value(self) -> Any:
        """Like `njit`, with true nodes; `grad` is not written. Its workspace is `workspace(rows, "value")`."""
        return self._embedded("value").njit

    @property
    def njit_sample(self) -> Any:
        """`fn(params, out, aux, hyper, seed, step, row0, scale, work, *data)`: draws every site into flat `out`.

        `out` comes from `sample_buffer(rows)`, the workspace from `workspace(rows, "sample")`.
        """
        return self._embedded("sample").njit

    def njit_debug(self, kind: str = "gradient") -> Any:
        """`njit` ("gradient"), `njit_value` ("value") or `njit_sample` ("sample") behind checks of its arguments.

        It takes the same arguments, and raises a DataError where a vector, a workspace or data are of the wrong length;
        `njit` itself trusts its caller.
        """
        choice("njit_debug: kind", kind, FUNCTION_KINDS)
        return self._embedded(kind).module.njit_debug

    def _embedded(self, kind: str) -> Executable:
        """What users' code calls.

        Raises
        ------
        ModelError : the program is not for the CPU.
        """
        compiled = self.prepare()
        if compiled.target.resident:
            raise ModelError(
                f"a program for target {compiled.target.name!r} has no function for compiled code on the CPU: "
                'compile it with target="cpu"'
            )
        return self._sampler() if kind == "sample" else compiled.executable(kind)

    def sample_buffer(self, rows: int = 1) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """A flat vector for `njit_sample` on `rows` rows, and views of it by site (integers as int64)."""
        rows = integer("sample_buffer: rows", rows, 1, MAX_ROWS)
        sampler = self._embedded("sample")
        with fits_memory(f"sample_buffer for {rows} rows and {self.settings.particles} particles"):
            out = np.zeros(sampler.out_size(rows, self.settings.particles), self.settings.dtype)
        views = sampler.views(out, rows, self.settings.particles)
        return out, Named("site", {name: view for name, view in views.items() if name != OUT_OF_RANGE})

    def cfunc(self, kind: str = "gradient") -> CFunction:
        """The program as a C function: `.address`, `.ctypes`, `.signature`, `.header(path)`, `.work_len(*rows)`.

        It returns 0, or a status: 1 a user's function raised an exception, 2 a parameter is out of range, 3 the
        workspace is too short, 4 a result is not finite. It raises and allocates nothing. `header` documents it.

        Parameters
        ----------
        kind : "gradient" (as `njit`), "value" (as `njit_value`) or "sample" (as `njit_sample`).

        Raises
        ------
        ModelError
            The program calls a Python function (`ppl.external(python=True)`), or its target is not the CPU.
        """
        choice("cfunc: kind", kind, FUNCTION_KINDS)
        compiled = self.prepare()

        def make() -> CFunction:
            executable = self._sampler() if kind == "sample" else compiled.executable(kind)
            checks = None if kind == "sample" else compiled.executable(VIOLATIONS_PREFIX + kind)
            return make_c_function(self, kind, executable, checks, describe_c_function(compiled, executable, kind))

        return compiled.get_or_make(CFunction, kind, make)

    def _sampler(self) -> Any:
        compiled = self.prepare()
        return compiled.executable("sample", drawable_sites(compiled.trace))

    def workspace(self, rows: int = 1, kind: str = "gradient") -> Any:
        """Scratch memory for `njit` on up to `rows` rows; one per thread, owned by the caller.

        `kind` says for which function: "gradient" (`njit`), "value" (`njit_value`) or "sample" (`njit_sample`).
        """
        choice("workspace: kind", kind, FUNCTION_KINDS)
        rows = integer("workspace: rows", rows, 1, MAX_ROWS)
        return self._embedded(kind).workspace(rows, self.settings.particles)

    def workspaces(self, n: int, rows: int = 1, kind: str = "gradient") -> tuple[np.ndarray, np.ndarray]:
        """`n` workspaces, one for each iteration of a `prange`: arrays of shapes (n, floats) and (n, ints).

        Iteration `k` passes ``(floats[k], ints[k])`` as `work`. Each row begins at a cache line. `rows` and `kind` are
        those of `workspace`.
        """
        n = integer("workspaces: n", n, 1, MANY)
        return tuple(_stack_workspaces(part, n) for part in self.workspace(rows, kind))  # type: ignore[return-value]

    def arrays(self, state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(params, grad, aux, hyper): fresh flat vectors in the layout that the njit functions read and write."""
        compiled = self._of(state)
        compiled.check_state(state)
        hyper = compiled.hyper_vector(None, state.step).copy()
        return state._flat.copy(), np.zeros_like(state._flat), state._aux.copy(), hyper
