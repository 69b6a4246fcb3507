"""The CUDA emitter: stages as device functions that a block's threads run together, kernels that launch them, and
the host's order of launches.

A row region is one launch: every block takes a slab of rows through all steps, with accumulators of its own.
Products of all rows have a block for each tile of the
result; unplated stages run on one block, which first adds up the slabs that they read; gradients that are
accumulators are added up in the order of slabs, one thread
an entry. Those of them that do not wait for one another share a launch (`ppl.compiler.schedule.launches`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from ppl.compiler.emit.code import (
    Assign,
    Call,
    Do,
    Expression,
    ExpressionLike,
    For,
    Function,
    Index,
    Literal,
    Module,
    Name,
    Statement,
    Tuple,
    as_expression,
    assign,
    call,
    compare,
    do,
    loop,
    names_in,
    when,
)
from ppl.compiler.emit.cuda.kernels import BLOCK_BARRIER, BlockKernelWriter
from ppl.compiler.emit.emitter import Emitter, ModuleItems
from ppl.compiler.emit.products import emit_gemm
from ppl.compiler.emit.scalar import INF, kernel_call, to_float, to_int
from ppl.compiler.emit.slab_reductions import add_into_first_slab, merge_into_gradient, write_aux
from ppl.compiler.emit.stages import StageWriter
from ppl.compiler.emit.symbols import CUDA_SYMBOLS, CUDA_SYMBOLS_WITH_USER_FUNCTIONS
from ppl.compiler.emit.unit import TranslationUnit
from ppl.compiler.lower.lowering import MATRIX_KERNELS
from ppl.compiler.lower.sizes import axis_size
from ppl.compiler.schedule.launches import Task, group_launches, takes_all_rows
from ppl.compiler.schedule.stages import Cluster, Opaque, Stage, Value
from ppl.ir.types import Axis

ONE_THREAD_PER_ENTRY = frozenset({*MATRIX_KERNELS, "cumsum", "draw_rows", "external"})
"""Steps whose kernels take one entry of the named axes, by one thread."""

THREAD_NUMBER = call("thread")
"""The number of a thread in its block."""


RELOADED_BOUNDS = tuple(assign(x, call("here", x)) for x in ("t0", "n"))
"""What keeps addresses of one step out of the registers of others."""


class BlockStageWriter(StageWriter):
    """Writes the functions of stages, which all threads of a block call."""

    def __init__(self, unit: TranslationUnit):
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

    def writer(self, cluster: Cluster, row: Axis | None) -> BlockKernelWriter:
        """What writes the kernel of a cluster."""
        return BlockKernelWriter(cluster, row, self.threads, self.unit.dtype)

    def step(self, step: Cluster | Opaque, stage: Stage, prefix: str, functions: list[Function]) -> list[Statement]:
        """The statements of one step; all threads wait for its end."""
        lines = super().step(step, stage, prefix, functions)
        if isinstance(step, Opaque) and step.node.op in ONE_THREAD_PER_ENTRY:
            lines = [self._dealt_to_threads(x) for x in lines]
        return [*(RELOADED_BOUNDS if stage.row is not None else ()), *lines, BLOCK_BARRIER]

    def _dealt_to_threads(self, x: Statement) -> Statement:
        """A loop over entries, or what is done for the only one, shared by the threads of a block."""
        if isinstance(x, For):
            return replace(x, start=THREAD_NUMBER, step=as_expression(self.threads))
        return when(compare(THREAD_NUMBER, "==", 0), [x])

    def clear_loop_sums(self, sums: Sequence[Value]) -> list[Statement]:
        """The statements that clear what the turns of a loop add up."""
        return [*super().clear_loop_sums(sums), BLOCK_BARRIER] if sums else []

    def clear(self, value: Value) -> Statement:
        """The statement that clears an accumulator."""
        assert value.buffer is not None
        array, at, size = value.buffer.array, Name(value.buffer.symbol), value.extent()
        zero = -INF if value.node.op == "amax" else to_int(0) if array == "v" else to_float(0)
        return Do(kernel_call("fill", array, at, size, zero))

    def cleared(self, stage: Stage) -> list[Statement]:
        """The statements that clear the accumulators of a slab."""
        lines = super().cleared(stage)
        return [*lines, BLOCK_BARRIER] if lines else []


BLOCK_SUMS: tuple[ExpressionLike, ...] = ("slabs",)
"""What a block that adds up slabs is passed last: their number."""

THREAD_SUMS: tuple[ExpressionLike, ...] = ("slabs", "j")
"""The same for a thread, which adds up entry j."""

CLOCK = {"seed": Name("clock").at(0), "step": call("I", Name("clock").at(1))}
"""Seed and step, which kernels read from the device, so that a launch can be repeated for another step."""

BLOCK_PLACE = Name("place")
"""The number of a block among those of its task."""

TASKS_IN_NAME = 3
"""Tasks that the name of a kernel says."""

LaunchCode = tuple[Function, Sequence[Statement]]
"""A kernel, and the statements that launch it."""


def device_arguments(given: Sequence[str]) -> list[str]:
    """What kernels are passed where others are `given` these arguments."""
    return list(dict.fromkeys("clock" if name in CLOCK else name for name in given))


class TaskCode(NamedTuple):
    """What a launch does for one task: what its blocks run, how many there are, what the host computes before.

    Where it is a product, it is `tiled`: its blocks want shared memory for tiles.
    """

    body: Sequence[Statement]
    blocks: Expression
    before: Sequence[Statement] = ()
    tiled: bool = False


class CudaEmitter(Emitter):
    """Writes one program for CUDA."""

    place, symbols = "CUDA", CUDA_SYMBOLS

    def __init__(self, unit: TranslationUnit):
        self.blocks = BlockStageWriter(unit)
        self.host_definitions: dict[str, Statement] = {}
        """Sizes and addresses that the host knows, by name."""
        super().__init__(unit)

    def writer(self) -> BlockStageWriter:
        """What writes stages."""
        return self.blocks

    def drivers(self, unrolled: bool) -> ModuleItems:
        """The kernels of stages, and the host function that launches them."""
        unit = self.unit
        found = self._all_launches()
        given = ["start", *device_arguments(unit.driver_arguments), "slabs", "header"]
        doc = "Launch the program on device arrays by `start`; `header` is the beginning of `v` on the host."
        lines = [*self.host_definitions.values(), *(x for _, launch in found for x in launch)]
        host = unit.bare("launch", given, lines, doc, "host")
        return [*(kernel for kernel, _ in found), host, *(self.single() if unrolled else [])]

    def alone(self, unrolled: Sequence[Statement]) -> ModuleItems:
        """The functions of a program that has the unrolled form only."""
        return [self.straight(unrolled), *self.single()]

    def single(self) -> ModuleItems:
        """Launching the unrolled form."""
        unit, given = self.unit, device_arguments(self.unit.driver_arguments)
        read = [assign(name, x) for name, x in CLOCK.items()]
        kernel = unit.bare("one_kernel", given, [*read, do("one", *unit.driver_arguments)], "", "launch")
        launch = [do("start", "one_kernel", Tuple((as_expression(1), as_expression(1), as_expression(0))), *given)]
        doc = "Launch the unrolled program by `start`."
        return [kernel, unit.bare("launch_one", ["start", *given, "slabs", "header"], launch, doc, "host")]

    def _module(self, items: Sequence[Function | Assign]) -> Module:
        self.symbols = CUDA_SYMBOLS_WITH_USER_FUNCTIONS if self.unit.builder.functions else CUDA_SYMBOLS
        return super()._module(items)

    def _all_launches(self) -> list[LaunchCode]:
        """All launches, in their order."""
        unit = self.unit
        found = group_launches(unit.stages, unit.builder.target.fusion.whole, unit.n_aux > 0)
        return [self._launch(tasks) for tasks in found]

    def _part(self, task: Task) -> TaskCode:
        """What some blocks of a launch do, in one of which a thread is as number `place`."""
        if task.is_region:
            return self._region(task)
        if task.product is not None and task.stage is not None:
            return self._product(task.product, task.stage)
        if task.is_output:
            return self._outputs()
        body = [] if task.stage is None else self.blocks.bodies[task.stage]
        return TaskCode([*add_into_first_slab(task.totals, BLOCK_SUMS), *body], as_expression(1))

    def _region(self, task: Task) -> TaskCode:
        """The rows of a region, of which every block takes a slab."""
        stage = task.stage
        assert stage is not None and stage.row is not None
        rows = axis_size(stage.row)
        ends = [
            assign(end, call("partition_start", rows, x, "slabs"))
            for end, x in (("lo", BLOCK_PLACE), ("hi", BLOCK_PLACE + 1))
        ]
        return TaskCode([*ends, *self.blocks.bodies[stage]], Name("slabs"))

    def _product(self, step: Opaque, stage: Stage) -> TaskCode:
        """A product of all rows, with a block for every tile of the result."""
        unit, rows = self.unit, axis_size(stage.row) if stage.row is not None else 1
        calls = [_with_block_place(x) for x in emit_gemm(step, unit.builder, stage, unit.dtype, "product")]
        first = calls[0]
        assert isinstance(first, Do) and isinstance(first.call, Call)
        m, n = (as_expression(x) for x in first.call.arguments[3:5])
        body = [assign("n", rows), assign("t0", 0), *calls]
        return TaskCode(body, call("tiles", m, n), [assign("n", rows)], tiled=True)

    def _outputs(self) -> TaskCode:
        """Gradients and auxiliary variables, by a thread for each entry."""
        unit = self.unit
        aux = [when(compare("j", "==", 0), [loop("i", unit.n_aux, [write_aux(unit, "i")])])] if unit.n_aux else []
        most = max([value.extent().constant or 1 for s in unit.stages for value in s.accumulators] + [1])
        begin = assign("j", BLOCK_PLACE * "THREADS" + call("thread"))
        return TaskCode([begin, *merge_into_gradient(unit, THREAD_SUMS), *aux], call("blocks_for", most))

    def _launch(self, tasks: Sequence[Task]) -> LaunchCode:
        """A kernel for some tasks, and the statements that launch it: blocks know their task by their number."""
        parts = [self._part(task) for task in tasks]
        ends = [f"end_{i}" for i in range(len(parts))]
        name = "launch_" + "_".join(task.name for task in tasks[:TASKS_IN_NAME])
        name += f"_and_{len(tasks) - TASKS_IN_NAME}_more" if len(tasks) > TASKS_IN_NAME else ""
        before = list[Statement]()
        for i, part in enumerate(parts):
            before += [*part.before, assign(ends[i], Name(ends[i - 1]) + part.blocks if i else part.blocks)]
        body = list(parts[-1].body)
        for i in reversed(range(len(parts) - 1)):
            later = [assign(BLOCK_PLACE, BLOCK_PLACE - ends[i]), *body] if i == len(parts) - 2 else body
            mine = [assign(BLOCK_PLACE, BLOCK_PLACE - ends[i - 1]), *parts[i].body] if i else parts[i].body
            body = [when(compare(BLOCK_PLACE, "<", ends[i]), mine, later)]
        tiled = any(part.tiled for part in parts)
        shape = (ends[-1], "THREADS", "TILES" if tiled else "SHARED")
        last = [*ends[:-1], *sorted({"slabs"} & names_in(*body).used)]
        slab = BLOCK_PLACE if tasks[0].is_region else 0
        makers = [task.stage for task in tasks if task.stage is not None]
        kernel, launch = self._kernel(name, [assign(BLOCK_PLACE, call("block")), *body], last, shape, slab, makers)
        return kernel, [*before, *launch]

    def _kernel(self, name: str, body: Sequence[Statement], last: Sequence[str], shape: tuple[ExpressionLike, ...],
                slab: ExpressionLike, makers: Sequence[Stage]) -> LaunchCode:  # fmt: skip
        """A kernel that is passed what all are, sizes and addresses, and `last`; `shape` is its launch configuration.

        What the host knows of memory it tells: arguments take no registers.
        """
        unit, inside = self.unit, list[Statement]()
        known_to_host: set[str] = set()
        for x in unit.definitions(body, slab, slab, makers):
            assert isinstance(x, Assign) and isinstance(x.target, Name)
            array = x.value.array if isinstance(x.value, Index) else None
            if array == Name("v") and isinstance(x.value, Index) and isinstance(x.value.index, Literal):
                known_to_host.add(x.target.name)
                size = call("int", Index(Name("header"), x.value.index))
                self.host_definitions.setdefault(x.target.name, assign(x.target, size))
            elif array is None and names_in(x.value).used <= known_to_host:
                known_to_host.add(x.target.name)
                self.host_definitions.setdefault(x.target.name, x)
            else:
                inside.append(x)
        used = names_in(*inside, *body).used
        passed = [*device_arguments(unit.common), *sorted(known_to_host & used), *last]
        clock = [assign(given, x) for given, x in CLOCK.items() if given in used]
        kernel = unit.bare(name, passed, [*body[:1], *clock, *inside, *body[1:]], "", "launch")
        return kernel, [do("start", name, Tuple(tuple(map(as_expression, shape))), *passed)]


def _with_block_place(x: Do | Assign) -> Do | Assign:
    """The call of a product by the blocks of a launch: it is told first which of them it is."""
    assert isinstance(x, Do) and isinstance(x.call, Call)
    return Do(replace(x.call, arguments=(BLOCK_PLACE, *x.call.arguments)))
