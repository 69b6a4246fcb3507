"""The CUDA emitter: stages as device functions that a block's threads run together, kernels that launch them, and the
host's order of launches.

A row region is one launch: every block takes a slab of rows through all steps, with accumulators of its own. Products
of all rows have a block for each tile of the result; unplated stages run on one block, which first adds up the slabs
that they read; gradients that are accumulators are added up in the order of slabs, one thread an entry. Those of them
that do not wait for one another share a launch (`ppl.compiler.schedule.threads.launches`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from ppl.compiler.emit.code import (
    Assign,
    Call,
    Do,
    Expression,
    Function,
    Given,
    Index,
    Literal,
    Module,
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
from ppl.compiler.emit.cuda.stages import BlockStages
from ppl.compiler.emit.emitter import Emitter, Items
from ppl.compiler.emit.products import gemm
from ppl.compiler.emit.sums import added, merged, written_aux
from ppl.compiler.emit.symbols import CALLING, CUDA
from ppl.compiler.emit.unit import Unit
from ppl.compiler.lower.views import axis_size
from ppl.compiler.schedule.stages import Opaque, Stage
from ppl.compiler.schedule.threads.launches import Task, launches

ALL: tuple[Given, ...] = ("slabs",)
"""What a block that adds up slabs is passed last: their number."""

SHARE: tuple[Given, ...] = ("slabs", "j")
"""The same for a thread, which adds up entry j."""

CLOCK = {"seed": Name("clock").at(0), "step": call("I", Name("clock").at(1))}
"""Seed and step, which kernels read from the device, so that a launch can be repeated for another step."""

PLACE = Name("place")
"""The number of a block among those of its task."""

NAMED = 3
"""Tasks that the name of a kernel says."""

Launch = tuple[Function, Sequence[Statement]]
"""A kernel, and the statements that launch it."""


def on_device(given: Sequence[str]) -> list[str]:
    """What kernels are passed where others are `given` these arguments."""
    return list(dict.fromkeys("clock" if name in CLOCK else name for name in given))


class Part(NamedTuple):
    """What a launch does for one task: what its blocks run, how many there are, what the host computes before.

    Where it is a product, it is `tiled`: its blocks want shared memory for tiles.
    """

    body: Sequence[Statement]
    blocks: Expression
    before: Sequence[Statement] = ()
    tiled: bool = False


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

    def _module(self, items: Sequence[Function | Assign]) -> Module:
        self.symbols = CALLING if self.unit.builder.functions else CUDA
        return super()._module(items)

    def _all_launches(self) -> list[Launch]:
        """All launches, in their order."""
        unit = self.unit
        found = launches(unit.stages, unit.builder.target.fusion.whole, unit.n_aux > 0)
        return [self._launch(tasks) for tasks in found]

    def _part(self, task: Task) -> Part:
        """What some blocks of a launch do, in one of which a thread is as number `place`."""
        if task.is_region:
            return self._region(task)
        if task.product is not None and task.stage is not None:
            return self._product(task.product, task.stage)
        if task.is_output:
            return self._outputs()
        body = [] if task.stage is None else self.blocks.bodies[task.stage]
        return Part([*added(task.totals, ALL), *body], term(1))

    def _region(self, task: Task) -> Part:
        """The rows of a region, of which every block takes a slab."""
        stage = task.stage
        assert stage is not None and stage.row is not None
        rows = axis_size(stage.row)
        ends = [assign(end, call("share_start", rows, x, "slabs")) for end, x in (("lo", PLACE), ("hi", PLACE + 1))]
        return Part([*ends, *self.blocks.bodies[stage]], Name("slabs"))

    def _product(self, step: Opaque, stage: Stage) -> Part:
        """A product of all rows, with a block for every tile of the result."""
        unit, rows = self.unit, axis_size(stage.row) if stage.row is not None else 1
        calls = [_placed(x) for x in gemm(step, unit.builder, stage, unit.dtype, "product")]
        first = calls[0]
        assert isinstance(first, Do) and isinstance(first.call, Call)
        m, n = (term(x) for x in first.call.arguments[3:5])
        body = [assign("n", rows), assign("t0", 0), *calls]
        return Part(body, call("tiles", m, n), [assign("n", rows)], tiled=True)

    def _outputs(self) -> Part:
        """Gradients and auxiliary variables, by a thread for each entry."""
        unit = self.unit
        aux = [when(compare("j", "==", 0), [loop("i", unit.n_aux, [written_aux(unit, "i")])])] if unit.n_aux else []
        most = max([value.extent().constant or 1 for s in unit.stages for value in s.accumulators] + [1])
        begin = assign("j", PLACE * "THREADS" + call("thread"))
        return Part([begin, *merged(unit, SHARE), *aux], call("blocks_for", most))

    def _launch(self, tasks: Sequence[Task]) -> Launch:
        """A kernel for some tasks, and the statements that launch it: blocks know their task by their number."""
        parts = [self._part(task) for task in tasks]
        ends = [f"end_{i}" for i in range(len(parts))]
        name = "launch_" + "_".join(task.name for task in tasks[:NAMED])
        name += f"_and_{len(tasks) - NAMED}_more" if len(tasks) > NAMED else ""
        before = list[Statement]()
        for i, part in enumerate(parts):
            before += [*part.before, assign(ends[i], Name(ends[i - 1]) + part.blocks if i else part.blocks)]
        body = list(parts[-1].body)
        for i in reversed(range(len(parts) - 1)):
            later = [assign(PLACE, PLACE - ends[i]), *body] if i == len(parts) - 2 else body
            mine = [assign(PLACE, PLACE - ends[i - 1]), *parts[i].body] if i else parts[i].body
            body = [when(compare(PLACE, "<", ends[i]), mine, later)]
        tiled = any(part.tiled for part in parts)
        shape = (ends[-1], "THREADS", "TILES" if tiled else "SHARED")
        last = [*ends[:-1], *sorted({"slabs"} & names_in(*body).used)]
        slab = PLACE if tasks[0].is_region else 0
        makers = [task.stage for task in tasks if task.stage is not None]
        kernel, launch = self._kernel(name, [assign(PLACE, call("block")), *body], last, shape, slab, makers)
        return kernel, [*before, *launch]

    def _kernel(self, name: str, body: Sequence[Statement], last: Sequence[str], shape: tuple[Given, ...],
                slab: Given, makers: Sequence[Stage]) -> Launch:  # fmt: skip
        """A kernel that is passed what all are, sizes and addresses, and `last`; `shape` is its launch configuration.

        What the host knows of memory it tells: arguments take no registers.
        """
        unit, inside = self.unit, list[Statement]()
        told: set[str] = set()
        for x in unit.definitions(body, slab, slab, makers):
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
        clock = [assign(given, x) for given, x in CLOCK.items() if given in used]
        kernel = unit.bare(name, passed, [*body[:1], *clock, *inside, *body[1:]], "", "launch")
        return kernel, [do("start", name, Tuple(tuple(map(term, shape))), *passed)]


def _placed(x: Do | Assign) -> Do | Assign:
    """The call of a product by the blocks of a launch: it is told first which of them it is."""
    assert isinstance(x, Do) and isinstance(x.call, Call)
    return Do(replace(x.call, arguments=(PLACE, *x.call.arguments)))
