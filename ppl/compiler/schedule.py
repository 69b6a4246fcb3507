"""Scheduling: from lowered IR to stages, row regions and steps. Target independent; each target emits what is here.

A program alternates *unplated stages* (even numbers) and *row regions* (odd numbers). A region runs all its steps tile
by tile over its row axis; sums over rows go to accumulators, which are added up before the next unplated stage. Within
a stage, opaque steps (products, noise, loops) separate clusters of fused operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ppl.compiler.build import Builder
from ppl.compiler.fuse import Buffer, Loop, Op, Value, nest, place
from ppl.compiler.layout import Poly, axis_size, is_view, row_axis
from ppl.ir.node import Node, topological
from ppl.ir.types import Axis

LEAVES = {"const", "param", "aux", "hyper", "input", "size", "scale", "arg"}
OPAQUE = {"gemm", "noise", "rowid", "rowkey", "region", "external"}


@dataclass(eq=False)
class Output:
    """A node that is written to `array` at `offset`."""

    name: str
    node: Node
    array: str
    offset: Poly
    rows: bool = False


@dataclass(eq=False)
class Cluster:
    """Fused operations: one kernel."""

    ops: list[Op]
    items: list[Loop | Op] = field(default_factory=list)
    scratch: list[Value] = field(default_factory=list)
    name: str = ""


@dataclass(eq=False)
class Opaque:
    """A step that is not a loop nest of ours: product, noise, row ids or keys, loop, external function."""

    node: Node
    target: Value
    before: Stage | None = None
    body: Stage | None = None


@dataclass(eq=False)
class Stage:
    """An unplated stage (`row` None) or a row region, with its steps in order."""

    level: int
    row: Axis | None
    nodes: list[Node] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    steps: list[Cluster | Opaque] = field(default_factory=list)
    accumulators: list[Value] = field(default_factory=list)
    tiles: list[Value] = field(default_factory=list)
    lives: dict[Value, tuple[int, int]] = field(default_factory=dict)
    name: str = ""
    copies: list[tuple[Output, Value]] = field(default_factory=list)
    finals: list[Op] = field(default_factory=list)


def domain_axes(node: Node) -> tuple[Axis, ...]:
    """Named axes over which a node's work runs."""
    if node.op in ("sum", "amax", "put"):
        return node.args[0].type.axes
    if node.op == "gemm":
        return tuple(sorted({a for x in node.args for a in x.type.axes}, key=lambda a: a.order))
    if node.op == "region":
        nodes = topological(node.attrs["outputs"])
        axes = {a for n in (*nodes, *node.args) for a in (*n.type.axes, *domain_axes(n))}
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


def _source(node: Node) -> Node:
    """The node whose step makes `node`: a `get` is made by its loop."""
    return node.args[0] if node.op == "get" else node


def assign(order: Sequence[Node], outputs: Sequence[Output]) -> dict[Node, tuple[int, Axis | None]]:
    """Stage of every stored node: as early as possible, then rows as late as their readers in other regions allow."""
    place_: dict[Node, tuple[int, Axis | None]] = {}

    def ready(arg: Node, row: Axis | None) -> int:
        arg = _source(arg)
        if arg in place_:
            level, other = place_[arg]
            if other is None:
                return level + (row is not None)
            if other == row and row_axis(arg.type.axes) == row and row is not None:
                return level
            return level + (1 if row is None else 2)
        return 0 if row is None else 1

    for node in order:
        if node.op in LEAVES or node.op == "get":
            continue
        row = row_of(node)
        place_[node] = (max([ready(b, row) for b in bases(node)], default=0 if row is None else 1), row)
    users: dict[Node, list[Node]] = {}
    for node in order:
        for b in bases(node):
            users.setdefault(_source(b), []).append(_source(node))
    fixed = {_source(b) for o in outputs for b in ([o.node] if not is_view(o.node) else bases(_chain(o.node)))}
    for node in reversed(order):
        if node not in place_ or place_[node][1] is None or node in fixed or row_axis(node.type.axes) is None:
            continue
        level, row = place_[node]
        later = [place_[u] for u in users.get(node, [])]
        if later and all(r == row for _, r in later):
            place_[node] = (max(level, min(k for k, _ in later)), row)
    return place_


