"""The CUDA emitter: stages as device functions that a block's threads run together, kernels that launch them, and the
host's order of launches.

A row region is one launch: every block takes a slab of rows through all steps, with accumulators of its own, which a
second launch adds up in the order of slabs, one thread an entry. Regions end at products, which are launches of their
own for all rows. Unplated stages run on one block.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit.code import (
    Call,
    Do,
    Function,
    Given,
    Index,
    Name,
    Statement,
    assign,
    call,
    compare,
    do,
    loop,
    term,
    when,
)
from ppl.compiler.emit.cuda.stages import BlockStages, takes_all_rows
from ppl.compiler.emit.emitter import Emitter, Items
from ppl.compiler.emit.products import gemm
from ppl.compiler.emit.sums import combined, merged, written_aux
from ppl.compiler.emit.symbols import CUDA
from ppl.compiler.lower.views import axis_size
from ppl.compiler.schedule.stages import Opaque, Stage

ALL: tuple[Given, ...] = ("slabs",)
"""What a block that adds up slabs is passed last: their number."""

SHARE: tuple[Given, ...] = ("slabs", "j")
"""The same for a thread, which adds up entry j."""

BLOCK: tuple[Given, ...] = ("THREADS", 0, "SHARED")
"""Threads, stream and shared memory of a launch."""

THREAD = call(Name("cuda").dot("grid"), 1)
"""The number of a thread."""

Launch = tuple[Function, Sequence[Statement]]
"""A kernel, and the statements that launch it."""


class CudaEmitter(Emitter):
    """Writes one program for CUDA."""

    place, symbols = "CUDA", CUDA

    def writer(self) -> BlockStages:
        """What writes stages."""
        return BlockStages(self.unit)

    def drivers(self, unrolled: bool) -> Items:
        """Kernels around the stage functions, and the host function that launches them."""
        unit = self.unit
        found = self._all_launches()
        header = enumerate(unit.memory.header)
        sizes = [assign(n, call("int", Name("v").at(i))) for i, n in header if n.startswith("n_")]
        given, doc = [*unit.driver_arguments, "slabs"], "Run the program on device arrays."
        host = unit.bare("launch", given, [*sizes, *(x for _, launch in found for x in launch)], doc, "host")
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

    def _all_launches(self) -> list[Launch]:
        """All launches, in their order; sums of slabs share a launch with the unplated stage that follows."""
        unit, found = self.unit, list[Launch]()
        sums: list[Statement] = []
        for stage in unit.stages:
            if stage.row is None:
                calls = [do(stage.name, *unit.common)] if stage.steps else []
                found += self._on_one_block(f"launch_{stage.name}", [*sums, *calls])
                sums = []
                continue
            found += self._on_one_block(f"launch_{stage.name}_before", sums)
            found += self._region(stage)
            sums = combined(unit, stage, ALL)
        return [*found, *self._on_one_block("launch_sums", sums), *self._outputs()]

    def _on_one_block(self, name: str, body: Sequence[Statement]) -> list[Launch]:
        if not body:
            return []
        kernel = self._kernel(name, "slabs", body)
        return [(kernel, [do(Name(name).at(1, *BLOCK), *self.unit.common, "slabs")])]

    def _region(self, stage: Stage) -> list[Launch]:
        """The launch of a region, or of the products that it consists of."""
        unit, name = self.unit, f"launch_{stage.name}"
        assert stage.row is not None
        if takes_all_rows(stage, unit.builder.target):
            return [self._product(step, stage) for step in stage.steps if isinstance(step, Opaque)]
        rows, slab = axis_size(stage.row), Name("slab")
        ends = [call("share_start", rows, x, "slabs") for x in (slab, slab + 1)]
        kernel = self._kernel(name, "slabs", [assign("slab", call("block")), do(stage.name, *unit.common, slab, *ends)])
        return [(kernel, [do(Name(name).at("slabs", *BLOCK), *unit.common, "slabs")])]

    def _product(self, step: Opaque, stage: Stage) -> Launch:
        """The launch of a product of all rows, with a block for every tile of the result."""
        unit, rows = self.unit, axis_size(stage.row) if stage.row is not None else 1
        calls = gemm(step, unit.builder, stage, unit.dtype, "product")
        body = [assign("n", rows), assign("t0", 0), *calls]
        name = f"launch_{step.target.name}"
        kernel = unit.bare(name, unit.common, [*unit.definitions(body, 0, 0), *body], "", "launch")
        first = calls[0]
        assert isinstance(first, Do) and isinstance(first.call, Call)
        m, n = (term(x) for x in first.call.arguments[2:4])
        launched = Do(Call(Index(Name(name), call("tiles", m, n)), tuple(map(Name, unit.common))))
        return kernel, [assign("n", rows), launched]

    def _outputs(self) -> list[Launch]:
        """The launch that writes gradients and auxiliary variables."""
        unit = self.unit
        aux = [when(compare("j", "==", 0), [loop("i", unit.n_aux, [written_aux(unit, "i")])])] if unit.n_aux else []
        body = [*merged(unit, SHARE), *aux]
        return [self._entries("launch_outputs", body, "slabs")] if body else []

    def _entries(self, name: str, body: Sequence[Statement], slabs: Given) -> Launch:
        """A launch of one thread per entry."""
        kernel = self._kernel(name, "slabs", [assign("j", THREAD), *body])
        return kernel, [do(Name(name).at(call("grid", self._largest())), *self.unit.common, slabs)]

    def _largest(self) -> int:
        return max([value.extent().constant or 1 for s in self.unit.stages for value in s.accumulators] + [1])

    def _kernel(self, name: str, last: str, body: Sequence[Statement]) -> Function:
        """A kernel that is passed what stages are, and `last`."""
        lines = [*self.unit.definitions(body, 0, 0), *body]
        return self.unit.bare(name, [*self.unit.common, last], lines, "", "launch")
