"""Count the memory traffic of CUDA programs: what every launch moves and computes at some sizes, from loop trees,
strides and sizes; nothing is run.

Bytes are counted twice. What threads *ask* for is every read and write of the emitted code; most of it comes from
caches. What a step *touches* is every entry of a
value once, so that launches can add up what reaches memory. A read whose address the inner loops do not move is
counted outside of them. Bytes of a launch are those
of every entry once, of each step if a slab's rows do not stay in the caches, and of each tile if the operands of a
product do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ppl.compiler.emit.code import Statement
from ppl.compiler.emit.cuda.emitter import ONE_THREAD_PER_ENTRY
from ppl.compiler.emit.cuda.kernels import BlockKernelWriter, shared_loops, team_width
from ppl.compiler.emit.products import gemm_layout
from ppl.compiler.emit.unit import TranslationUnit
from ppl.compiler.lower.products import operand_pairs
from ppl.compiler.lower.sizes import Poly, axis_size, entry_count
from ppl.compiler.lower.views import stored_operands
from ppl.compiler.pipeline import emit_request
from ppl.compiler.schedule.launches import Launch, Task, gradient_accumulators, group_launches
from ppl.compiler.schedule.loop_fusion import reads_from_local
from ppl.compiler.schedule.stages import Access, Cluster, Loop, Op, Opaque, Stage, Value, producing_node
from ppl.ir.node import Node
from ppl.ir.op_facts import VECTORS
from ppl.ir.types import Axis
from ppl.runtime.executable import EmittedProgram
from ppl.tuning import CUDA_TILE

FUNCTION_OPERATIONS = 16
"""Operations that an elementary function counts as."""

DATA_BYTES = {"int": 8, "int32": 4, "bool": 1}
"""Bytes of an entry of data that are no floats."""


class RequestedBytes(NamedTuple):
    """Bytes that threads ask for, and those of them where neighbouring threads touch neighbouring entries."""

    bytes: float = 0.0
    beside: float = 0.0

    def plus(self, bytes_: float, share: float, times: float = 1.0) -> RequestedBytes:
        """With more bytes, a share of which is beside one another."""
        return RequestedBytes(self.bytes + bytes_ * times, self.beside + bytes_ * share * times)


@dataclass
class StepTraffic:
    """What a step moves: entries read and written by value, bytes asked for, and operations."""

    read: dict[Value, float] = field(default_factory=dict)
    written: dict[Value, float] = field(default_factory=dict)
    asked: RequestedBytes = field(default_factory=RequestedBytes)
    flops: float = 0.0

    def reads(self, value: Value, count: float) -> None:
        """Count entries that are read."""
        self.read[value] = self.read.get(value, 0.0) + count

    def writes(self, value: Value, count: float) -> None:
        """Count entries that are written."""
        self.written[value] = self.written.get(value, 0.0) + count

    def asks(self, bytes_: float, share: float) -> None:
        """Count bytes that threads ask for, a share of them beside one another."""
        self.asked = self.asked.plus(bytes_, share)

    def add(self, other: StepTraffic, times: float = 1.0) -> None:
        """Add what another step moves, in so many turns."""
        for value, count in other.read.items():
            self.reads(value, count * times)
        for value, count in other.written.items():
            self.writes(value, count * times)
        asked, found = self.asked, other.asked
        self.asked = RequestedBytes(asked.bytes + found.bytes * times, asked.beside + found.beside * times)
        self.flops += other.flops * times


@dataclass(frozen=True)
class SizedProgram:
    """A program at some sizes: those of its axes and tiles by name, and the number of slabs."""

    unit: TranslationUnit
    sizes: Mapping[str, int]
    slabs: int

    @property
    def itemsize(self) -> int:
        """Bytes of a float of the program."""
        return 4 if self.unit.dtype == "float32" else 8

    def width(self, value: Value) -> int:
        """Bytes of an entry."""
        array = "" if value.buffer is None else value.buffer.array
        if array in self.unit.arrays:
            return DATA_BYTES.get(self.unit.kind_of()[array], self.itemsize)
        return 8 if value.dtype == "int" or array == "sums" else self.itemsize

    def count(self, size: Poly) -> int:
        """A number of entries."""
        return size.evaluate(self.sizes)

    def iterations(self, loops: Sequence[Loop]) -> float:
        """Turns of nested loops."""
        return math.prod(self.count(item.size) for item in loops)

    def most(self, value: Value) -> float:
        """Entries that a value has in memory, those of all slabs together."""
        scratch = value.buffer is not None and value.buffer.symbol.endswith("_s")
        size = self.count(value.room() if scratch else value.extent())
        return size * (self.slabs if value.accumulates or (scratch and value.buffer is not None) else 1)

    def value(self, node: Node) -> Value:
        """The stored value that `node` reads."""
        return self.unit.builder.value(self.unit.builder.base(node))

    def bytes(self, counts: Mapping[Value, float]) -> float:
        """Bytes of so many entries of values, none of which has more than lie in memory."""
        return sum(min(count, self.most(value)) * self.width(value) for value, count in counts.items())


ParallelLoops = tuple[Loop, ...] | None
"""Loops whose turns threads take side by side, as one loop; none if all do the same; None: one thread alone."""


class RecordingKernelWriter(BlockKernelWriter):
    """Writes a kernel, and records the loops whose iterations threads share where an operation reads and stores."""

    def __init__(self, cluster: Cluster, row: Axis | None, threads: int, dtype: str):
        super().__init__(cluster, row, threads, dtype)
        self.reading: dict[Op, ParallelLoops] = {}
        self.storing: dict[Op, ParallelLoops] = {}
        self._across: ParallelLoops = ()
        self._first_across: ParallelLoops = ()

    def _write_as_one_team(self, items: Sequence[Loop | Op]) -> list[Statement]:
        self._across = self._first_across = ()
        return super()._write_as_one_team(items)

    def _write_shared_nest(self, item: Loop) -> list[Statement]:
        prefix, items = shared_loops(item)
        alone = team_width(prefix, items, self.row, self.columns, self.threads) == 1
        self._first_across = tuple(prefix)
        self._across = tuple(prefix) if alone else ()
        return super()._write_shared_nest(item)

    def _loop_of_team(self, chain: Sequence[Loop], items: Sequence[Loop | Op]) -> list[Statement]:
        return self._with_across(tuple(chain), super()._loop_of_team, chain, items)

    def _loop_of_one_thread(self, item: Loop, path: tuple[Loop, ...]) -> list[Statement]:
        return self._with_across(None, super()._loop_of_one_thread, item, path)

    def _with_across(self, loops: ParallelLoops, write: Callable[..., list[Statement]], *given: Any) -> list[Statement]:
        outside, self._across = self._across, loops
        lines = write(*given)
        self._across = outside
        return lines

    def _statement(self, op: Op, inner: Loop | None) -> list[Statement]:
        self.reading[op] = self._across
        self.storing[op] = self._storing()
        return super()._statement(op, inner)

    def _finish(self, op: Op) -> list[Statement]:
        self.storing[op] = self._storing()
        return super()._finish(op)

    def _storing(self) -> ParallelLoops:
        """The loops that tell apart the first threads of teams, if these store."""
        return None if self._across is None else self._across or self._first_across


class ClusterTrafficCounter:
    """What the kernel of one cluster moves: `found`."""

    def __init__(self, cluster: Cluster, row: Axis | None, at: SizedProgram):
        self.at, self.found = at, StepTraffic()
        self.writer = RecordingKernelWriter(cluster, row, at.unit.builder.target.threads, at.unit.dtype)
        self.writer.function("", {}, "jit")
        for op in cluster.ops:
            for access in op.reads:
                self._read(op, access)
            if op.target.buffer is not None:
                self._written(op)
            self.found.flops += (FUNCTION_OPERATIONS if op.node.op in VECTORS else 1) * at.iterations(op.loops)

    def _read(self, op: Op, access: Access) -> None:
        value, makers = access.value, self.writer.makers.get(access.value, ())
        if value.buffer is None or (access.gather is None and reads_from_local(makers, op)):
            return
        moving = self._moving(op, value, access.view.axes, access.view.coefs)
        unknown = _data_dependent_loops(op, access)
        far = [i for i, item in enumerate(op.loops) if item in moving or item in unknown]
        times = self.at.iterations(op.loops[: max(far, default=-1) + 1])
        self.found.reads(value, self.at.iterations([op.loops[i] for i in far]) * self._copies(value))
        self._ask(value, times, self.writer.reading[op], moving, unknown)

    def _written(self, op: Op) -> None:
        value = op.target
        moving = self._moving(op, value, op.axes, op.coefs)
        unknown = _data_dependent_loops(op, op)
        once = op.in_register and op.kind in ("reduce", "argmax")
        loops = op.loops[: op.outermost] if once else op.loops
        touched = self.at.iterations([x for x in loops if x in moving or x in unknown]) * self._copies(value)
        adds = value.accumulates or (op.kind in ("reduce", "put") and not once)
        self.found.writes(value, touched)
        if adds and not value.accumulates:
            self.found.reads(value, touched)
        for _ in range(2 if adds else 1):
            self._ask(value, self.at.iterations(loops), self.writer.storing[op], moving, unknown)

    def _moving(self, op: Op, value: Value, axes: Mapping, coefs: Mapping) -> dict[Loop, int]:
        """How far every loop moves the address of an access."""
        steps = self.writer.addresses.terms(op, value, axes, coefs, 0)[1]
        return {item: self.at.count(step) for item, step in steps.items()}

    def _copies(self, value: Value) -> int:
        """How many slabs have a copy of their own."""
        return self.at.slabs if value.accumulates else 1

    def _ask(
        self, value: Value, times: float, across: ParallelLoops, moving: Mapping[Loop, int], unknown: Sequence[Loop]
    ) -> None:
        share = 0.0 if across is None else coalesced_share(across, moving, unknown, self.at)
        self.found.asks(times * self.at.width(value), share)


def coalesced_share(
    across: Sequence[Loop], moving: Mapping[Loop, int], unknown: Sequence[Loop], at: SizedProgram
) -> float:
    """The share of neighbouring turns of some loops, taken as one, whose addresses are the same or neighbouring.

    `moving` says how far every loop moves the address, `unknown` are those that move it as data say.
    """
    share, inner, back = 0.0, 1.0, 0
    for item in reversed(across):
        size = at.count(item.size)
        if size == 1:
            continue
        if item in unknown:
            return share
        step = moving.get(item, 0)
        share += (1 - 1 / size) / inner if step - back in (0, 1) else 0.0
        inner, back = inner * size, back + step * (size - 1)
    return share + 1 / inner


def _data_dependent_loops(op: Op, access: Access | Op) -> list[Loop]:
    """The loops that move the index of a read or write."""
    if access.gather is None:
        return []
    view = access.gather[0].view
    return [item for key in (*view.axis_keys(), *view.coefs) if (item := op.loop_of(key)) is not None]


DRAW_OPERATIONS = 64
"""Operations that a uniform number counts as."""

DRAW_OPS = ("noise", "rowkey", "lanes", "draw_rows")


@dataclass(frozen=True)
class LaunchTraffic:
    """What a launch moves: bytes to and from memory, bytes that threads ask for, and operations.

    `products` are how many of its tasks are products, whose operations are `multiplied`.
    """

    name: str
    read: float
    written: float
    asked: RequestedBytes
    flops: float
    products: int
    multiplied: float


@dataclass(frozen=True)
class ProgramTraffic:
    """The launches of a program, and bytes that no schedule could do without.

    These are `least`: data, parameters and gradient once, and what crosses from one step to another of which one is a
    product, a loop over time or a draw by rejection: written once, and read once. `crossing` are the bytes of that,
    `workspace` those of its memory.
    """

    launches: Sequence[LaunchTraffic]
    least: float
    crossing: float
    workspace: float
    gradient: float

    @property
    def bytes(self) -> float:
        """Bytes to and from memory."""
        return sum(x.read + x.written for x in self.launches)

    @property
    def products(self) -> int:
        """Products of all rows."""
        return sum(x.products for x in self.launches)

    @property
    def beside(self) -> float:
        """The share of bytes asked for where neighbouring threads touch neighbouring entries."""
        asked = sum(x.asked.bytes for x in self.launches)
        return sum(x.asked.beside for x in self.launches) / asked if asked else 1.0


def step_traffic(step: Cluster | Opaque, stage: Stage, at: SizedProgram) -> StepTraffic:
    """What a step moves over all rows."""
    if isinstance(step, Cluster):
        return ClusterTrafficCounter(step, stage.row, at).found
    if step.node.op == "turns":
        return _loop_traffic(step, at)
    return _product_traffic(step, stage, at) if step.node.op == "gemm" else _kernel_traffic(step, at)


def _loop_traffic(step: Opaque, at: SizedProgram) -> StepTraffic:
    """What a loop over time moves in all turns."""
    found = StepTraffic()
    for inner in step.inner:
        for part in inner.steps:
            found.add(step_traffic(part, inner, at), 1 if inner is step.before else step.node.attrs["length"])
    return found


def _kernel_traffic(step: Opaque, at: SizedProgram) -> StepTraffic:
    """What a step moves that is a kernel of its own: its arguments and its result once."""
    found, node = StepTraffic(), step.node
    made, alone = at.count(entry_count(node.type)), node.op in ONE_THREAD_PER_ENTRY
    arguments = () if node.op in ("noise", "rowid", "rowkey") else node.args
    passed = [(at.value(x), at.count(entry_count(x.type))) for x in arguments]
    for value, count in passed:
        if value.buffer is not None:
            found.reads(value, count)
            found.asks(count * at.width(value), 0.0 if alone and value.block > 1 else 1.0)
    found.writes(step.target, made)
    found.asks(made * at.width(step.target), 0.0 if alone and step.target.block > 1 else 1.0)
    found.flops = made * (DRAW_OPERATIONS if node.op in DRAW_OPS else node.type.event_size if alone else 1)
    return found


def _product_traffic(step: Opaque, stage: Stage, at: SizedProgram) -> StepTraffic:
    """What a product moves: by tiles, or entry by entry where it is a step of a block."""
    found = StepTraffic()
    tile = CUDA_TILE if stage.row is not None and not stage.outer else 1
    rows = 1 if stage.row is None else at.count(axis_size(stage.row))
    for attrs, a, b in operand_pairs(step.node):
        (_, apart), shape, *_ = gemm_layout(attrs, a, b, stage.row)
        m, n, k = (x.evaluate({**at.sizes, "n": rows}) for x in shape)
        for operand, count, again, share in ((a, m * k, n, 1.0), (b, k * n, m, float(tile > 1 or not apart))):
            value = at.value(operand)
            found.reads(value, count)
            found.asks(count * math.ceil(again / tile) * at.width(value), share)
        found.writes(step.target, m * n)
        found.asks(m * n * at.width(step.target), 1.0)
        found.flops += 2.0 * m * n * k
    return found


def _sum_traffic(values: Sequence[Value], at: SizedProgram, into: bool) -> StepTraffic:
    """What the sums over slabs move; those `into` gradients are shared by entries."""
    found = StepTraffic()
    for value in values:
        size = at.count(value.extent())
        found.reads(value, size * at.slabs)
        share = 1.0 if into or size >= at.unit.builder.target.threads else 0.0
        found.asks(size * at.slabs * at.width(value), share)
        found.flops += size * at.slabs
    return found


def program_traffic(at: SizedProgram, cache: float, workspace: float) -> ProgramTraffic:
    """The accounts of a program on a device with a cache of so many bytes for all blocks."""
    unit = at.unit
    found = group_launches(unit.stages, unit.builder.target.fusion.whole, unit.n_aux > 0)
    if not unit.stages:
        given = float(sum(unit.sizes[x] for x in ("params", "aux", "hyper")) * at.itemsize)
        gradient = float(unit.sizes["grad"] * at.itemsize)
        alone = LaunchTraffic("one", given, gradient, RequestedBytes(given + gradient, given + gradient), 0.0, 0, 0.0)
        return ProgramTraffic([alone], given + gradient, 0.0, workspace, gradient)
    crossing = at.bytes({v: at.most(v) for v in _values_between_steps(found, at)})
    gradient = float(unit.sizes["grad"] * at.itemsize)
    least = _input_bytes(found, at) + gradient + 2 * crossing
    return ProgramTraffic([_launch_traffic(x, at, cache) for x in found], least, crossing, workspace, gradient)


def _launch_traffic(launch: Launch, at: SizedProgram, cache: float) -> LaunchTraffic:
    """What one launch moves."""
    products = [step_traffic(t.product, t.stage, at) for t in launch if t.product is not None and t.stage is not None]
    others = [part for task in launch if task.product is None for part in _task_traffic(task, at)]
    total = StepTraffic()
    for part in (*products, *others):
        total.add(part)
    if at.bytes({**total.read, **total.written}) <= cache:
        read = at.bytes({v: n for v, n in total.read.items() if v not in total.written})
        written = at.bytes(total.written)
    else:
        read = sum(at.bytes(part.read) for part in (*products, *others))
        written = sum(at.bytes(part.written) for part in (*products, *others))
    sums = gradient_accumulators(at.unit.stages) if any(task.is_output for task in launch) else ()
    written += sum(at.count(v.extent()) * at.width(v) for v in sums)
    name = " ".join(task.name for task in launch)
    multiplied = sum(part.flops for part in products)
    return LaunchTraffic(name, read, written, total.asked, total.flops, len(products), multiplied)


def _task_traffic(task: Task, at: SizedProgram) -> Iterator[StepTraffic]:
    """What the steps of a task move that is no product."""
    if task.is_output:
        yield _sum_traffic(list(gradient_accumulators(at.unit.stages)), at, True)
    if task.totals:
        yield _sum_traffic(task.totals, at, False)
    if task.stage is not None:
        for step in task.stage.steps:
            yield step_traffic(step, task.stage, at)


def _values_between_steps(found: Sequence[Launch], at: SizedProgram) -> list[Value]:
    """The values that one step makes and another reads, where one of them is no loop nest."""
    makers: dict[Node, Cluster | Opaque] = {}
    values: dict[Value, None] = {}
    for step in (s for launch in found for task in launch for s in _whole_steps(task)):
        opaque = isinstance(step, Opaque)
        read = (
            [at.value(base) for base in stored_operands(step.node)] if isinstance(step, Opaque) else _values_read(step)
        )
        for value in read:
            maker = makers.get(producing_node(value.node))
            if maker is not None and maker is not step and (opaque or isinstance(maker, Opaque)):
                values[value] = None
        makers |= (
            {step.node: step} if isinstance(step, Opaque) else {producing_node(op.target.node): step for op in step.ops}
        )
    return list(values)


def _whole_steps(task: Task) -> Sequence[Cluster | Opaque]:
    """The steps of a task, of loops over time only the whole."""
    if task.product is not None:
        return [task.product]
    return () if task.stage is None else task.stage.steps


def _values_read(step: Cluster) -> list[Value]:
    return [read.value for op in step.ops for read in op.reads]


def _input_bytes(found: Sequence[Launch], at: SizedProgram) -> float:
    """Bytes of the parameters and data that a program reads."""
    values: dict[Value, None] = {}
    for step in (x for launch in found for task in launch for x in task.steps):
        read = (
            [at.value(base) for base in stored_operands(step.node)] if isinstance(step, Opaque) else _values_read(step)
        )
        values |= dict.fromkeys(read)
    leaves = [v for v in values if v.node.op in ("param", "input", "aux", "hyper")]
    return at.bytes({v: at.most(v) for v in leaves})


L2_CACHE_BYTES = 40e6
"""Bytes that the blocks of a device hold together: the second-level cache of an A100."""


def account_for_call(
    executable: EmittedProgram, rows: int | Mapping[str, int] = 1, particles: int = 1, cache: float = L2_CACHE_BYTES
) -> ProgramTraffic:
    """What a call moves and computes.

    Parameters
    ----------
    executable : a program emitted for CUDA
    rows : rows of all plates, or of each by its name
    particles : particles of a call
    cache : bytes that the blocks of the device hold together
    """
    _, emitter = emit_request(executable.request, executable.dtype, executable.target)
    given = dict(rows) if isinstance(rows, Mapping) else dict.fromkeys(executable.plate_names, rows)
    sizes = executable._sizes(given, particles, 1)
    slabs = executable._slabs(sizes)
    full = executable.layout_sizes(sizes, slabs)
    floats, ints = (executable.extent(array, full, slabs, slabs) for array in "wv")
    at = SizedProgram(emitter.unit, full, slabs)
    return program_traffic(at, cache, float(floats * at.itemsize + ints * 8))