def _chain(node: Node) -> Node:
    while is_view(node) and is_view(node.args[0]):
        node = node.args[0]
    return node


def schedule(outputs: Sequence[Output], builder: Builder) -> list[Stage]:
    """Split the graph of `outputs` into stages and their steps."""
    order = [n for n in topological([o.node for o in outputs]) if not is_view(n)]
    where = assign(order, outputs)
    stages: dict[tuple[int, Axis | None], Stage] = {}

    def stage(key: tuple[int, Axis | None]) -> Stage:
        if key not in stages:
            kind = "stage" if key[1] is None else "rows"
            stages[key] = Stage(*key, name=f"{kind}_{len(stages)}")
        return stages[key]

    for node in order:
        if node in where:
            stage(where[node]).nodes.append(node)
    for out in outputs:
        stage(_output_place(out, where)).outputs.append(out)
    ordered = sorted(stages.values(), key=lambda s: (s.level, s.row.order if s.row else ()))
    for s in ordered:
        _declare(s, builder, where)
    for s in ordered:
        _steps(s, builder)
    return ordered


def _output_place(out: Output, where: dict[Node, tuple[int, Axis | None]]) -> tuple[int, Axis | None]:
    row, base = row_axis(out.node.type.axes), out.node
    while is_view(base):
        base = base.args[0]
    base = _source(base)
    if base not in where:
        return (0 if row is None else 1, row)
    level, other = where[base]
    if row == other and row_axis(base.type.axes) == row:
        return level, row
    gap = 1 if (row is None) != (other is None) else 2
    return (level + (gap if row is not None or other is not None else 0), row)


def _declare(stage: Stage, builder: Builder, where: dict[Node, tuple[int, Axis | None]]) -> None:
    """Make the values of a stage, so that later stages can refer to them."""
    for node in stage.nodes:
        results = builder.results_of(node)
        for value in results:
            reduced = stage.row is not None and row_axis(value.axes) != stage.row
            if reduced and node.op == "region" and value.node.attrs["index"] not in node.attrs["summed"]:
                raise NotImplementedError("a loop over rows has a result without rows that is no sum over rows")
            if reduced:
                stage.accumulators.append(value)
                builder.accumulator(value)
            value.external = value.external or reduced or node.op in OPAQUE
            for user in builder.users.get(value.node, ()):
                if where.get(_source(user)) != (stage.level, stage.row):
                    value.external = True
                    if stage.row is not None and not reduced:
                        builder.global_rows(value)
    for out in stage.outputs:
        base = builder.base(out.node)
        if _source(base) in where and where[_source(base)] != (stage.level, stage.row):
            value = builder.value(base)
            value.external = True
            if row_axis(base.type.axes) is not None:
                builder.global_rows(value)


def _levels(stage: Stage) -> dict[Node, int]:
    """Cluster number of fused nodes; opaque nodes run after the cluster of their number (-1: before all)."""
    inside, level = set(stage.nodes), {}
    for node in stage.nodes:
        needs = [_source(b) for b in bases(node)]
        needs = [b for b in needs if b in inside]
        if node.op in OPAQUE:
            level[node] = max([level[b] + (b.op in OPAQUE) for b in needs], default=-1)
        else:
            level[node] = max([level[b] + (b.op in OPAQUE) for b in needs], default=0)
    users: dict[Node, list[Node]] = {}
    for node in stage.nodes:
        for b in bases(node):
            users.setdefault(_source(b), []).append(node)
    wanted = {b for o in stage.outputs for b in ([o.node] if not is_view(o.node) else bases(_chain(o.node)))}
    for node in reversed(stage.nodes):
        if node.op not in OPAQUE and node not in wanted and users.get(node) and node.op not in ("sum", "put"):
            level[node] = max(level[node], min(level[u] for u in users[node]))
    return level


