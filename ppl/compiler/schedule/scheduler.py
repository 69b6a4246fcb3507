"""The scheduler: from lowered nodes to stages, row regions and steps, for any target.

A program alternates *unplated stages* (even numbers) and *row regions* (odd numbers). A region runs all its steps tile
by tile over its row axis; sums over rows go to accumulators, which are added up before the next unplated stage. Within
a stage, opaque steps (products, noise, loops) separate clusters of fused operations. `assign_stages` chooses the stage
of every node, `build_schedule` makes the stages and their steps."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import replace

from ppl.compiler.lower.loops import varying_nodes
from ppl.compiler.lower.request import Output
from ppl.compiler.lower.sizes import Poly
from ppl.compiler.lower.target import Fusion
from ppl.compiler.lower.views import innermost_view, is_view, row_axis, stored_operands
from ppl.compiler.schedule.builder import ScheduleBuilder
from ppl.compiler.schedule.loop_fusion import nest_loops, place_results
from ppl.compiler.schedule.memory import choose_structure_of_arrays
from ppl.compiler.schedule.partitioned_products import partition_products, place_whole_sums
from ppl.compiler.schedule.shared_loops import (
    drop_unread,
    mark_register_reuse,
    rematerialise,
    split_reductions,
    unique_makers,
)
from ppl.compiler.schedule.stages import Buffer, Cluster, Op, Opaque, Stage, producing_node
from ppl.ir.node import Node, topological
from ppl.ir.op_facts import GIVEN, POINTWISE, VECTORS
from ppl.ir.types import Axis
from ppl.tuning import TURNED_LEAST

REORDERABLE_KINDS = ("map", "reduce", "output")
"""Kinds of operations whose loops may be reordered."""


def build_schedule(outputs: Sequence[Output], builder: ScheduleBuilder) -> list[Stage]:
    """Split the graph of `outputs` into stages and their steps."""
    order = [n for n in topological([o.node for o in outputs]) if not is_view(n)]
    whole = builder.target.fusion.whole
    where = assign_stages(order, outputs, builder.target.fusion.cuts | whole)
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
        stage(*_stage_of_output(out, where, whole), False).outputs.append(out)
    ordered = sorted(stages.values(), key=lambda s: (s.level, s.row.order if s.row else ()))
    for s in ordered:
        _declare_values(s, builder, where)
    partition_products(ordered, builder)
    place_whole_sums(ordered, builder)
    for s in ordered:
        _build_steps(s, builder)
    if builder.target.fusion.innermost != "event":
        choose_structure_of_arrays(ordered, builder, builder.target.fusion.short)
    return ordered


def _stage_of_output(out: Output, where: dict[Node, tuple[int, Axis | None]], whole: Set[str]
                  ) -> tuple[int, Axis | None]:  # fmt: skip
    row, base = row_axis(out.node.type.axes), out.node
    while is_view(base):
        base = base.args[0]
    base = producing_node(base)
    if base not in where:
        return (0 if row is None else 1, row)
    level, other = where[base]
    if row == other and row_axis(base.type.axes) == row:
        return (level + 2 if base.op in whole else level), row
    gap = 1 if (row is None) != (other is None) else 2
    return (level + (gap if row is not None or other is not None else 0), row)


def _declare_values(stage: Stage, builder: ScheduleBuilder, where: dict[Node, tuple[int, Axis | None]]) -> None:
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
            value.in_memory = value.in_memory or reduced or builder.is_step(node)
            for user in builder.users.get(value.node, ()):
                if where.get(producing_node(user)) != (stage.level, stage.row):
                    value.in_memory = True
                    if row_axis(value.axes) is not None and not reduced:
                        builder.store_all_rows(value)
    for out in stage.outputs:
        base = builder.base(out.node)
        if producing_node(base) in where and where[producing_node(base)] != (stage.level, stage.row):
            value = builder.value(base)
            value.in_memory = True
            if row_axis(base.type.axes) is not None:
                builder.store_all_rows(value)


def _cluster_numbers(stage: Stage, builder: ScheduleBuilder) -> dict[Node, int]:
    """Cluster number of fused nodes; opaque nodes run after the cluster of their number (-1: before all)."""
    inside = set(stage.nodes)
    level: dict[Node, int] = {}
    for node in stage.nodes:
        needs = [producing_node(b) for b in stored_operands(node)]
        needs = [b for b in needs if b in inside]
        if builder.is_step(node):
            level[node] = max([level[b] + builder.is_step(b) for b in needs], default=-1)
        else:
            level[node] = max([level[b] + builder.is_step(b) for b in needs], default=0)
    users: dict[Node, list[Node]] = {}
    for node in stage.nodes:
        for b in stored_operands(node):
            users.setdefault(producing_node(b), []).append(node)
    wanted = {
        b for o in stage.outputs for b in ([o.node] if not is_view(o.node) else stored_operands(innermost_view(o.node)))
    }
    for node in reversed(stage.nodes):
        if not builder.is_step(node) and node not in wanted and users.get(node) and node.op not in ("sum", "put"):
            level[node] = max(level[node], min(level[u] for u in users[node]))
    return level


def _build_steps(stage: Stage, builder: ScheduleBuilder) -> None:
    level = _cluster_numbers(stage, builder)
    clusters: dict[int, list[Op]] = {}
    opaque: dict[int, list[Opaque]] = {}
    for node in stage.nodes:
        if builder.is_step(node):
            opaque.setdefault(level[node], []).append(_opaque_step(node, stage, builder))
        else:
            for b in stored_operands(node):
                if producing_node(b) in level and level[producing_node(b)] != level[node]:
                    builder.value(b).in_memory = True
            clusters.setdefault(level[node], []).extend(builder.operations_of(node))
    last = max([*clusters, *opaque, 0])
    for node in stage.nodes:
        for value in builder.results_of(node) if builder.is_step(node) else ():
            value.in_memory = True
        if builder.is_step(node):
            for b in stored_operands(node):
                builder.value(b).in_memory = True
    for out in stage.outputs:
        whole = builder.direct(out)
        if whole is not None and stage.row is None:
            stage.copies.append((out, whole))
            continue
        if builder.draw_into_output(out, stage.row):
            continue
        base = producing_node(builder.base(out.node))
        at = min(last + 1, level[base] + (builder.is_step(base))) if base in level else 0
        clusters.setdefault(at, []).append(builder.output_operation(out))
    for number in range(-1, max([*clusters, *opaque, 0]) + 1):
        if number in clusters:
            stage.steps.append(Cluster(clusters[number]))
        stage.steps.extend(opaque.get(number, ()))
    if stage.finals:
        _append_final_stores(stage, builder)
    if builder.target.fusion.rematerialise:
        for step in stage.steps:
            if isinstance(step, Cluster):
                step.ops = drop_unread(rematerialise(step.ops, unique_makers(step.ops), builder.numbered, apart=False))
    if builder.target.threads > 1:
        stage.steps = [x for step in stage.steps for x in split_reductions(step, stage.row, builder.numbered)]
    for step in stage.steps:
        if isinstance(step, Opaque) and step.node.op == "turns":
            _schedule_loop(step, stage, builder)
    _choose_loops(stage, builder)
    _assign_tile_buffers(stage, builder)


def _choose_loops(stage: Stage, builder: ScheduleBuilder) -> None:
    """Choose the loops of all clusters, and where what they alone read lies."""
    fusion = builder.target.fusion
    limits = replace(fusion, split_vector_loops=fusion.split_vector_loops or bool(stage.outer))
    in_time = bool(stage.outer) or any(step.node.op == "turns" for step in stage.steps if isinstance(step, Opaque))
    for step in stage.steps:
        if not isinstance(step, Cluster):
            continue
        if stage.row is not None:
            move_rows_innermost(step.ops, stage.row, limits, in_time)
        step.items = nest_loops(step.ops, limits)
        mark_register_reuse(step.items, limits.register_reuse)
        step.scratch = place_results(step.ops)
        for value in step.scratch:
            value.prefix = () if builder.target.threads > 1 else value.prefix
            if stage.row in value.axes and not value.prefix:
                value.in_memory = True
            else:
                array = "v" if value.dtype == "int" else "w"
                value.buffer = Buffer(array, Poly(), symbol=f"{value.name}_s", size=value.room())
        step.scratch = [v for v in step.scratch if v.buffer is not None]


def _opaque_step(node: Node, stage: Stage, builder: ScheduleBuilder) -> Opaque:
    """The step of `node`; a loop in the body of one over rows adds up the rows of a tile where it is not told where."""
    results = builder.results_of(node)
    step = Opaque(node, results[0])
    if node.op == "turns" and stage.outer:
        step.cleared = [v for v in results if v.node.attrs["index"] in node.attrs["summed"] and not v.accumulates]
        for value in step.cleared:
            value.accumulates = True
    return step


def move_rows_innermost(ops: Sequence[Op], row: Axis, limits: Fusion, in_time: bool) -> None:
    """Let operations loop over `row` last: all of them, or, as the target wants it, those with short loops beside it.

    Short events and few particles are worth it if elementary functions are among the operations: loops over them would
    fill no vectors. In and beside loops over time (`in_time`) arithmetic is, too, from three entries on: what these
    carry then lies column by column.
    """
    moved = [op for op in ops if len(op.domain) > 1 and op.domain[0].key == row and op.kind in REORDERABLE_KINDS]
    if limits.innermost == "short":
        moved = [op for op in moved if _has_short_event(op, TURNED_LEAST if in_time else 2, limits.short)]
    if limits.innermost == "event":
        return
    if in_time or limits.innermost == "rows" or any(op.node.op in VECTORS for op in moved):
        for op in moved:
            op.domain = (*op.domain[1:], op.domain[0])


def _has_short_event(op: Op, least: int, limit: int) -> bool:
    sizes = [dim.size.constant or limit for dim in op.domain[1:]]
    return least <= math.prod(sizes) and max(sizes) < limit


def _append_final_stores(stage: Stage, builder: ScheduleBuilder) -> None:
    """Let the last cluster, if nothing comes after it, also store what goes to the next turn of a loop."""
    if not stage.steps or isinstance(stage.steps[-1], Opaque):
        stage.steps.append(Cluster([]))
    cluster = stage.steps[-1]
    assert isinstance(cluster, Cluster)
    made = {op.target for op in cluster.ops}
    for op in stage.finals:
        op.last = True
        for read in op.reads:
            read.value.in_memory = read.value.in_memory or read.value not in made
    cluster.ops += stage.finals


def _schedule_loop(step: Opaque, stage: Stage, builder: ScheduleBuilder) -> None:
    """Schedule the copies of initial carries, the test for idle turns and the body of a loop, inside `stage`."""
    attrs = step.node.attrs
    carries, outputs = attrs["carries"], attrs["outputs"]
    outer = stage.outer or stage.name
    step.before = Stage(stage.level, stage.row, name=f"{stage.name}_init", outer=outer)
    step.body = Stage(stage.level, stage.row, name=f"{stage.name}_body", outer=outer)
    slots = builder.loop_result_values(step.node)
    slot_of = {i: slot for i, (_, slot) in attrs["every"]}
    inits = step.node.args[: len(carries)]
    for i, init in enumerate(inits):
        slot = slots[i]
        if i not in attrs["summed"] and slot is not None:
            step.before.finals.append(builder.store_operation(init, slot))
    varying = {n for n in varying_nodes(step.node) if n.op not in ("arg", "get") and not is_view(n)}
    if attrs["idle"] is not None:
        step.test = Stage(stage.level, stage.row, name=f"{stage.name}_test", outer=outer)
        step.test.nodes = [n for n in topological([attrs["idle"][0]]) if n in varying]
        step.test.finals.append(builder.store_operation(attrs["idle"][0], builder.value(attrs["idle"][1])))
    body = step.body
    body.nodes = [n for n in topological(outputs) if n in varying]
    for i, node in enumerate(outputs):
        slot = slots[i]
        carried = i in attrs["summed"] and i < len(carries) and outputs.count(node) == 1
        if slot is not None and not (carried and builder.accumulate_into(node, slot)):
            time = slot_of.get(i, attrs["index"]) if i >= len(carries) else None
            body.finals.append(builder.store_operation(node, slot, time))
    for inner in step.inner:
        _build_steps(inner, builder)
        stage.tiles += inner.tiles


def _assign_tile_buffers(stage: Stage, builder: ScheduleBuilder) -> None:
    """First and last step of every value that needs a tile buffer."""
    for i, step in enumerate(stage.steps):
        if isinstance(step, Cluster):
            used = [o.target for o in step.ops] + [r.value for o in step.ops for r in o.reads]
        else:
            used = builder.touched(step) + [v for inner in step.inner for v in inner.lives]
        for value in used:
            if value.in_memory and value.buffer is None:
                value.buffer = builder.plain(value, stage)
                if stage.row is not None:
                    value.stack = builder.stack_rows(value, stage)
                if stage.row is not None and not value.buffer.rows:
                    stage.tiles.append(value)
            if value in stage.lives:
                stage.lives[value] = (stage.lives[value][0], i)
            else:
                stage.lives[value] = (i, i)


def axes_of_work(node: Node) -> tuple[Axis, ...]:
    """Named axes over which a node's work runs."""
    if node.op in ("sum", "amax", "put"):
        return node.args[0].type.axes
    if node.op == "gemm":
        return tuple(sorted({a for x in node.args for a in x.type.axes}, key=lambda a: a.order))
    if node.op == "turns":
        axes = {a for n in varying_nodes(node) for a in (*n.type.axes, *axes_of_work(n))}
        axes |= {a for t in node.attrs["types"] for a in t.axes}
        return tuple(sorted(axes, key=lambda a: a.order))
    return node.type.axes


