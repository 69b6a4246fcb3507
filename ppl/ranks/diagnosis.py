"""Diagnose a gradient whose rows several processes hold: gradient estimates, and seconds of a step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ppl.inference.diagnose import Diagnosis, make_diagnosis
from ppl.inference.gradient_samples import GradientChunk, GradientSamples
from ppl.ranks.calls import call_on_ranks, partition_call
from ppl.ranks.communicator import Communicator
from ppl.ranks.partitioned import partitioned_program
from ppl.runtime.call import Call, bind_call
from ppl.runtime.nonfinite import raise_if_violated
from ppl.tuning import COMPILE_AFTER

TIMED_STEPS = 5
"""Steps that are timed."""


class RankGradientSamples(GradientSamples):
    """`Repeats` to which every rank contributes its rows; without rows, ranks take chunks in turns. Collective.

    The chunks are those of one process. Errors are those of `Repeats`, and of `call_on_ranks`.
    """

    def __init__(self, program: Any, ranks: Communicator, call: Call, replicated: bool | None, backend: str):
        self.ranks, self.at = ranks, partition_call(program, ranks, call, replicated)
        self.compiled, self.particles, self.own = self.at.compiled, self.at.moment.particles, True
        self.sharing = ranks.run_on_all(partitioned_program, self.compiled, "gradient", self.particles).rows
        if not self.sharing:
            self.at = ranks.run_on_all(self._alone, program, call)
        ranks.run_on_all(self.compiled.check_particles, self.particles)
        self.backend, self.variant = backend, self.compiled.variant("repeats")
        self.dtype, self.used = np.dtype(program.settings.dtype).type, "interpreter"
        if self.at.bound is not None:
            self.bound = self.at.bound
        self.chunk = min(ranks.comm.allgather(self._chunk() if self.at.bound is not None else 1 << 30))

    def _sizes(self) -> dict[str, int]:
        rows = dict(self.bound.data.rows)
        if self.sharing:
            rows[self.compiled.binder.plates[0].name] = self.at.given
        return rows

    def __call__(self, repeats: int) -> Iterator[GradientChunk]:
        """Chunks of the estimates on the rows of all ranks; see `Repeats`."""
        compiled = self.backend == "compiled"
        taken = self.ranks.exchange(np.array([self.at.taken], float))[:, 0]
        for k, start in enumerate(range(0, repeats, self.chunk)):
            n, began = min(self.chunk, repeats - start), time.perf_counter()
            self.used = "compiled" if compiled else "interpreter"
            turn = np.arange(self.ranks.size) == k % self.ranks.size
            weights = taken / taken.sum() if self.sharing else turn.astype(float)
            found = self.ranks.run_on_all(self._part, n, k, compiled, bool(weights[self.ranks.rank]))
            yield self._unpacked(self.ranks.weighted_sum(found, weights), n)
            left = (repeats - start - n) / self.chunk
            slow = self.backend == "auto" and left * (time.perf_counter() - began) > COMPILE_AFTER
            compiled = compiled or bool(self.ranks.comm.bcast(slow, 0))

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"loss": (), **{f"grad {name}": shape for name, shape in self.compiled.layout.shapes}}

    def _part(self, n: int, step: int, compiled: bool, mine: bool) -> np.ndarray:
        """This rank's estimates, as one vector."""
        shapes = self._shapes()
        if not mine:
            return np.zeros(n * sum(int(np.prod(s)) for s in shapes.values()))
        chunk = self._compiled(n, step) if compiled else self._interpreted(n, step)
        if not np.isfinite(chunk["loss"]).all():
            raise_if_violated(self.bound, "gradient")
        parts = (np.broadcast_to(chunk[name], (n, *shape)) for name, shape in shapes.items())
        return np.concatenate([np.ravel(p).astype(float) for p in parts])

    def _unpacked(self, vector: np.ndarray, n: int) -> GradientChunk:
        found, at = {}, 0
        for name, shape in self._shapes().items():
            size = n * int(np.prod(shape))
            found[name] = vector[at : at + size].reshape(n, *shape)
            at += size
        return found

    def _alone(self, program: Any, call: Call) -> Any:
        """A call of programs without rows on every rank, which take whole chunks in turns."""
        return self.at._replace(bound=bind_call(program, call))


def step_seconds_on_ranks(program: Any, ranks: Communicator, call: Call, replicated: bool | None) -> float:
    """Median seconds of `program.step` on rank 0. Collective."""
    found = []
    for _ in range(TIMED_STEPS + 1):
        began = time.perf_counter()
        call_on_ranks(program, ranks, call, replicated, "gradient", keep=False)
        found.append(time.perf_counter() - began)
    return float(ranks.comm.bcast(float(np.median(found[1:])), 0))


def diagnose_on_ranks(
    program: Any, ranks: Communicator, call: Call, replicated: bool | None, repeats: int, timing: bool, backend: str
) -> Diagnosis:
    """`diagnose` of a program whose rows several processes hold. Collective."""
    source = RankGradientSamples(program, ranks, call, replicated, backend)
    clock = (lambda: step_seconds_on_ranks(program, ranks, call, replicated)) if timing else None
    return make_diagnosis(source, repeats, clock)
