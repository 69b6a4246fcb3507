"""A compiled log-density at given data, as samplers call it: by its address, from any number of threads."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ppl.arguments import fits_memory
from ppl.errors import ModelError, NonFiniteError, ParameterError
from ppl.ir.node import topological
from ppl.program.c_description import described
from ppl.program.c_function import CFunction, constants_of
from ppl.runtime.call import BoundCall
from ppl.runtime.executable import Executable, compile_request
from ppl.sampling.density import PREFIX

LINE, WORD = 64, 8
"""Bytes of a cache line, and of a word."""
CALL = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, *[ctypes.c_void_p] * 4)


class Walk:
    """The log-density of reals given the data of a bound call, for up to `threads` callers at a time.

    Attributes
    ----------
    size : how many reals there are: the first entries of the parameter vector.
    logp, keep : addresses of C functions, of the log-density with its gradient, and of what keeps a draw.
    """

    def __init__(self, bound: BoundCall, threads: int):
        from ppl.kernels.cpu import density, from_c  # imports Numba

        compiled, arrays = bound.compiled, bound.data.arrays
        shapes = compiled.layout.shapes
        self.bound, self.start = bound, bound.state._flat.copy()
        self.size = sum(math.prod(s) for name, s in shapes if name.startswith(f"{PREFIX}/"))
        assert all(name.startswith(f"{PREFIX}/") for name, _ in shapes[: _leading(shapes)]), "they are the first"
        self.executable = _only_reals(bound)
        _require_plain(self.executable)
        entry = self.executable.module.c_entry, constants_of(self.executable, 1)
        told = described(compiled, self.executable, "gradient")
        held, address = from_c.compiled("ppl_density", [entry], len(told.plates), len(arrays))
        rows = [bound.data.rows[plate] for plate in told.plates]
        work_bytes = CFunction(address, "gradient", told, None).work_len(*rows)
        self.hypers = np.ascontiguousarray(bound.hypers)
        self.failed, self.counter = np.zeros(self.size + 1, np.int64), np.zeros(1, np.int64)
        places = self._places(threads, work_bytes)
        middle = [0, self.hypers.ctypes.data, bound.seed, 0, 0]
        last = [*rows, *(x.ctypes.data for x in arrays)]
        logp, self.logp = density.log_density(entry, self.size, density.Places(**places), middle, last)
        keep, self.keep = density.kept_draw(self.size, self.counter.ctypes.data)
        self._held = held, logp, keep, entry, arrays
        self._call = CALL(self.logp)

    def _places(self, threads: int, work_bytes: int) -> dict[str, int]:
        """Memory for so many calls at a time."""
        vector = _lines(self.start.nbytes)
        parts = {"params": LINE, "grad": LINE + vector, "work": LINE + 2 * vector}
        stride = LINE + 2 * vector + _lines(work_bytes)
        with fits_memory(f"{threads} workspaces of {stride} bytes"):
            self._memory = np.zeros(threads * stride + LINE, np.uint8)
        at = _lines(self._memory.ctypes.data)
        first = at - self._memory.ctypes.data
        for i in range(threads):
            params = self._memory[first + i * stride + LINE :][: self.start.nbytes]
            params[:] = self.start.view(np.uint8)
        failed = self.failed.ctypes.data
        return dict(at=at, count=threads, stride=stride, **parts, work_bytes=work_bytes, failed=failed)

    def value(self, reals: np.ndarray) -> tuple[int, float, np.ndarray]:
        """The status (0 is success), the log-density and its gradient at a point."""
        point = np.ascontiguousarray(reals, np.float64)
        gradient, logp = np.empty(self.size), np.empty(1)
        status = self._call(self.size, point.ctypes.data, gradient.ctypes.data, logp.ctypes.data, None)
        return status, float(logp[0]), gradient

    def params(self, reals: np.ndarray) -> np.ndarray:
        """The whole parameter vector at a point."""
        return np.concatenate([reals, self.start[self.size :]])

    def named(self, reals: np.ndarray) -> dict[str, np.ndarray]:
        """Reals of shape (..., reals) by latent, each of shape (..., reals of the latent)."""
        parts = self.bound.compiled.layout.slices
        return {
            name.removeprefix(f"{PREFIX}/"): reals[..., at] for name, at, _ in parts if name.startswith(f"{PREFIX}/")
        }

    def explain(self, program: Any, reals: np.ndarray, data: Sequence[Any]) -> str:
        """Why the log-density is not finite at a point; a SimulatorError is raised."""
        state = self.bound.state
        moved = state.replace(params=state._layouts[0].split(self.params(reals)))
        try:
            program.value_and_grad(moved, *data)
        except (NonFiniteError, ParameterError) as error:
            return str(error)
        return "it is finite there when it is computed again"

    @property
    def raised_at(self) -> np.ndarray | None:
        """Where a user's function has raised an exception, if one has."""
        return self.failed[1:].view(np.float64).copy() if self.failed[0] else None


def _leading(shapes: Sequence[tuple[str, Any]]) -> int:
    """How many parameters are reals."""
    return sum(name.startswith(f"{PREFIX}/") for name, _ in shapes)


def _lines(size: int) -> int:
    return -(-size // LINE) * LINE


def _only_reals(bound: BoundCall) -> Executable:
    """The loss and its gradient in the reals; parameters that are given get none."""
    compiled = bound.compiled
    request = compiled.request("gradient", (), 1)
    if request.aux:
        raise ModelError(f"mcmc: {compiled.title} keeps values from step to step (ppl.carried), which no density has")
    grads = tuple((name, node) for name, node in request.grads if name.startswith(f"{PREFIX}/"))
    scalars = tuple((name, node) for name, node in request.scalars if name == "loss")
    found = compile_request(replace(request, grads=grads, scalars=scalars), "float64", compiled.target)
    found.title = f"{compiled.title} (log-density)"
    return found


def _require_plain(executable: Executable) -> None:
    """Raise where the log-density is random, or calls Python."""
    outputs = [node for _, node in (*executable.request.scalars, *executable.request.grads)]
    for node in topological(outputs):
        fn = node.attrs["fn"] if node.op == "external" else None
        if node.op in ("noise", "key") or (fn is not None and fn.key):
            raise ModelError(
                "mcmc: the log-density is random, because a factor, or a parameter of a law, is computed from a draw "
                "that is no latent"
            )
        if fn is not None and fn.python:
            raise ModelError(
                f"mcmc: '{fn.label}' is a Python function (python=True), which chains in threads cannot call: compile "
                "it with numba.njit"
            )
