"""Stages: the records that a schedule consists of.

=============  =========================================================================
`Stage`        runs once a call (`row` is None), or for all rows of a plate: a row region
`Cluster`      a step of a stage: fused operations, one kernel
`Opaque`       a step that is no loop nest of ours: product, noise, loop, function of users
`Loop`, `Op`   the loop tree of a cluster, and the operations in it
`Access`       a read of a value by an operation, through a view
`Value`        a value that exists in memory or registers, in a `Buffer`
=============  =========================================================================

`show_schedule` prints them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from ppl.compiler.lower.request import Output
from ppl.compiler.lower.sizes import Poly
from ppl.compiler.lower.views import Dim, FixedIndex, LoopKey, View, axis_strides, dims_of, row_axis, strides_of
from ppl.ir.node import Node
from ppl.ir.types import Axis
from ppl.records import dataclass


@dataclass(eq=False)
class Buffer:
    """Where a stored value lies: `array[offset + shift + ...]`.

    It begins `shift` entries behind `offset`; `rows` says that the row index counts from the first row of the call, or
    from row `first` if that is given, and not from that of the tile.
    """

    array: str
    offset: Poly
    rows: bool = False
    symbol: str = ""
    literal: bool = False
    size: Poly = field(default_factory=Poly)
    first: str = ""
    shift: int = 0


@dataclass(eq=False)
class Value:
    """A value that exists in memory or registers.

    A `stack` is what a loop over rows has stacked: its leading event dimension lies outside the rows of the tile, so
    that a step's entries of all rows are contiguous; `stack` is then the number of rows and other named entries.

    One with `rows_adjacent` has the rows of a tile side by side, once for every entry of a row; of a stack, in every
    step.

    Scratch is written anew in every turn of the loops `prefix`, which run over its first dimensions in memory; it has
    room for the others.
    """

    node: Node
    name: str
    axes: tuple[Axis, ...]
    shape: tuple[int, ...]
    dtype: str
    buffer: Buffer | None = None
    in_memory: bool = False
    accumulates: bool = False
    prefix: tuple[Loop, ...] = ()
    stack: Poly | None = None
    rows_adjacent: bool = False

    @property
    def block(self) -> int:
        """Contiguous entries of the event."""
        return math.prod(self.shape[1:] if self.stack is not None else self.shape)

    @property
    def stack_length(self) -> int:
        """Steps of a stack; 1 of what is none."""
        return self.shape[0] if self.stack is not None else 1

    @property
    def strides(self) -> dict[Axis, Poly]:
        """Memory strides of the named axes."""
        if not self.rows_adjacent:
            return axis_strides(self.axes, self.block)
        row = row_axis(self.axes)
        others = axis_strides(tuple(a for a in self.axes if a != row), self.block)
        return {a: Poly.of(1) if a == row else others[a] * "n" for a in self.axes}

    def stride(self, coef: int) -> Poly:
        """The distance in memory of entries that are `coef` apart in the flat event."""
        apart = Poly.of("n") if self.rows_adjacent else Poly.of(1)
        if self.stack is None:
            return apart * coef
        times, rest = divmod(coef, self.block)
        return apart * rest + self.stack * (times * self.block)

    def room(self) -> Poly:
        """Number of entries in one turn of the loops `prefix`."""
        total = Poly.of(1)
        for dim in dims_of(self.axes, self.shape)[len(self.prefix) :]:
            total = total * dim.size
        return total

    def extent(self, skip: Iterable[LoopKey] = ()) -> Poly:
        """Number of entries, leaving out the loops `skip`."""
        total = Poly.of(1)
        for dim in dims_of(self.axes, self.shape):
            total = total * (1 if dim.key in skip else dim.size)
        return total


@dataclass(eq=False)
class Access:
    """A read of `value` by an operation; `gather` is (index access, stride or axis) for data-dependent rows."""

    value: Value
    view: View
    gather: tuple[Access, int | Axis] | None = None
    limit: int = 0


@dataclass(eq=False)
class Op:
    """One operation over the loops `domain`; `scattered` are those after which, and only then, its result is whole.

    One that is `last` overwrites what others of its cluster read: it comes after them.
    """

    kind: str
    node: Node
    target: Value
    domain: tuple[Dim, ...]
    args: list[Access]
    scattered: frozenset[LoopKey] = frozenset()
    axes: Mapping[Axis, LoopKey | FixedIndex] = field(default_factory=dict)
    coefs: Mapping[LoopKey, int] = field(default_factory=dict)
    offset: int = 0
    gather: tuple[Access, int | Axis] | None = None
    limit: int = 0
    last: bool = False
    loops: list[Loop] = field(default_factory=list)

    @property
    def reads(self) -> Iterator[Access]:
        """All accesses, those of indices included."""
        for access in (*self.args, *((self.gather[0],) if self.gather else ())):
            yield access
            if access.gather:
                yield access.gather[0]

    @property
    def head(self) -> Dim:
        """The next loop it needs."""
        return self.domain[len(self.loops)]

    def loop_of(self, key: LoopKey) -> Loop | None:
        """The loop over `key`, None where its length is 1."""
        for dim, loop in zip(self.domain, self.loops, strict=False):
            if dim.key == key:
                return loop
        return None

    @property
    def outermost(self) -> int:
        """Depth of the first scattered loop."""
        return next((i for i, d in enumerate(self.domain) if d.key in self.scattered), len(self.domain))

    @property
    def begins(self) -> int:
        """Depth at which its sums are cleared: where they begin, or before if what is left there lies apart."""
        if self.in_register:
            return self.outermost
        return next(d for d in range(self.outermost, -1, -1) if remaining_dims(self, d) is not None)

    @property
    def complete(self) -> tuple[Loop, ...]:
        """The loops inside which its result is whole."""
        return tuple(self.loops[: self.outermost])

    @property
    def in_register(self) -> bool:
        """Whether its result, while being made, is one number."""
        if self.kind in ("reduce", "argmax"):
            return all(d.key in self.scattered for d in self.domain[self.outermost :])
        return self.kind == "map"


@dataclass(eq=False)
class Loop:
    """`for` over a named axis or an event dimension.

    `register_group` is the first of several loops whose turns are those of the same threads: see `threads/held.py`.
    """

    token: Any
    size: Poly
    items: list[Loop | Op] = field(default_factory=list)
    var: str = ""
    register_group: Loop | None = None

    def ops(self) -> Iterator[Op]:
        """All operations inside."""
        for item in self.items:
            if isinstance(item, Op):
                yield item
            else:
                yield from item.ops()

    def begun(self) -> list[Op]:
        """Operations whose sums are cleared before it."""
        return [op for op in self.ops() if op.begins < len(op.loops) and op.loops[op.begins] is self]

    @property
    def innermost(self) -> bool:
        """Whether no loop is inside."""
        return all(isinstance(i, Op) for i in self.items)


def identity_store(node: Node) -> tuple[dict[Axis, LoopKey | FixedIndex], dict[LoopKey, int]]:
    """The store map of a result that is written where it is computed."""
    steps = strides_of(node.type.shape)
    return {a: a for a in node.type.axes}, {k: s for k, s in enumerate(steps) if node.type.shape[k] != 1}


def remaining_dims(op: Op, depth: int) -> tuple[Dim, ...] | None:
    """The dimensions of the result of `op` that its first `depth` loops leave: all that follow in memory.

    None where these loops do not run over just the first dimensions in memory, in any order.
    """
    value = op.target
    dims, steps = dims_of(value.axes, value.shape), strides_of(value.shape)
    keys = {d.key for d in op.domain[:depth]}
    moving = {
        op.axes.get(d.key) if isinstance(d.key, Axis) else _loop_moving_by(op, steps[d.key]) for d in dims[:depth]
    }
    return dims[depth:] if depth <= len(dims) and moving == keys else None


def _loop_moving_by(op: Op, step: int) -> LoopKey | None:
    """The loop that moves a result by `step` entries of its event."""
    return next((key for key, coef in op.coefs.items() if coef == step), None)


@dataclass(eq=False)
class Cluster:
    """Fused operations: one kernel."""

    ops: list[Op]
    items: list[Loop | Op] = field(default_factory=list)
    scratch: list[Value] = field(default_factory=list)
    name: str = ""


@dataclass(eq=False)
class Opaque:
    """A step that is not a loop nest of ours: product, noise, row ids or keys, loop, external function.

    A product of which every slab computes a share has `shared` rows in its result; any other has none. A loop runs
    `before` once, and `test` and `body` in every turn. The values `cleared` are sums over the rows of a tile that a
    loop adds to, and that another loop around it reads.
    """

    node: Node
    target: Value
    before: Stage | None = None
    test: Stage | None = None
    body: Stage | None = None
    shared: int = 0
    cleared: list[Value] = field(default_factory=list)

    @property
    def inner(self) -> list[Stage]:
        """The stages that a loop runs, in this order."""
        return [s for s in (self.before, self.test, self.body) if s is not None]


@dataclass(eq=False)
class Stage:
    """An unplated stage (`row` None) or a row region, with its steps in order; `outer` is that of a loop's body.

    `partitioned` are products over rows that follow the steps, by shares of the result; `chunk_values` are the
    values they read.
    """

    level: int
    row: Axis | None
    nodes: list[Node] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    steps: list[Cluster | Opaque] = field(default_factory=list)
    accumulators: list[Value] = field(default_factory=list)
    tiles: list[Value] = field(default_factory=list)
    lives: dict[Value, tuple[int, int]] = field(default_factory=dict)
    name: str = ""
    outer: str = ""
    copies: list[tuple[Output, Value]] = field(default_factory=list)
    finals: list[Op] = field(default_factory=list)
    partitioned: list[Opaque] = field(default_factory=list)
    chunk_values: list[Value] = field(default_factory=list)


def producing_node(node: Node) -> Node:
    """The node whose step makes `node`: a `get` is made by its loop."""
    return node.args[0] if node.op == "get" else node


def tile_size(value: Value, row: Axis) -> Poly:
    """Entries of a tile buffer for one row."""
    return value.extent(skip=(row,))


def show_schedule(stages: Sequence[Stage]) -> str:
    """One line per stage, step, loop and body."""
    lines = []
    for stage in stages:
        lines.append(f"{stage.name}: " + (f"for rows of {stage.row.name}" if stage.row else "unplated"))
        for step in stage.steps:
            if isinstance(step, Cluster):
                lines.append("  kernel")
                lines += _loop_tree_lines(step.items, "    ")
            else:
                lines.append(f"  {step.node.op} {step.target.name} {step.node.type}")
        lines += [f"  by shares of the result: gemm {s.target.name} {s.node.type}" for s in stage.partitioned]
    return "\n".join(lines)


def _loop_tree_lines(items: Sequence[Loop | Op], pad: str) -> list[str]:
    lines, names = [], []
    for item in items:
        if isinstance(item, Op):
            names.append(item.target.name)
            continue
        if names:
            lines.append(pad + " ".join(names))
            names = []
        lines.append(f"{pad}for {item.token if not hasattr(item.token, 'name') else item.token.name}:")
        lines += _loop_tree_lines(item.items, pad + "  ")
    return [*lines, pad + " ".join(names)] if names else lines


def all_steps(stage: Stage) -> list[Cluster | Opaque]:
    """The steps of a stage, of the loops inside it, and the products it owns."""
    out: list[Cluster | Opaque] = []
    for step in (*stage.steps, *stage.partitioned):
        out.append(step)
        for inner in step.inner if isinstance(step, Opaque) else ():
            out += all_steps(inner)
    return out
