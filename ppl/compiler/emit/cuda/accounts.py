"""The accounts of a CUDA program: what every launch moves and computes at some sizes; nothing is run.

Bytes of a launch are those of every entry once, of each step if a slab's rows do not stay in the caches, and of each
tile if the operands of a product do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ppl.compiler.emit.cuda.stages import ONE_BY_ONE
from ppl.compiler.emit.cuda.traffic import Asked, ClusterTraffic, Moved, Sized
from ppl.compiler.emit.products import layout
from ppl.compiler.lower.joined import pairs
from ppl.compiler.lower.views import axis_size, entries
from ppl.compiler.schedule.fusion import Value
from ppl.compiler.schedule.stages import Cluster, Opaque, Stage, bases, source
from ppl.compiler.schedule.threads.launches import Launch, Task, directly, launches
from ppl.ir.node import Node
from ppl.records import dataclass
from ppl.tuning import CUDA_TILE

DRAW = 64
"""Operations that a uniform number counts as."""

DRAWN = ("noise", "rowkey", "lanes", "draw_rows")


@dataclass(frozen=True)
class LaunchAccount:
    """What a launch moves: bytes to and from memory, bytes that threads ask for, and operations.

    `products` are how many of its tasks are products, whose operations are `multiplied`.
    """

    name: str
    read: float
    written: float
    asked: Asked
    flops: float
    products: int
    multiplied: float


@dataclass(frozen=True)
class Accounts:
    """The launches of a program, and bytes that no schedule could do without.

    These are `least`: data, parameters and gradient once, and what crosses from one step to another of which one is a
    product, a loop over time or a draw by rejection: written once, and read once. `crossing` are the bytes of that,
    `workspace` those of its memory.
    """

    launches: Sequence[LaunchAccount]
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


def moved(step: Cluster | Opaque, stage: Stage, at: Sized) -> Moved:
    """What a step moves over all rows."""
    if isinstance(step, Cluster):
        return ClusterTraffic(step, stage.row, at).found
    if step.node.op == "turns":
        return _loop(step, at)
    return _product(step, stage, at) if step.node.op == "gemm" else _kernel(step, at)


def _loop(step: Opaque, at: Sized) -> Moved:
    """What a loop over time moves in all turns."""
    found = Moved()
    for inner in step.inner:
        for part in inner.steps:
            found.add(moved(part, inner, at), 1 if inner is step.before else step.node.attrs["length"])
    return found


def _kernel(step: Opaque, at: Sized) -> Moved:
    """What a step moves that is a kernel of its own: its arguments and its result once."""
    found, node = Moved(), step.node
    made, alone = at.count(entries(node.type)), node.op in ONE_BY_ONE
    arguments = () if node.op in ("noise", "rowid", "rowkey") else node.args
    passed = [(at.value(x), at.count(entries(x.type))) for x in arguments]
    for value, count in passed:
        if value.buffer is not None:
            found.reads(value, count)
            found.asks(count * at.width(value), 0.0 if alone and value.block > 1 else 1.0)
    found.writes(step.target, made)
    found.asks(made * at.width(step.target), 0.0 if alone and step.target.block > 1 else 1.0)
    found.flops = made * (DRAW if node.op in DRAWN else node.type.event_size if alone else 1)
    return found


def _product(step: Opaque, stage: Stage, at: Sized) -> Moved:
    """What a product moves: by tiles, or entry by entry where it is a step of a block."""
    found = Moved()
    tile = CUDA_TILE if stage.row is not None and not stage.outer else 1
    rows = 1 if stage.row is None else at.count(axis_size(stage.row))
    for attrs, a, b in pairs(step.node):
        (_, apart), shape, *_ = layout(attrs, a, b, stage.row)
        m, n, k = (x.evaluate({**at.sizes, "n": rows}) for x in shape)
        for operand, count, again, share in ((a, m * k, n, 1.0), (b, k * n, m, float(tile > 1 or not apart))):
            value = at.value(operand)
            found.reads(value, count)
            found.asks(count * math.ceil(again / tile) * at.width(value), share)
        found.writes(step.target, m * n)
        found.asks(m * n * at.width(step.target), 1.0)
        found.flops += 2.0 * m * n * k
    return found


def _sums(values: Sequence[Value], at: Sized, into: bool) -> Moved:
    """What the sums over slabs move; those `into` gradients are shared by entries."""
    found = Moved()
    for value in values:
        size = at.count(value.extent())
        found.reads(value, size * at.slabs)
        share = 1.0 if into or size >= at.unit.builder.target.threads else 0.0
        found.asks(size * at.slabs * at.width(value), share)
        found.flops += size * at.slabs
    return found


def account(at: Sized, cache: float, workspace: float) -> Accounts:
    """The accounts of a program on a device with a cache of so many bytes for all blocks."""
    unit = at.unit
    found = launches(unit.stages, unit.builder.target.fusion.whole, unit.n_aux > 0)
    if not unit.stages:
        given = float(sum(unit.sizes[x] for x in ("params", "aux", "hyper")) * at.itemsize)
        gradient = float(unit.sizes["grad"] * at.itemsize)
        alone = LaunchAccount("one", given, gradient, Asked(given + gradient, given + gradient), 0.0, 0, 0.0)
        return Accounts([alone], given + gradient, 0.0, workspace, gradient)
    crossing = at.bytes({v: at.most(v) for v in _crossing(found, at)})
    gradient = float(unit.sizes["grad"] * at.itemsize)
    least = _given(found, at) + gradient + 2 * crossing
    return Accounts([_launch(x, at, cache) for x in found], least, crossing, workspace, gradient)


def _launch(launch: Launch, at: Sized, cache: float) -> LaunchAccount:
    """What one launch moves."""
    products = [moved(t.product, t.stage, at) for t in launch if t.product is not None and t.stage is not None]
    others = [part for task in launch if task.product is None for part in _parts(task, at)]
    total = Moved()
    for part in (*products, *others):
        total.add(part)
    if at.bytes({**total.read, **total.written}) <= cache:
        read = at.bytes({v: n for v, n in total.read.items() if v not in total.written})
        written = at.bytes(total.written)
    else:
        read = sum(at.bytes(part.read) for part in (*products, *others))
        written = sum(at.bytes(part.written) for part in (*products, *others))
    sums = directly(at.unit.stages) if any(task.is_output for task in launch) else ()
    written += sum(at.count(v.extent()) * at.width(v) for v in sums)
    name = " ".join(task.name for task in launch)
    multiplied = sum(part.flops for part in products)
    return LaunchAccount(name, read, written, total.asked, total.flops, len(products), multiplied)


def _parts(task: Task, at: Sized) -> Iterator[Moved]:
    """What the steps of a task move that is no product."""
    if task.is_output:
        yield _sums(list(directly(at.unit.stages)), at, True)
    if task.totals:
        yield _sums(task.totals, at, False)
    if task.stage is not None:
        for step in task.stage.steps:
            yield moved(step, task.stage, at)


def _crossing(found: Sequence[Launch], at: Sized) -> list[Value]:
    """The values that one step makes and another reads, where one of them is no loop nest."""
    makers: dict[Node, Cluster | Opaque] = {}
    values: dict[Value, None] = {}
    for step in (s for launch in found for task in launch for s in task.outer_steps):
        opaque = isinstance(step, Opaque)
        read = [at.value(base) for base in bases(step.node)] if isinstance(step, Opaque) else _read_by(step)
        for value in read:
            maker = makers.get(source(value.node))
            if maker is not None and maker is not step and (opaque or isinstance(maker, Opaque)):
                values[value] = None
        makers |= {step.node: step} if isinstance(step, Opaque) else {source(op.target.node): step for op in step.ops}
    return list(values)


def _read_by(step: Cluster) -> list[Value]:
    return [read.value for op in step.ops for read in op.reads]


def _given(found: Sequence[Launch], at: Sized) -> float:
    """Bytes of the parameters and data that a program reads."""
    values: dict[Value, None] = {}
    for step in (x for launch in found for task in launch for x in task.steps):
        read = [at.value(base) for base in bases(step.node)] if isinstance(step, Opaque) else _read_by(step)
        values |= dict.fromkeys(read)
    leaves = [v for v in values if v.node.op in ("param", "input", "aux", "hyper")]
    return at.bytes({v: at.most(v) for v in leaves})
