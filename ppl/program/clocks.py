"""Programs that measure themselves, for `program.profile`: executables that are timed, or count cycles step by step.

The instrumented form is serial, with every step between two reads of the cycle counter; the program itself does not
change.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppl.compiler.emit.assemble import assemble
from ppl.compiler.emit.checks import length
from ppl.compiler.emit.code import Assign, Expression, Function, Module, Name, Statement, add_to, assign, call
from ppl.compiler.emit.cpu.drivers import Drivers
from ppl.compiler.emit.cpu.module import CpuEmitter
from ppl.compiler.emit.cpu.regions import Regions
from ppl.compiler.emit.stages import Frame, Stages
from ppl.compiler.emit.unit import Unit
from ppl.compiler.lower.joined import multiplications
from ppl.compiler.lower.target import Target
from ppl.compiler.lower.views import Poly
from ppl.compiler.schedule.memory import all_steps
from ppl.compiler.schedule.stages import Cluster, Opaque, Stage
from ppl.ir.node import Node
from ppl.program.traffic import moved
from ppl.runtime.executable import Executable, Request

KINDS = {"gemm": "product", "turns": "loop", "rowid": "ids", "rowkey": "ids"}


class Clock:
    """Counters of steps, at the end of the int workspace; the last one counts everything."""

    def __init__(self, unit: Unit):
        self.steps: list[tuple[str, str, str, Poly, Poly]] = []
        self.slots = sum(len(all_steps(s)) + 1 for s in unit.stages) + 3

    def timed(self, body: Sequence[Statement], stage: str, kind: str, name: str, flops: Poly | None = None,
              size: Poly | None = None) -> list[Statement]:  # fmt: skip
        """`body` with a counter of its own."""
        if not body:
            return []
        at = len(self.steps)
        self.steps.append((stage, kind, name, flops or Poly(), size or Poly()))
        end = length("v") - self.slots
        return [assign("begin", call("cycles")), *body, _counted(end + at, "begin")]

    def whole(self, body: Sequence[Statement]) -> list[Statement]:
        """`body` with everything counted but the final return."""
        return [assign("start", call("cycles")), *body[:-1], _counted(length("v") - 1, "start"), body[-1]]


def _counted(slot: Expression, since: str) -> Statement:
    return add_to(Name("v").at(slot), call("cycles") - since)


class ClockedStages(Stages):
    """Writes stages with a counter for every step."""

    repeated = 1

    def __init__(self, clock: Clock, unit: Unit, rows: Frame, products: Frame):
        super().__init__(unit, rows, products, "shared")
        self.clock = clock

    def step(self, step: Cluster | Opaque, stage: Stage, prefix: str, functions: list[Function]) -> list[Statement]:
        """A step between two reads of the counter."""
        body = super().step(step, stage, prefix, functions)
        size = moved(step, np.dtype(self.unit.dtype).itemsize) * self.repeated
        if isinstance(step, Cluster):
            made = sorted({op.target.name for op in step.ops if op.target.external}) or [step.name]
            return self.clock.timed(body, prefix, "kernel", f"{step.name}: {', '.join(made)}", None, size)
        op = step.node.op
        if op == "turns":
            return body
        name = str(step.node.attrs.get("name", step.target.name))
        return self.clock.timed(body, prefix, KINDS.get(op, op), name, gemm_flops(step.node) * self.repeated, size)

    def turns(self, step: Opaque, prefix: str, functions: list[Function]) -> list[Statement]:
        """A loop, whose steps count as often as they run."""
        outer, self.repeated = self.repeated, self.repeated * step.node.attrs["length"]
        body = super().turns(step, prefix, functions)
        self.repeated = outer
        return body

    def cleared(self, stage: Stage) -> list[Statement]:
        """The clearing of accumulators is a step too."""
        return self.clock.timed(super().cleared(stage), stage.name, "reduction", "clear accumulators")


class ClockedDrivers(Drivers):
    """Writes drivers that count sums and everything."""

    def __init__(self, clock: Clock, unit: Unit, regions: Regions):
        super().__init__(unit, regions, {})
        self.clock = clock

    def merge(self, parallel: bool) -> list[Statement]:
        """The sums into the gradient are a step too."""
        body = super().merge(parallel)
        return body if parallel else self.clock.timed(body, "serial", "reduction", "write gradients")

    def sequence(self, parallel: bool) -> list[Statement]:
        """The body of a driver, counted as a whole."""
        body = super().sequence(parallel)
        return body if parallel else self.clock.whole(body)

    def parallel(self) -> list[Function | Assign]:
        """Counters know one thread."""
        return []


class Clocked(CpuEmitter):
    """Writes the serial form with a counter per step."""

    def __init__(self, unit: Unit):
        self.clock = Clock(unit)
        super().__init__(unit)

    def writer(self) -> Stages:
        """The writer of stages."""
        return ClockedStages(self.clock, self.unit, self.regions.stage, self._products)

    def runs(self) -> Drivers:
        """The writer of drivers."""
        return ClockedDrivers(self.clock, self.unit, self.regions)

    def module(self, unrolled: Sequence[Statement] = (), general: bool = True) -> Module:
        """The module; its unrolled form is one step."""
        if not unrolled:
            return super().module()
        timed = self.clock.timed(unrolled[:-1], "one", "kernel", "straight-line code")
        return super().module(self.clock.whole([*timed, unrolled[-1]]), general)


def gemm_flops(node: Node) -> Poly:
    """Floating point operations of a product."""
    if node.op != "gemm":
        return Poly()
    return multiplications(node) * 2


class Timed(Executable):
    """An executable that keeps the time spent in emitted code, sizes and memory; of a clocked one also the cycles."""

    seconds: float = 0.0
    cycles: int = 0
    slots: int = 0
    bytes: int = 0
    sizes: Mapping[str, int]
    ticks: np.ndarray

    def reset(self) -> None:
        """Forget what was measured."""
        self.seconds, self.cycles, self.ticks = 0.0, 0, np.zeros(self.slots, np.int64)

    def _buffers(
        self, sizes: dict[str, int], slabs: int, lanes: int, old: Sequence[np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        w, v = super()._buffers(sizes, slabs, lanes)
        return w, np.concatenate([v, np.zeros(self.slots, np.int64)])

    def _call(self, arguments: tuple[Any, ...], threads: int, sizes: Mapping[str, int]) -> None:
        from ppl.kernels.cpu.cycles import cycles  # imports Numba

        given = dict(zip(self.passed, arguments, strict=True))
        w, v = given["w"], given["v"]
        counters = v[v.size - self.slots :]
        counters[:] = 0
        start, first = time.perf_counter(), cycles()
        super()._call(arguments, threads, sizes)
        last, end = cycles(), time.perf_counter()
        self.seconds, self.cycles = self.seconds + end - start, self.cycles + last - first
        self.ticks += counters
        self.sizes, self.bytes = sizes, max(self.bytes, w.nbytes + v.nbytes)


def timed(executable: Executable) -> Timed:
    """`executable` with its module, timed."""
    out = object.__new__(Timed)
    out.__dict__.update(executable.__dict__)
    out._local, out.plain = type(executable._local)(), False
    out.reset()
    return out


def clocked(request: Request, dtype: str, target: Target) -> tuple[Timed, Clocked]:
    """The instrumented form of a request, and its emitter, which knows the steps."""
    fields, emitter = assemble(request, dtype, target, Clocked)
    assert isinstance(emitter, Clocked)
    out = Timed(request, dtype, **fields)
    out.slots = emitter.clock.slots
    out.reset()
    return out, emitter
