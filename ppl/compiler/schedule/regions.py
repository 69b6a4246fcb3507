"""Scheduling: from lowered IR to stages, row regions and steps. Target independent; each target emits what is here.

A program alternates *unplated stages* (even numbers) and *row regions* (odd numbers). A region runs all its steps tile
by tile over its row axis; sums over rows go to accumulators, which are added up before the next unplated stage. Within
a stage, opaque steps (products, noise, loops) separate clusters of fused operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import replace

from ppl.compiler.lower.loops.turns import varying_of
from ppl.compiler.lower.request import Output
from ppl.compiler.lower.target import Fusion
from ppl.compiler.lower.views import Poly, is_view, row_axis
from ppl.compiler.schedule.columns import by_columns
from ppl.compiler.schedule.fusion import Buffer, Op, place
from ppl.compiler.schedule.nesting import nest
from ppl.compiler.schedule.owned import keep_whole, own
from ppl.compiler.schedule.stages import Cluster, Opaque, Stage, assign, bases, chain, source
from ppl.compiler.schedule.threads.again import again, needed, sole_makers
from ppl.compiler.schedule.threads.apart import sums_apart
from ppl.compiler.schedule.threads.held import hold
from ppl.compiler.schedule.values import Builder
from ppl.ir.node import Node, topological
from ppl.ir.op_facts import VECTORS
from ppl.ir.types import Axis
from ppl.tuning import TURNED_LEAST

MOVED = ("map", "reduce", "output")
"""Kinds of operations whose loops may be reordered."""


def schedule(outputs: Sequence[Output], builder: Builder) -> list[Stage]:
    """Split the graph of `outputs` into stages and their steps."""
    order = [n for n in topological([o.node for o in outputs]) if not is_view(n)]
    whole = builder.target.fusion.whole
    where = assign(order, outputs, builder.target.fusion.cuts | whole)
    stages: dict[tuple[int, Axis | None, bool], Stage] = {}

    def stage(level: int, row: Axis | None, apart: bool) -> Stage:
        key = level, row, apart and row is not None
        if key not in stages:
            kind = "stage" if row is None else "rows"
            stages[key] = Stage(level, row, name=f"{kind}_{len(stages)}")
        return stages[key]

    for node in order:
        if node in where:
            stage(*where[node], node.op in whole).nodes.append(node)
    for out in outputs:
        stage(*_output_place(out, where, whole), False).outputs.append(out)
    ordered = sorted(stages.values(), key=lambda s: (s.level, s.row.order if s.row else ()))
    for s in ordered:
        _declare(s, builder, where)
    own(ordered, builder)
    keep_whole(ordered, builder)
    for s in ordered:
        _steps(s, builder)
    if builder.target.fusion.innermost != "event":
        by_columns(ordered, builder, builder.target.fusion.short)
    return ordered


def _output_place(out: Output, where: dict[Node, tuple[int, Axis | None]], whole: Set[str]
                  ) -> tuple[int, Axis | None]:  # fmt: skip
    row, base = row_axis(out.node.type.axes), out.node
    while is_view(base):
        base = base.args[0]
    base = source(base)
    if base not in where:
        return (0 if row is None else 1, row)
    level, other = where[base]
    if row == other and row_axis(base.type.axes) == row:
        return (level + 2 if base.op in whole else level), row
    gap = 1 if (row is None) != (other is None) else 2
    return (level + (gap if row is not None or other is not None else 0), row)


def _declare(stage: Stage, builder: Builder, where: dict[Node, tuple[int, Axis | None]]) -> None:
    """Make the values of a stage, so that later stages can refer to them."""
    for node in stage.nodes:
        results = builder.results_of(node)
        for value in results:
            reduced = stage.row is not None and row_axis(value.axes) != stage.row
            if reduced and node.op == "turns" and value.node.attrs["index"] not in node.attrs["summed"]:
                raise NotImplementedError("a loop over rows has a result without rows that is no sum over rows")
            if reduced:
                stage.accumulators.append(value)
                builder.accumulator(value)
            value.external = value.external or reduced or builder.is_step(node)
            for user in builder.users.get(value.node, ()):
                if where.get(source(user)) != (stage.level, stage.row):
                    value.external = True
                    if row_axis(value.axes) is not None and not reduced:
                        builder.global_rows(value)
    for out in stage.outputs:
        base = builder.base(out.node)
        if source(base) in where and where[source(base)] != (stage.level, stage.row):
            value = builder.value(base)
            value.external = True
            if row_axis(base.type.axes) is not None:
                builder.global_rows(value)


def _levels(stage: Stage, builder: Builder) -> dict[Node, int]:
    """Cluster number of fused nodes; opaque nodes run after the cluster of their number (-1: before all)."""
    inside = set(stage.nodes)
    level: dict[Node, int] = {}
    for node in stage.nodes:
        needs = [source(b) for b in bases(node)]
        needs = [b for b in needs if b in inside]
        if builder.is_step(node):
            level[node] = max([level[b] + builder.is_step(b) for b in needs], default=-1)
        else:
            level[node] = max([level[b] + builder.is_step(b) for b in needs], default=0)
    users: dict[Node, list[Node]] = {}
    for node in stage.nodes:
        for b in bases(node):
            users.setdefault(source(b), []).append(node)
    wanted = {b for o in stage.outputs for b in ([o.node] if not is_view(o.node) else bases(chain(o.node)))}
    for node in reversed(stage.nodes):
        if not builder.is_step(node) and node not in wanted and users.get(node) and node.op not in ("sum", "put"):
            level[node] = max(level[node], min(level[u] for u in users[node]))
    return level


def _steps(stage: Stage, builder: Builder) -> None:
    level = _levels(stage, builder)
    clusters: dict[int, list[Op]] = {}
    opaque: dict[int, list[Opaque]] = {}
    for node in stage.nodes:
        if builder.is_step(node):
            opaque.setdefault(level[node], []).append(_opaque(node, stage, builder))
        else:
            for b in bases(node):
                if source(b) in level and level[source(b)] != level[node]:
                    builder.value(b).external = True
            clusters.setdefault(level[node], []).extend(builder.ops_of(node))
    last = max([*clusters, *opaque, 0])
    for node in stage.nodes:
        for value in builder.results_of(node) if builder.is_step(node) else ():
            value.external = True
        if builder.is_step(node):
            for b in bases(node):
                builder.value(b).external = True
    for out in stage.outputs:
        whole = builder.direct(out)
        if whole is not None and stage.row is None:
            stage.copies.append((out, whole))
            continue
        if builder.made_in_place(out, stage.row):
            continue
        base = source(builder.base(out.node))
        at = min(last + 1, level[base] + (builder.is_step(base))) if base in level else 0
        clusters.setdefault(at, []).append(builder.output_op(out))
    for number in range(-1, max([*clusters, *opaque, 0]) + 1):
        if number in clusters:
            stage.steps.append(Cluster(clusters[number]))
        stage.steps.extend(opaque.get(number, ()))
    if stage.finals:
        _finals(stage, builder)
    if builder.target.fusion.again:
        for step in stage.steps:
            if isinstance(step, Cluster):
                step.ops = needed(again(step.ops, sole_makers(step.ops), builder.numbered, apart=False))
    if builder.target.threads > 1:
        stage.steps = [x for step in stage.steps for x in sums_apart(step, stage.row, builder.numbered)]
    for step in stage.steps:
        if isinstance(step, Opaque) and step.node.op == "turns":
            _loop(step, stage, builder)
    _nest(stage, builder)
    _lives(stage, builder)


def _nest(stage: Stage, builder: Builder) -> None:
    """Choose the loops of all clusters, and where what they alone read lies."""
    fusion = builder.target.fusion
    limits = replace(fusion, vectors_apart=fusion.vectors_apart or bool(stage.outer))
    in_time = bool(stage.outer) or any(step.node.op == "turns" for step in stage.steps if isinstance(step, Opaque))
    for step in stage.steps:
        if not isinstance(step, Cluster):
            continue
        if stage.row is not None:
            rows_innermost(step.ops, stage.row, limits, in_time)
        step.items = nest(step.ops, limits)
        hold(step.items, limits.held)
        step.scratch = place(step.ops)
        for value in step.scratch:
            value.prefix = () if builder.target.threads > 1 else value.prefix
            if stage.row in value.axes and not value.prefix:
                value.external = True
            else:
                array = "v" if value.dtype == "int" else "w"
                value.buffer = Buffer(array, Poly(), symbol=f"{value.name}_s", size=value.room())
        step.scratch = [v for v in step.scratch if v.buffer is not None]


def _opaque(node: Node, stage: Stage, builder: Builder) -> Opaque:
    """The step of `node`; a loop in the body of one over rows adds up the rows of a tile where it is not told where."""
    results = builder.results_of(node)
    step = Opaque(node, results[0])
    if node.op == "turns" and stage.outer:
        step.cleared = [v for v in results if v.node.attrs["index"] in node.attrs["summed"] and not v.accumulates]
        for value in step.cleared:
            value.accumulates = True
    return step


def rows_innermost(ops: Sequence[Op], row: Axis, limits: Fusion, in_time: bool) -> None:
    """Let operations loop over `row` last: all of them, or, as the target wants it, those with short loops beside it.

    Short events and few particles are worth it if elementary functions are among the operations: loops over them would
    fill no vectors. In and beside loops over time (`in_time`) arithmetic is, too, from three entries on: what these
    carry then lies column by column.
    """
    moved = [op for op in ops if len(op.domain) > 1 and op.domain[0].key == row and op.kind in MOVED]
    if limits.innermost == "short":
        moved = [op for op in moved if _is_short(op, TURNED_LEAST if in_time else 2, limits.short)]
    if limits.innermost == "event":
        return
    if in_time or limits.innermost == "rows" or any(op.node.op in VECTORS for op in moved):
        for op in moved:
            op.domain = (*op.domain[1:], op.domain[0])


def _is_short(op: Op, least: int, limit: int) -> bool:
    sizes = [dim.size.constant or limit for dim in op.domain[1:]]
    return least <= math.prod(sizes) and max(sizes) < limit


def _finals(stage: Stage, builder: Builder) -> None:
    """Let the last cluster, if nothing comes after it, also store what goes to the next turn of a loop."""
    if not stage.steps or isinstance(stage.steps[-1], Opaque):
        stage.steps.append(Cluster([]))
    cluster = stage.steps[-1]
    assert isinstance(cluster, Cluster)
    made = {op.target for op in cluster.ops}
    for op in stage.finals:
        op.last = True
        for read in op.reads:
            read.value.external = read.value.external or read.value not in made
    cluster.ops += stage.finals


def _loop(step: Opaque, stage: Stage, builder: Builder) -> None:
    """Schedule the copies of initial carries, the test for idle turns and the body of a loop, inside `stage`."""
    attrs = step.node.attrs
    carries, outputs = attrs["carries"], attrs["outputs"]
    outer = stage.outer or stage.name
    step.before = Stage(stage.level, stage.row, name=f"{stage.name}_init", outer=outer)
    step.body = Stage(stage.level, stage.row, name=f"{stage.name}_body", outer=outer)
    slots = builder.loop_slots(step.node)
    slot_of = {i: slot for i, (_, slot) in attrs["every"]}
    inits = step.node.args[: len(carries)]
    for i, init in enumerate(inits):
        slot = slots[i]
        if i not in attrs["summed"] and slot is not None:
            step.before.finals.append(builder.store_op(init, slot))
    varying = {n for n in varying_of(step.node) if n.op not in ("arg", "get") and not is_view(n)}
    if attrs["idle"] is not None:
        step.test = Stage(stage.level, stage.row, name=f"{stage.name}_test", outer=outer)
        step.test.nodes = [n for n in topological([attrs["idle"][0]]) if n in varying]
        step.test.finals.append(builder.store_op(attrs["idle"][0], builder.value(attrs["idle"][1])))
    body = step.body
    body.nodes = [n for n in topological(outputs) if n in varying]
    for i, node in enumerate(outputs):
        slot = slots[i]
        carried = i in attrs["summed"] and i < len(carries) and outputs.count(node) == 1
        if slot is not None and not (carried and builder.adds_to(node, slot)):
            time = slot_of.get(i, attrs["index"]) if i >= len(carries) else None
            body.finals.append(builder.store_op(node, slot, time))
    for inner in step.inner:
        _steps(inner, builder)
        stage.tiles += inner.tiles


def _lives(stage: Stage, builder: Builder) -> None:
    """First and last step of every value that needs a tile buffer."""
    for i, step in enumerate(stage.steps):
        if isinstance(step, Cluster):
            used = [o.target for o in step.ops] + [r.value for o in step.ops for r in o.reads]
        else:
            used = builder.touched(step) + [v for inner in step.inner for v in inner.lives]
        for value in used:
            if value.external and value.buffer is None:
                value.buffer = builder.plain(value, stage)
                if stage.row is not None:
                    value.stack = builder.stack_of(value, stage)
                if stage.row is not None and not value.buffer.rows:
                    stage.tiles.append(value)
            if value in stage.lives:
                stage.lives[value] = (stage.lives[value][0], i)
            else:
                stage.lives[value] = (i, i)