def row_axis_of_region(node: Node) -> Axis | None:
    """The row axis of the region that a node must run in."""
    return row_axis(axes_of_work(node))


def assign_stages(
    order: Sequence[Node], outputs: Sequence[Output], cuts: Set[str] = frozenset()
) -> dict[Node, tuple[int, Axis | None]]:
    """Stage of every stored node: as early as possible, then rows as late as their readers in other regions allow.

    Ops among `cuts` share no region of rows with what they read, or with what reads them.
    """
    place_ = _earliest_stages(order, cuts)
    users: dict[Node, list[Node]] = {}
    for node in order:
        for b in stored_operands(node):
            users.setdefault(producing_node(b), []).append(producing_node(node))
    fixed = {
        producing_node(b)
        for o in outputs
        for b in ([o.node] if not is_view(o.node) else stored_operands(innermost_view(o.node)))
    }
    for node in reversed(order):
        if node not in place_ or place_[node][1] is None or node in fixed or row_axis(node.type.axes) is None:
            continue
        if node.op in ("sum", "amax", "argmax") and not _is_elementwise_of_inputs(
            node
        ):  # what it adds up would have to be kept
            continue
        level, row = place_[node]
        later = [(place_[u][0] - _levels_between(node, u, cuts), place_[u][1]) for u in users.get(node, [])]
        if later and all(r == row for _, r in later):
            place_[node] = (max(level, min(k for k, _ in later)), row)
    return place_


