"""The CUDA emitter: stages as device functions that a block's threads run together, kernels that launch them, and the
host's order of launches.

A row region is one launch: every block takes a slab of rows through all steps, tile by tile, with accumulators of its
own, which a second launch adds up in the order of slabs, one thread an entry. Unplated stages run on one block.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit.code import Do, Function, Given, Name, Statement, assign, call, compare, do, loop, when
from ppl.compiler.emit.cuda.stages import BlockStages
from ppl.compiler.emit.emitter import Emitter, Items
from ppl.compiler.emit.sums import combined, merged, written_aux
from ppl.compiler.emit.symbols import CUDA
from ppl.compiler.lower.views import axis_size
from ppl.compiler.schedule.stages import Stage

SHARE: tuple[Given, ...] = ("slabs", "j")
"""The share of a thread that adds up slabs: entry j."""

THREAD = call(Name("cuda").dot("grid"), 1)
"""The number of a thread."""

Launch = tuple[Function, Do]
"""A kernel, and the statement that launches it."""


class CudaEmitter(Emitter):
    """Writes one program for CUDA."""

    place, symbols = "CUDA", CUDA

    def writer(self) -> BlockStages:
        """What writes stages."""
        return BlockStages(self.unit)

    def drivers(self, unrolled: bool) -> Items:
        """Kernels around the stage functions, and the host function that launches them."""
        unit = self.unit
        found = [*(x for stage in unit.stages for x in self._launches(stage)), self._outputs()]
        header = enumerate(unit.memory.header)
        sizes = [assign(n, call("int", Name("v").at(i))) for i, n in header if n.startswith("n_")]
        given, doc = [*unit.driver_arguments, "slabs"], "Run the program on device arrays."
        host = unit.bare("launch", given, [*sizes, *(launch for _, launch in found)], doc, "host")
        return [*(kernel for kernel, _ in found), host, *(self.single() if unrolled else [])]

    def alone(self, unrolled: Sequence[Statement]) -> Items:
        """The functions of a program that has the unrolled form only."""
        return [self.straight(unrolled), *self.single()]

    def single(self) -> Items:
        """Launching the unrolled form."""
        unit, given = self.unit, self.unit.driver_arguments
        kernel = unit.bare("one_kernel", given, [do("one", *given)], "", "launch")
        launch = [do(Name("one_kernel").at(1, 1), *given)]
        return [kernel, unit.bare("launch_one", [*given, "slabs"], launch, "Run the unrolled program.", "host")]

    def _launches(self, stage: Stage) -> list[Launch]:
        """The launch of a stage, and that of the sums of its slabs."""
        unit, name = self.unit, f"launch_{stage.name}"
        if stage.row is None:
            kernel = unit.bare(name, unit.common, [do(stage.name, *unit.common)], "", "launch")
            return [(kernel, do(Name(name).at(1, "THREADS", 0, "SHARED"), *unit.common))]
        rows, slab = axis_size(stage.row), Name("slab")
        ends = [call("share_start", rows, x, "slabs") for x in (slab, slab + 1)]
        kernel = self._kernel(name, "slabs", [assign("slab", call("block")), do(stage.name, *unit.common, slab, *ends)])
        found = [(kernel, do(Name(name).at("slabs", "THREADS", 0, "SHARED"), *unit.common, "slabs"))]
        sums = combined(unit, stage, SHARE)
        return [*found, self._entries(f"{name}_sums", sums, "slabs")] if sums else found

    def _outputs(self) -> Launch:
        """The launch that writes gradients and auxiliary variables."""
        unit = self.unit
        aux = when(compare("j", "==", 0), [loop("i", unit.n_aux, [written_aux(unit, "i")])])
        return self._entries("launch_outputs", [*merged(unit, SHARE), aux], "slabs")

    def _entries(self, name: str, body: Sequence[Statement], slabs: Given) -> Launch:
        """A launch of one thread per entry."""
        kernel = self._kernel(name, "slabs", [assign("j", THREAD), *body])
        return kernel, do(Name(name).at(call("grid", self._largest())), *self.unit.common, slabs)

    def _largest(self) -> int:
        return max([value.extent().constant or 1 for s in self.unit.stages for value in s.accumulators] + [1])

    def _kernel(self, name: str, last: str, body: Sequence[Statement]) -> Function:
        """A kernel that is passed what stages are, and `last`."""
        lines = [*self.unit.definitions(body, 0, 0), *body]
        return self.unit.bare(name, [*self.unit.common, last], lines, "", "launch")
