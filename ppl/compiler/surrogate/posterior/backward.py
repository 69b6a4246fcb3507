"""Draws of summed-out nodes from their exact posterior, in the reverse order of elimination.

The table of the node that was summed out last depends on nothing else that is summed. Given a draw of it, the table of
the one before does not either, and so on: forward filtering, backward sampling. In a loop over time the table of a step
is that of the states of this step and of the one before.

References: Carter & Kohn 1994; Frühwirth-Schnatter 1994.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field

import numpy as np

from ppl.compiler.surrogate.chain import Chain
from ppl.compiler.surrogate.expansion import Expansion
from ppl.compiler.surrogate.posterior.choice import chosen, uniform
from ppl.compiler.surrogate.recurrence import Recurrence
from ppl.compiler.surrogate.summed.elimination import Elimination, Summed
from ppl.compiler.surrogate.summed.factors import whole_log
from ppl.estimators.base import Estimator
from ppl.graph.stochastic import StochasticGraph
from ppl.ir import ops
from ppl.ir.loop import placeholder
from ppl.ir.node import Node
from ppl.ir.types import Axis, Kind, Type
from ppl.lang.time.record import Scan, base_name
from ppl.lang.trace import Cost
from ppl.records import dataclass


@dataclass
class Backward:
    """The draws by node: a value in a row; in a loop over time a stack of all steps.

    Observations of the data arguments `absent` do not count. `evidence` are the logarithms of what was observed, one
    for every group of nodes that is summed together.
    """

    graph: StochasticGraph
    plan: Mapping[str, Estimator]
    absent: frozenset[str] = frozenset()
    draws: dict[str, Node] = field(default_factory=dict)
    evidence: list[Node] = field(default_factory=list)

    def run(self) -> Backward:
        """Sum all groups, then draw from their tables."""
        summed = {name: e for name, e in self.plan.items() if e.within_cost}
        self.walk = Expansion(self.graph, summed, "value")
        self.walk.absent = self.absent
        if summed:
            self.walk.run()
        for cost in self.graph.trace.costs.values() if summed else ():
            chain = None if cost.scan is None else self.walk.chain(cost.scan)
            if cost.marginalize and chain is not None and cost.scan is not None:
                self._chain(cost.scan, chain)
            elif cost.marginalize:
                self._group(cost)
        return self

    def _group(self, cost: Cost) -> None:
        walk = self.walk
        total, steps = Elimination(walk.factors(cost), walk.variables(cost), walk.reducer).run()
        self.evidence.append(whole_log(total))
        names = {walk.marginal[name].axis: name for name in cost.marginalize}
        drawn: dict[Axis, Node] = {}
        for step in reversed(steps):
            axis = step.variable.axis
            drawn[axis] = self._index(step, names[axis], drawn)
            self.draws[names[axis]] = ops.take(ops.collect(step.variable.states.value, axis), drawn[axis])

    def _index(self, step: Summed, name: str, drawn: Mapping[Axis, Node]) -> Node:
        """The number of the state that is drawn of a node, given those of nodes that were summed out later."""
        log = _given(ops.expand(whole_log(step.table), (step.variable.axis,)), drawn)
        rows = [a for a in log.type.axes if a.kind in (Kind.PLATE, Kind.PARTICLES)]
        times = self.walk.walk(self.graph[name].site.times)
        u = uniform(name, (*step.variable.plates, *rows, *self.walk.sampled), times)
        return chosen(ops.softmax(ops.collect(log, step.variable.axis)), u)

    def _chain(self, scan: Scan, chain: Chain) -> None:
        """Draws of all steps, beginning with the one that was run last."""
        found = self.walk.recurrence(scan)
        self.evidence.append(ops.neg(chain.total(found)))
        last = _expanded(found.final(len(scan.carries)), (*chain.then, *chain.now))
        tables = _expanded(found.stacked(_expanded(whole_log(chain.table), (*chain.then, *chain.now))), ())
        if scan.length > 1:
            rest = tuple((0, n, 1) for n in tables.type.shape[1:])
            later = ops.window(tables, ((0 if scan.reverse else 1, scan.length - 1, 1), *rest))
            ends = [later, ops.reshape(last, (1, *last.type.shape))]
            tables = ops.concat(ends[::-1] if scan.reverse else ends, 0)
        else:
            tables = ops.reshape(last, (1, *last.type.shape))
        index = self._backwards(scan, chain, tables)
        sizes = [axis.size or 1 for axis in chain.then]
        numbers = np.unravel_index(np.arange(int(np.prod(sizes))), sizes)
        for name, number in zip(chain.names, numbers, strict=True):
            law = self.walk.plan[name].law(self.graph[name].dist)
            table = np.asarray(law.support_table())[number]
            self.draws[name] = ops.take(ops.const(table, law.dtype), index)

    def _backwards(self, scan: Scan, chain: Chain, tables: Node) -> Node:
        """The numbers of the joint states of all steps: a stack."""
        back = Recurrence(placeholder(Type((), (), "int")), scan.length, not scan.reverse, None)
        log = _flat(_flat(back.slice(tables), chain.then), chain.now)
        axes = tuple(dict.fromkeys((*log.type.axes, *scan.axes, *self.walk.sampled)))
        start = ops.expand(ops.const(0, "int"), axes)
        back.inits, back.carries = (start,), (placeholder(start.type),)
        weights = ops.softmax(ops.take(log, back.carries[0]))
        state = chosen(weights, uniform(chain.names[0], axes, (back.index,)))
        back.outs = (ops.expand(state, axes),)
        return back.stacked(back.outs[0])


def _expanded(x: Node, axes: Iterable[Axis]) -> Node:
    return ops.expand(x, (*x.type.axes, *axes))


def _given(log: Node, drawn: Mapping[Axis, Node]) -> Node:
    """A table at the states that are drawn."""
    for axis in [a for a in log.type.axes if a in drawn]:
        log = ops.take(ops.collect(log, axis), drawn[axis])
    return log


def _flat(x: Node, axes: Iterable[Axis]) -> Node:
    """Several axes as one leading event dimension, the first axis outermost."""
    shape, count = x.type.shape, 1
    for axis in reversed(list(axes)):
        x, count = ops.collect(x, axis), count * (axis.size or 1)
    return ops.reshape(x, (count, *shape))


def refused(graph: StochasticGraph, plan: Mapping[str, Estimator]) -> str | None:
    """Why summed-out nodes cannot be drawn, or None."""
    for name, estimator in plan.items():
        site = graph[name].site
        if not estimator.within_cost or site.scan is None:
            continue
        if site.scan.outer is not None:
            return f"'{base_name(name)}' stands in a loop inside of a loop"
        if site.active is not None:
            return f"'{base_name(name)}' stands in a loop with until"
        if any(a not in site.scan.axes for a in site.axes):
            return f"'{base_name(name)}' stands in a plate that is opened in a step"
    return None