def _is_elementwise_of_inputs(node: Node) -> bool:
    """Whether an operation reads what is given, or made of that entry by entry."""
    return all(b.op in GIVEN or (b.op in POINTWISE and _is_elementwise_of_inputs(b)) for b in stored_operands(node))


def _levels_between(made: Node, user: Node, cuts: Set[str]) -> int:
    """Regions between a value of rows and what reads it there, counted in levels."""
    return 2 if made.op in cuts or user.op in cuts else 0


def _earliest_stages(order: Sequence[Node], cuts: Set[str]) -> dict[Node, tuple[int, Axis | None]]:
    """Return the first stage that every node can be in."""
    place_: dict[Node, tuple[int, Axis | None]] = {}

    def ready(arg: Node, row: Axis | None, user: Node) -> int:
        arg = producing_node(arg)
        if arg in place_:
            level, other = place_[arg]
            if other is None:
                return level + (row is not None)
            if other == row and row_axis(arg.type.axes) == row and row is not None:
                return level + _levels_between(arg, user, cuts)
            return level + (1 if row is None else 2)
        return 0 if row is None else 1

    for node in order:
        if node.op in GIVEN or node.op == "get":
            continue
        row = row_axis_of_region(node)
        first = 0 if row is None else 1
        place_[node] = (max([first, *(ready(b, row, node) for b in stored_operands(node))]), row)
    return place_
