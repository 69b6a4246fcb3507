"""Launches: which steps of a program share a launch, for targets that launch kernels one after another.

A row region is a launch of its own. Products of all rows, unplated stages and the sums into gradients are *tasks*
for some blocks: those that do not wait for one
another are parts of one launch. A task joins the first launch of its kind behind all that it waits for; a launch
that nobody waits for, until there is a later one
to join, goes there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import field

from ppl.compiler.lower.views import stored_operands
from ppl.compiler.schedule.stages import Cluster, Op, Opaque, Stage, Value, all_steps, producing_node
from ppl.ir.node import Node
from ppl.records import dataclass


@dataclass(eq=False)
class Task:
    """What some blocks of a launch do.

    A region (`stage` has rows) or one product of all its rows (`product`); an unplated stage behind the sums over slabs
    of `totals`; or, without a stage and with nothing to add up, the sums into gradients.
    """

    stage: Stage | None = None
    product: Opaque | None = None
    totals: list[Value] = field(default_factory=list)

    @property
    def is_region(self) -> bool:
        """Whether its blocks take slabs of rows."""
        return self.stage is not None and self.stage.row is not None and self.product is None

    @property
    def is_output(self) -> bool:
        """Whether it writes the gradients that are accumulators as they stand."""
        return self.stage is None and not self.totals

    @property
    def name(self) -> str:
        """What it is called in kernels."""
        if self.product is not None:
            return self.product.target.name
        return self.stage.name if self.stage is not None else "sums" if self.totals else "outputs"

    @property
    def steps(self) -> list[Cluster | Opaque]:
        """Its steps, those of loops included."""
        if self.product is not None:
            return [self.product]
        return [] if self.stage is None else all_steps(self.stage)


Launch = list[Task]


def group_launches(stages: Sequence[Stage], whole: Set[str], has_aux: bool) -> list[Launch]:
    """The launches of a program, in their order.

    Parameters
    ----------
    stages : the schedule
    whole : ops of steps that take all rows of a call
    has_aux : whether the program writes auxiliary variables
    """
    tasks = _list_tasks(stages, whole, has_aux)
    waits = _dependences(tasks, stages, has_aux)
    found: list[Launch] = []
    place: dict[Task, int] = {}
    for task in tasks:
        least = max((place[other] + 1 for other in waits[task]), default=0)
        open_ = [i for i in range(least, len(found)) if _may_join(task, found[i])]
        place[task] = open_[0] if open_ else len(found)
        if not open_:
            found.append([])
        found[place[task]].append(task)
    return _postpone_launches(found, waits)


def takes_all_rows(stage: Stage, whole: Set[str]) -> bool:
    """Whether the steps of a region take all rows of a call at once."""
    return stage.row is not None and all(isinstance(x, Opaque) and x.node.op in whole for x in stage.steps)


def gradient_accumulators(stages: Sequence[Stage]) -> set[Value]:
    """The accumulators that are gradients as they stand."""
    return {value for stage in stages for _, value in stage.copies}


def _list_tasks(stages: Sequence[Stage], whole: Set[str], has_aux: bool) -> list[Task]:
    """All tasks; the sums over slabs stand before, or in, the first that reads them."""
    found: list[Task] = []
    direct, pending = gradient_accumulators(stages), list[Value]()
    for stage in stages:
        if takes_all_rows(stage, whole):
            new = [Task(stage, step) for step in stage.steps if isinstance(step, Opaque)]
        else:
            new = [Task(stage)]
        wanted = {node for task in new for node in _nodes_read(task)}
        now = [v for v in pending if producing_node(v.node) in wanted]
        pending = [v for v in pending if v not in now]
        if stage.row is None:
            new[0].totals = now
        elif now:
            found.append(Task(None, None, now))
        found += [task for task in new if task.steps or task.totals]
        pending += [v for v in stage.accumulators if v not in direct]
    found += [Task(None, None, pending)] if pending else []
    return [*found, *([Task()] if direct or has_aux else [])]


def _dependences(tasks: Sequence[Task], stages: Sequence[Stage], has_aux: bool) -> Mapping[Task, set[Task]]:
    """What every task waits for."""
    makers: dict[Node, set[Task]] = {}
    waits: dict[Task, set[Task]] = {}
    direct = gradient_accumulators(stages)
    for task in tasks:
        if task.is_output:
            makes_sums = (t for v in direct for t in makers.get(producing_node(v.node), ()))
            waits[task] = set(waits) if has_aux else set(makes_sums)
            continue
        waits[task] = {other for node in _nodes_read(task) for other in makers.get(node, ())}
        for node in (*_nodes_made(task), *(producing_node(v.node) for v in task.totals)):
            makers.setdefault(node, set()).add(task)
    return waits


def _nodes_read(task: Task) -> Iterator[Node]:
    """What a task reads, by the steps that make it."""
    yield from (producing_node(v.node) for v in task.totals)
    for step in task.steps:
        if isinstance(step, Cluster):
            yield from (producing_node(read.value.node) for op in step.ops for read in op.reads)
        else:
            yield from (producing_node(base) for base in stored_operands(step.node))


def _nodes_made(task: Task) -> Iterator[Node]:
    """What a task makes."""
    for step in task.steps:
        ops: Sequence[Op] = step.ops if isinstance(step, Cluster) else ()
        yield from (producing_node(op.target.node) for op in ops if op.kind != "output")
        if isinstance(step, Opaque):
            yield step.node


def _may_join(task: Task, launch: Launch) -> bool:
    return not task.is_region and not launch[0].is_region


def _postpone_launches(found: Sequence[Launch], waits: Mapping[Task, set[Task]]) -> list[Launch]:
    """The launches, those that can wait as parts of later ones."""
    left = [list(launch) for launch in found]
    for i in reversed(range(len(left))):
        for j in range(i + 1, len(left)):
            if any(waits[task] & set(left[i]) for task in left[j]):
                break
            if left[j] and _may_join(left[i][0], left[j]):
                left[j], left[i] = [*left[i], *left[j]], []
                break
    return [launch for launch in left if launch]
