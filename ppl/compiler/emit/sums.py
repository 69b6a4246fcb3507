"""Emission of what adds up the accumulators of slabs: between stages, and at the end into the gradient vector."""

from __future__ import annotations

from ppl.compiler.emit.cpu.regions import SLABS, Regions
from ppl.compiler.emit.scalar import arguments
from ppl.compiler.schedule.memory import area_of
from ppl.compiler.schedule.stages import Stage

PARALLEL_MERGE = 50_000
"""Gradient entries from which on several threads add up the slabs."""


ALONE = arguments(SLABS, 0, 1)
"""How a sum over slabs ends where one thread does it all: slabs, part, parts."""


class Sums(Regions):
    """The part of an emitter that adds up slabs, always in the same order."""

    def _copies(self) -> list[tuple[str, str, int]]:
        """(offset in grad, accumulator, size) of the gradients that are accumulators as they stand."""
        out = []
        for stage in self.stages:
            for target, value in stage.copies:
                size = value.extent().constant
                assert value.buffer is not None and size is not None
                out.append((str(target.offset), value.buffer.symbol, size))
        return out

    def merges(self) -> bool:
        """Whether a region adds up gradients."""
        return sum(n for _, _, n in self._copies()) > PARALLEL_MERGE

    def _merge(self, parallel: bool) -> list[str]:
        copies = self._copies()
        if parallel and self.merges():
            return [self.enter("merge", parallel, "threads")]
        return [f"merge_slabs({arguments('grad', at, 'w', a, n, 'stride_w')}, {ALONE})" for at, a, n in copies]

    def _merge_function(self) -> list[str]:
        if not self.merges():
            return []
        lines = [f"merge_slabs({arguments('grad', at, 'w', a, n, 'stride_w', SLABS, 'slab', 'slabs')})"
                 for at, a, n in self._copies()]  # fmt: skip
        return [self.region("merge", lines, "Add up the gradients of all slabs: a share of every parameter.", "0")]

    def _combine(self, stage: Stage) -> list[str]:
        lines = []
        direct = {v for s in self.stages for _, v in s.copies}
        for value in stage.accumulators:
            if value in direct:
                continue
            assert value.buffer is not None
            array, start = value.buffer.array, value.buffer.symbol
            fn = "max_slabs" if value.node.op == "amax" else "add_slabs"
            lines.append(f"{fn}({arguments(array, f'I({start})', value.extent(), f'stride_{area_of(array)}', SLABS)})")
        return lines