def _steps(stage: Stage, builder: Builder) -> None:
    level = _levels(stage)
    clusters: dict[int, list[Op]] = {}
    opaque: dict[int, list[Opaque]] = {}
    for node in stage.nodes:
        if node.op in OPAQUE:
            opaque.setdefault(level[node], []).append(Opaque(node, builder.results_of(node)[0]))
        else:
            for b in bases(node):
                if _source(b) in level and level[_source(b)] != level[node]:
                    builder.value(b).external = True
            clusters.setdefault(level[node], []).extend(builder.ops_of(node))
    last = max([*clusters, *opaque, 0])
    for node in stage.nodes:
        for value in builder.results_of(node) if node.op in OPAQUE else ():
            value.external = True
        if node.op in OPAQUE:
            for b in bases(node):
                builder.value(b).external = True
    for out in stage.outputs:
        value = builder.direct(out)
        if value is not None and stage.row is None:
            stage.copies.append((out, value))
            continue
        base = _source(builder.base(out.node))
        at = min(last + 1, level[base] + (base.op in OPAQUE)) if base in level else 0
        clusters.setdefault(at, []).append(builder.output_op(out))
    for number in range(-1, max([*clusters, *opaque, 0]) + 1):
        if number in clusters:
            stage.steps.append(Cluster(clusters[number]))
        stage.steps.extend(opaque.get(number, ()))
    if stage.finals:
        stage.steps.append(Cluster(stage.finals))
    for step in stage.steps:
        if isinstance(step, Opaque) and step.node.op == "region":
            _loop(step, stage, builder)
    for step in stage.steps:
        if isinstance(step, Cluster):
            step.items = nest(step.ops)
            step.scratch = place(step.ops)
            for value in step.scratch:
                if stage.row in value.axes and not value.prefix:
                    value.external = True
                else:
                    value.buffer = Buffer("v" if value.dtype == "int" else "w", "", symbol=f"{value.name}_s")
            step.scratch = [v for v in step.scratch if v.buffer is not None]
    _lives(stage, builder)


def _loop(step: Opaque, stage: Stage, builder: Builder) -> None:
    """Schedule the copies of initial carries (`before`) and the body of a loop, as stages inside `stage`."""
    attrs = step.node.attrs
    carries, outputs = attrs["carries"], attrs["outputs"]
    step.before = Stage(stage.level, stage.row, name=f"{stage.name}_init")
    step.body = Stage(stage.level, stage.row, name=f"{stage.name}_body")
    slots = builder.loop_slots(step.node)
    inits = step.node.args[: len(carries)]
    for i, (carry, init) in enumerate(zip(carries, inits, strict=True)):
        if i not in attrs["summed"]:
            step.before.finals.append(builder.store_op(init, slots[i]))
    seeds = {attrs["index"], *carries}
    varying: set[Node] = set(seeds)
    for node in topological(outputs):
        if any(a in varying for a in node.args):
            varying.add(node)
    body = step.body
    body.nodes = [n for n in topological(outputs) if n in varying and n not in seeds and not is_view(n) and n.op != "get"]
    for i, node in enumerate(outputs):
        if slots[i] is not None:
            time = attrs["index"] if i >= len(carries) else None
            body.finals.append(builder.store_op(node, slots[i], time))
    for inner in (step.before, body):
        for op in inner.finals:
            for read in op.reads:
                read.value.external = True
    for inner in (step.before, body):
        _steps(inner, builder)
        stage.tiles += inner.tiles


def _lives(stage: Stage, builder: Builder) -> None:
    """First and last step of every value that needs a tile buffer."""
    for i, step in enumerate(stage.steps):
        if isinstance(step, Cluster):
            touched = [o.target for o in step.ops] + [r.value for o in step.ops for r in o.reads]
        else:
            touched = [*builder.results_of(step.node), *(builder.value(b) for b in bases(step.node))]
            for inner in (step.before, step.body):
                for value in inner.lives if inner is not None else ():
                    touched.append(value)
        for value in touched:
            if value.external and value.buffer is None:
                value.buffer = builder.plain(value, stage)
                if stage.row is not None:
                    stage.tiles.append(value)
            if value in stage.lives:
                stage.lives[value] = (stage.lives[value][0], i)
            else:
                stage.lives[value] = (i, i)


def tile_size(value: Value, row: Axis) -> Poly:
    """Entries of a tile buffer for one row."""
    return value.extent(skip=(row,))


__all__ = ["Cluster", "Opaque", "Output", "Stage", "axis_size", "schedule", "tile_size"]
