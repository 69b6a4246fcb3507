"""The CUDA emitter: stages as device functions that a block's threads run together, kernels that launch them, and the
host's order of launches.

A row region is one launch: every block takes a slab of rows through all steps, with accumulators of its own, which a
second launch adds up in the order of slabs, one thread an entry. Regions end at products, which are launches of their
own for all rows. Unplated stages run on one block.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit.code import (
    Assign,
    Call,
    Do,
    Function,
    Given,
    Index,
    Literal,
    Name,
    Statement,
    Tuple,
    assign,
    call,
    compare,
    do,
    loop,
    names_in,
    term,
    when,
)
from ppl.compiler.emit.cuda.stages import BlockStages, takes_all_rows
from ppl.compiler.emit.emitter import Emitter, Items
from ppl.compiler.emit.products import gemm
from ppl.compiler.emit.sums import combined, merged, written_aux
from ppl.compiler.emit.symbols import CUDA
from ppl.compiler.emit.unit import Unit
from ppl.compiler.lower.views import axis_size
from ppl.compiler.schedule.stages import Opaque, Stage

ALL: tuple[Given, ...] = ("slabs",)
"""What a block that adds up slabs is passed last: their number."""

SHARE: tuple[Given, ...] = ("slabs", "j")
"""The same for a thread, which adds up entry j."""

BLOCK: tuple[Given, ...] = ("THREADS", "SHARED")
"""Threads and shared memory of a launch."""

CLOCK = {"seed": Name("clock").at(0), "step": call("I", Name("clock").at(1))}
"""Seed and step, which kernels read from the device, so that a launch can be repeated for another step."""

THREAD = call(Name("cuda").dot("grid"), 1)
"""The number of a thread."""

Launch = tuple[Function, Sequence[Statement]]
"""A kernel, and the statements that launch it."""


def on_device(given: Sequence[str]) -> list[str]:
    """What kernels are passed where others are `given` these arguments."""
    return list(dict.fromkeys("clock" if name in CLOCK else name for name in given))


class CudaEmitter(Emitter):
    """Writes one program for CUDA."""

    place, symbols = "CUDA", CUDA

    def __init__(self, unit: Unit):
        self.blocks = BlockStages(unit)
        self.told: dict[str, Statement] = {}
        """Sizes and addresses that the host knows, by name."""
        super().__init__(unit)

    def writer(self) -> BlockStages:
        """What writes stages."""
        return self.blocks

    def drivers(self, unrolled: bool) -> Items:
        """The kernels of stages, and the host function that launches them."""
        unit = self.unit
        found = self._all_launches()
        given = ["start", *on_device(unit.driver_arguments), "slabs", "header"]
        doc = "Launch the program on device arrays by `start`; `header` is the beginning of `v` on the host."
        lines = [*self.told.values(), *(x for _, launch in found for x in launch)]
        host = unit.bare("launch", given, lines, doc, "host")
        return [*(kernel for kernel, _ in found), host, *(self.single() if unrolled else [])]

    def alone(self, unrolled: Sequence[Statement]) -> Items:
        """The functions of a program that has the unrolled form only."""
        return [self.straight(unrolled), *self.single()]

    def single(self) -> Items:
        """Launching the unrolled form."""
        unit, given = self.unit, on_device(self.unit.driver_arguments)
        read = [assign(name, x) for name, x in CLOCK.items()]
        kernel = unit.bare("one_kernel", given, [*read, do("one", *unit.driver_arguments)], "", "launch")
        launch = [do("start", "one_kernel", Tuple((term(1), term(1), term(0))), *given)]
        doc = "Launch the unrolled program by `start`."
        return [kernel, unit.bare("launch_one", ["start", *given, "slabs", "header"], launch, doc, "host")]

    def _all_launches(self) -> list[Launch]:
        """All launches, in their order; sums of slabs share a launch with the unplated stage that follows."""
        unit, found = self.unit, list[Launch]()
        sums: list[Statement] = []
        for stage in unit.stages:
            if stage.row is None:
                found += self._on_one_block(f"launch_{stage.name}", [*sums, *self.blocks.bodies[stage]])
                sums = []
                continue
            found += self._on_one_block(f"launch_{stage.name}_before", sums)
            found += self._region(stage)
            sums = combined(unit, stage, ALL)
        return [*found, *self._on_one_block("launch_sums", sums), *self._outputs()]

    def _on_one_block(self, name: str, body: Sequence[Statement]) -> list[Launch]:
        return [self._launch(name, body, ("slabs",), (1, *BLOCK))] if body else []

    def _region(self, stage: Stage) -> list[Launch]:
        """The launch of a region, or of the products that it consists of."""
        assert stage.row is not None
        if takes_all_rows(stage, self.unit.builder.target):
            return [self._product(step, stage) for step in stage.steps if isinstance(step, Opaque)]
        rows, slab = axis_size(stage.row), Name("slab")
        ends = [assign(end, call("share_start", rows, x, "slabs")) for end, x in (("lo", slab), ("hi", slab + 1))]
        body = [*ends, *self.blocks.bodies[stage]]
        return [self._launch(f"launch_{stage.name}", body, ("slabs",), ("slabs", *BLOCK), slab)]

    def _product(self, step: Opaque, stage: Stage) -> Launch:
        """The launch of a product of all rows, with a block for every tile of the result."""
        unit, rows = self.unit, axis_size(stage.row) if stage.row is not None else 1
        calls = gemm(step, unit.builder, stage, unit.dtype, "product")
        first = calls[0]
        assert isinstance(first, Do) and isinstance(first.call, Call)
        m, n = (term(x) for x in first.call.arguments[2:4])
        body = [assign("n", rows), assign("t0", 0), *calls]
        kernel, launched = self._launch(f"launch_{step.target.name}", body, (), call("tiles", m, n))
        return kernel, [assign("n", rows), *launched]

    def _outputs(self) -> list[Launch]:
        """The launch that writes gradients and auxiliary variables."""
        unit = self.unit
        aux = [when(compare("j", "==", 0), [loop("i", unit.n_aux, [written_aux(unit, "i")])])] if unit.n_aux else []
        body = [*merged(unit, SHARE), *aux]
        return [self._entries("launch_outputs", body)] if body else []

    def _entries(self, name: str, body: Sequence[Statement]) -> Launch:
        """A launch of one thread per entry."""
        return self._launch(name, [assign("j", THREAD), *body], ("slabs",), call("grid", self._largest()))

    def _largest(self) -> int:
        return max([value.extent().constant or 1 for s in self.unit.stages for value in s.accumulators] + [1])

    def _launch(self, name: str, body: Sequence[Statement], last: Sequence[str], shape: tuple[Given, ...] | Call,
                slab: Given = 0) -> Launch:  # fmt: skip
        """A kernel that is passed what all are, sizes and addresses, and `last`; `shape` is its launch configuration.

        What the host knows of memory it tells: arguments take no registers.
        """
        unit, inside = self.unit, list[Statement]()
        told: set[str] = set()
        for x in unit.definitions(body, slab, slab):
            assert isinstance(x, Assign) and isinstance(x.target, Name)
            array = x.value.array if isinstance(x.value, Index) else None
            if array == Name("v") and isinstance(x.value, Index) and isinstance(x.value.index, Literal):
                told.add(x.target.name)
                size = call("int", Index(Name("header"), x.value.index))
                self.told.setdefault(x.target.name, assign(x.target, size))
            elif array is None and names_in(x.value).used <= told:
                told.add(x.target.name)
                self.told.setdefault(x.target.name, x)
            else:
                inside.append(x)
        used = names_in(*inside, *body).used
        passed = [*on_device(unit.common), *sorted(told & used), *last]
        begin = [assign(slab, call("block"))] if isinstance(slab, Name) else []
        begin += [assign(given, x) for given, x in CLOCK.items() if given in used]
        kernel = unit.bare(name, passed, [*begin, *inside, *body], "", "launch")
        blocks = Tuple(tuple(map(term, shape))) if isinstance(shape, tuple) else shape
        return kernel, [do("start", name, blocks, *passed)]
