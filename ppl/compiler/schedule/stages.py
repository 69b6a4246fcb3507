"""Stages, steps and outputs: the data that a schedule consists of, and which stage every node belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import field

from ppl.compiler.lower.loops.turns import varying_of
from ppl.compiler.lower.request import Output
from ppl.compiler.lower.views import Poly, is_view, row_axis
from ppl.compiler.schedule.fusion import Loop, Op, Value
from ppl.ir.node import Node
from ppl.ir.op_facts import GIVEN, POINTWISE
from ppl.ir.types import Axis
from ppl.records import dataclass


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

    `owned` are products over rows that follow the steps, by shares of the result; `kept` are the values they read.
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
    owned: list[Opaque] = field(default_factory=list)
    kept: list[Value] = field(default_factory=list)


def domain_axes(node: Node) -> tuple[Axis, ...]:
    """Named axes over which a node's work runs."""
    if node.op in ("sum", "amax", "put"):
        return node.args[0].type.axes
    if node.op == "column_dot":  # all rows at once
        return ()
    if node.op == "gemm":
        return tuple(sorted({a for x in node.args for a in x.type.axes}, key=lambda a: a.order))
    if node.op == "turns":
        axes = {a for n in varying_of(node) for a in (*n.type.axes, *domain_axes(n))}
        axes |= {a for t in node.attrs["types"] for a in t.axes}
        return tuple(sorted(axes, key=lambda a: a.order))
    return node.type.axes


def row_of(node: Node) -> Axis | None:
    """The row axis of the region that a node must run in."""
    return row_axis(domain_axes(node))


def bases(node: Node) -> list[Node]:
    """The stored values that a node reads."""
    out = []
    for arg in node.args:
        while is_view(arg):
            arg = arg.args[0]
        out.append(arg)
    return out


def source(node: Node) -> Node:
    """The node whose step makes `node`: a `get` is made by its loop."""
    return node.args[0] if node.op == "get" else node


def assign(
    order: Sequence[Node], outputs: Sequence[Output], cuts: Set[str] = frozenset()
) -> dict[Node, tuple[int, Axis | None]]:
    """Stage of every stored node: as early as possible, then rows as late as their readers in other regions allow.

    Products by columns that wait for no other ones are in one stage. Ops among `cuts` share no region of rows with what
    they read, or with what reads them.
    """
    place_ = _early(order, {}, cuts)
    together = [n for n in _first_products(order) if n in place_]
    if len({place_[n] for n in together}) > 1:
        place_ = _early(order, dict.fromkeys(together, max(place_[n][0] for n in together)), cuts)

    users: dict[Node, list[Node]] = {}
    for node in order:
        for b in bases(node):
            users.setdefault(source(b), []).append(source(node))
    fixed = {source(b) for o in outputs for b in ([o.node] if not is_view(o.node) else bases(chain(o.node)))}
    for node in reversed(order):
        if node not in place_ or place_[node][1] is None or node in fixed or row_axis(node.type.axes) is None:
            continue
        if node.op in ("sum", "amax", "argmax") and not _is_loose(node):  # what it adds up would have to be kept
            continue
        level, row = place_[node]
        later = [(place_[u][0] - _gap(node, u, cuts), place_[u][1]) for u in users.get(node, [])]
        if later and all(r == row for _, r in later):
            place_[node] = (max(level, min(k for k, _ in later)), row)
    return place_


def _is_loose(node: Node) -> bool:
    """Whether an operation reads what is given, or made of that entry by entry."""
    return all(b.op in GIVEN or (b.op in POINTWISE and _is_loose(b)) for b in bases(node))


def _gap(made: Node, user: Node, cuts: Set[str]) -> int:
    """Regions between a value of rows and what reads it there, counted in levels."""
    return 2 if made.op in cuts or user.op in cuts else 0


def _early(order: Sequence[Node], least: Mapping[Node, int], cuts: Set[str]) -> dict[Node, tuple[int, Axis | None]]:
    """The first stage that every node can be in, of at least the level `least[node]`."""
    place_: dict[Node, tuple[int, Axis | None]] = {}

    def ready(arg: Node, row: Axis | None, user: Node) -> int:
        arg = source(arg)
        if arg in place_:
            level, other = place_[arg]
            if other is None:
                return level + (row is not None)
            if other == row and row_axis(arg.type.axes) == row and row is not None:
                return level + _gap(arg, user, cuts)
            return level + (1 if row is None else 2)
        return 0 if row is None else 1

    for node in order:
        if node.op in GIVEN or node.op == "get":
            continue
        row = row_of(node)
        first = least.get(node, 0 if row is None else 1)
        place_[node] = (max([first, *(ready(b, row, node) for b in bases(node))]), row)
    return place_


def _first_products(order: Sequence[Node]) -> list[Node]:
    """The products by columns that do not depend on others."""
    later: set[Node] = set()
    found = []
    for node in order:
        depends = any(b in later for b in bases(node))
        if node.op == "column_dot" and not depends:
            found.append(node)
        if depends or node.op == "column_dot":
            later.add(node)
    return found


def chain(node: Node) -> Node:
    """The innermost of the views that stand on one another at `node`: the one that reads a value."""
    while is_view(node) and is_view(node.args[0]):
        node = node.args[0]
    return node


def tile_size(value: Value, row: Axis) -> Poly:
    """Entries of a tile buffer for one row."""
    return value.extent(skip=(row,))
