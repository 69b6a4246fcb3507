"""Emission of stages for CUDA: the steps of a stage one after another, each by all threads of a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ppl.compiler.emit.code import Do, For, Function, Name, Statement, assign, call, compare, term, when
from ppl.compiler.emit.cuda.block import TOGETHER, BlockWriter
from ppl.compiler.emit.scalar import INF, kernel, to_float, to_int
from ppl.compiler.emit.stages import Stages
from ppl.compiler.emit.unit import Unit
from ppl.compiler.lower.matrices import KERNELS
from ppl.compiler.schedule.fusion import Value
from ppl.compiler.schedule.stages import Cluster, Opaque, Stage
from ppl.compiler.schedule.threads.launches import takes_all_rows
from ppl.ir.types import Axis

ONE_BY_ONE = frozenset({*KERNELS, "cumsum", "draw_rows", "external"})
"""Steps whose kernels take one entry of the named axes, by one thread."""

THREAD = call("thread")
"""The number of a thread in its block."""


HERE = tuple(assign(x, call("here", x)) for x in ("t0", "n"))
"""What keeps addresses of one step out of the registers of others."""


class BlockStages(Stages):
    """Writes the functions of stages, which all threads of a block call."""

    def __init__(self, unit: Unit):
        super().__init__(unit, None, None, "jit")
        self.threads = unit.builder.target.threads
        self.bodies: dict[Stage, list[Statement]] = {}
        """What the kernel of a stage does, once `functions` has been called: a region for rows lo to hi."""

    def functions(self) -> list[Function]:
        """The functions that the kernels of stages call."""
        found: list[Function] = []
        for stage in self.unit.stages:
            if not takes_all_rows(stage, self.unit.builder.target.fusion.whole):
                functions: list[Function] = []
                steps = self._steps(stage, stage.name, functions)
                rows = [assign("t0", "lo"), assign("n", Name("hi") - "lo")]
                self.bodies[stage] = steps if stage.row is None else [*self.cleared(stage), *rows, *steps]
                found += functions
        return found

    def writer(self, cluster: Cluster, row: Axis | None) -> BlockWriter:
        """What writes the kernel of a cluster."""
        return BlockWriter(cluster, row, self.threads, self.unit.dtype)

    def step(self, step: Cluster | Opaque, stage: Stage, prefix: str, functions: list[Function]) -> list[Statement]:
        """The statements of one step; all threads wait for its end."""
        lines = super().step(step, stage, prefix, functions)
        if isinstance(step, Opaque) and step.node.op in ONE_BY_ONE:
            lines = [self._dealt(x) for x in lines]
        return [*(HERE if stage.row is not None else ()), *lines, TOGETHER]

    def _dealt(self, x: Statement) -> Statement:
        """A loop over entries, or what is done for the only one, shared by the threads of a block."""
        if isinstance(x, For):
            return replace(x, start=THREAD, step=term(self.threads))
        return when(compare(THREAD, "==", 0), [x])

    def fresh(self, sums: Sequence[Value]) -> list[Statement]:
        """The statements that clear what the turns of a loop add up."""
        return [*super().fresh(sums), TOGETHER] if sums else []

    def clear(self, value: Value) -> Statement:
        """The statement that clears an accumulator."""
        assert value.buffer is not None
        array, at, size = value.buffer.array, Name(value.buffer.symbol), value.extent()
        zero = -INF if value.node.op == "amax" else to_int(0) if array == "v" else to_float(0)
        return Do(kernel("fill", array, at, size, zero))

    def cleared(self, stage: Stage) -> list[Statement]:
        """The statements that clear the accumulators of a slab."""
        lines = super().cleared(stage)
        return [*lines, TOGETHER] if lines else []
