"""Expansion: rewrite the traced graph with the plan's estimators into plain IR without random nodes.

One walk over the trace in order of computation (`walk`). Afterwards the costs and the score terms are assembled into
the surrogate whose gradient is the estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import field
from typing import NamedTuple

from ppl.compiler.surrogate.ahead import Ahead
from ppl.compiler.surrogate.enumeration import marginal_cost
from ppl.compiler.surrogate.loops import AuxVariable
from ppl.compiler.surrogate.summed.elimination import Variable, log_total
from ppl.compiler.surrogate.summed.factors import Factor
from ppl.compiler.surrogate.walk import Walk
from ppl.estimators.base import Advantages
from ppl.graph.summed.addends import JOINT, addends
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import TRUNK, Axis, Copy
from ppl.lang.trace import Bound, Cost, Site
from ppl.records import dataclass


@dataclass(eq=False)
class Expanded:
    """The expanded program.

    `values` maps names of sites to nodes (those in loops over time only where they are sampled); `surrogate` has the
    estimate as its gradient with respect to the nodes in `wrt`; `own` holds the trunk parameters of each random node,
    for the auxiliary pass. `averaged` takes a value of a step of the loop that a node stands in to its mean over the
    steps, `stacked` to those of all steps; `change` says how such a value changes, 0 in steps in which no row runs, or
    None where rows run in all. `deferred` maps leaves to what they stand for: in the surrogate, costs that lie ahead of
    a step are leaves, so that its loops do not read one another.
    """

    values: dict[str, Node]
    costs: dict[str, Node]
    loss: Node
    surrogate: Node
    wrt: dict[str, Node]
    aux: dict[str, AuxVariable]
    own: dict[str, tuple[Node, ...]]
    advantages: dict[str, Advantages]
    hypers: dict[str, float]
    copies: dict[str, int] = field(default_factory=dict)
    fits: dict[str, Node] = field(default_factory=dict)
    averaged: Callable[[str, Node], Node] = lambda owner, value: value
    stacked: Callable[[str, Node], Node] = lambda owner, value: value
    deferred: dict[Node, Node] = field(default_factory=dict)
    change: Callable[[str, Node, Node], Node | None] = lambda owner, new, old: None


class Part(NamedTuple):
    """A term of a cost in the expansion, and the random nodes whose downstream costs it belongs to.

    `step` is what it is of, in one step of the loops that the cost stands in.
    """

    value: Node
    above: frozenset[str]
    cost: Cost
    step: Node | None


class Expansion(Walk):
    """One expansion: the walk, and then its costs and score terms."""

    costs: dict[str, Node]
    parts: list[Part]
    known: dict[str, Node | None]
    pieces: dict[str, list[tuple[Node, Node]]]

    def run(self) -> Expanded:
        """Walk the graph, then assemble costs and score terms."""
        self.known = {}
        self._walk()
        trace, self.parts = self.graph.trace, []
        costs = self.costs = {} if self.mode == "sample" else {n: self._expected(c) for n, c in trace.costs.items()}
        self.pieces = {n: self._pieces(trace.costs[n], value) for n, value in costs.items()}
        listed = [s for s in trace.sites.values() if s.node is not None and (self.mode == "sample" or s.scan is None)]
        values = {site.name: self._shown(site) for site in listed}
        self.ahead = Ahead(self)
        trunk = {n: _sum([self.reducer.total(x, trunk=True) for _, x in p], ()) for n, p in self.pieces.items()}
        loss = _sum(list(trunk.values()), self.everywhere)
        surrogate, advantages, fits = loss, {}, {}
        if self.mode == "gradient":
            self.parts = [part for cost in trace.costs.values() for part in self._parts(cost)]
            terms = [self.reducer.total(part.value, stopped=self.not_above(part)) for part in self.parts]
            for name in self.branches:
                found = self._score_term(name)
                if found is not None:
                    terms.append(self.reducer.total(self._total(name, found[0]), stopped=True))
                    advantages[name] = found[1]
                    fit = self.branches[name].fit
                    fits.update({name: self._mean(name, fit(found[1]))} if fit is not None else {})
            surrogate = _sum(terms, self.everywhere)
        copies = {n: c.type.branch.size or 1 for n, c in costs.items() if c.type.branch is not None}
        for name, param in trace.params.items():  # the gradient of one that nothing reads is an output too: 0
            self.wrt.setdefault(name, ops.expand(param.node, self.everywhere))
        return Expanded(
            values, trunk, loss, surrogate, self.wrt, self.aux, self.own, advantages, self.hypers, copies, fits,
            self._mean, lambda name, value: self.outside(value, self.graph[name].site.scan), self.ahead.deferred,
            self._change,
        )  # fmt: skip

    def _shown(self, site: Site) -> Node:
        """The value of a site as `program.sample` returns it; 0 in rows of a loop that have stopped."""
        node = site.returned if self.redraw == "all" and site.returned is not None else site.node
        assert node is not None
        value = self.env[id(node)] if id(node) in self.env else self.walk([node])[0]
        if site.active is not None:
            (active,) = self.walk([site.active])
            value = ops.where(active, value, ops.cast(ops.zeros_like(value.type), value.type.dtype))
        return self.outside(value, site.scan)

    def _running(self, site: Site) -> Node | None:
        """The share of rows that still run in the loops of a site, in a step; None where all do."""
        active = self._active(site)
        return None if active is None else self.reducer.mean_over_rows(ops.cast(active, "float"))

    def _row_mean(self, site: Site) -> Callable[[Node], Node]:
        """The mean over rows, over those that still run in a loop."""
        mean = self.reducer.mean_over_rows
        active, share = self._active(site), self._running(site)
        if active is None or share is None:
            return mean

        def of(x: Node) -> Node:
            kept = mean(ops.where(active, x, 0.0))
            return ops.where(ops.less(0.0, share), ops.div(kept, ops.where(ops.less(0.0, share), share, 1.0)), 0.0)

        return of

    def _total(self, name: str, value: Node) -> Node:
        """The sum of a node's score terms over the steps of its loops; rows that have stopped have none."""
        site = self.graph[name].site
        active = self._active(site)
        return self._sum_of_steps(site, value if active is None else ops.where(active, value, 0.0))

    def _active(self, site: Site) -> Node | None:
        """Whether a row of the trunk still runs in the loops of a site; None where all do."""
        return None if site.active is None else ops.pick(self.walk([site.active])[0])

    def _mean(self, name: str, value: Node) -> Node:
        """The mean of a value of a node's steps, of those in which rows run: in others it is 0."""
        site = self.graph[name].site
        if site.scan is None:
            return value
        share = self._running(site)
        if share is None:
            return ops.div(self._sum_of_steps(site, value), float(math.prod(s.length for s in site.scan.chain)))
        steps = self._sum_of_steps(site, ops.cast(ops.less(0.0, share), "float"))
        return ops.div(self._sum_of_steps(site, value), ops.maximum(steps, 1.0))

    def _sum_of_steps(self, site: Site, value: Node) -> Node:
        scan = site.scan
        while scan is not None:
            value, scan = ops.reduce_sum(self.recurrence(scan).stacked(value), 0), scan.outer
        return value

    def _change(self, name: str, new: Node, old: Node) -> Node | None:
        """How a value of a node's steps changes, by 0 in steps in which no row runs; None where rows run in all."""
        share = self._running(self.graph[name].site)
        return None if share is None else ops.where(ops.less(0.0, share), ops.sub(new, old), 0.0)

    def _parts(self, cost: Cost) -> list[Part]:
        """A cost, or the terms that depend on nodes directly or through `stop_gradient`, one way each."""
        terms = self.graph.terms
        found = terms.of[cost.name]
        if len(found) == 1 and len(self.pieces[cost.name]) > 1:
            reach = terms.reach
            return [Part(x, terms.names(reach(n).direct), cost, n) for n, x in self.pieces[cost.name]]
        if len(found) == 1:
            return [Part(self.costs[cost.name], terms.names(found[0].reach.direct), cost, cost.step)]
        values = [self._averaged(cost, self._meant(t.node, self.env[id(t.node)])) for t in found]
        return [Part(value, terms.names(t.reach.direct), cost, t.step) for value, t in zip(values, found, strict=True)]

    def not_above(self, part: Part) -> set[Axis]:
        """Axes of enumerated nodes that reach a term through `stop_gradient` only: their weights are constants."""
        return {axis for name, axis in self.enumerated.items() if name not in part.above}

    def _expected(self, cost: Cost) -> Node:
        return self._averaged(cost, self._cost(cost))

    def _averaged(self, cost: Cost, value: Node) -> Node:
        """A cost or term of it, its expectation taken over the nodes whose value is their mean."""
        for averaged in self.averaged:
            value = averaged.expectation(cost, value)
        return value

    def _cost(self, cost: Cost) -> Node:
        value = self._meant(cost.node, self.env[id(cost.node)])
        if not cost.marginalize:
            return value
        chain = None if cost.scan is None else self.chain(cost.scan)
        if chain is not None and cost.scan is not None:
            return chain.total(self.recurrence(cost.scan))
        if len(cost.marginalize) == 1:
            return marginal_cost(value, [self.marginal[name] for name in cost.marginalize], self.reducer)
        return ops.neg(log_total(self.factors(cost), self.variables(cost), self.reducer))

    def factors(self, cost: Cost) -> list[Factor]:
        """The terms of the log-density that a cost sums over states of its nodes."""
        terms = self.seen(cost)
        return [Factor(self._meant(f, x)) for f, x in zip(terms, self.walk(terms), strict=True)]

    def variables(self, cost: Cost) -> list[Variable]:
        """The states that a cost sums over."""
        nodes = [self.graph[name] for name in cost.marginalize]
        plates = [tuple(a for a in n.node.type.axes if a not in n.coupled_plates) for n in nodes]
        return [Variable(self.marginal[n.name], axes) for n, axes in zip(nodes, plates, strict=True)]

    def _pieces(self, cost: Cost, value: Node) -> list[tuple[Node, Node]]:
        """Terms of a cost whose enumerated nodes have too many joint states for one table, and what they become."""
        joint = math.prod(a.size or 1 for a in value.type.axes if a in self.reducer.weights)
        if joint <= JOINT or cost.marginalize or cost.bound is not None or cost.scan is not None:
            return [(cost.node, value)]
        terms = addends(cost.node)
        return [(n, self._averaged(cost, self._meant(n, x))) for n, x in zip(terms, self.walk(terms), strict=True)]

    def _score_term(self, name: str) -> tuple[Node, Advantages] | None:
        rn = self.graph[name]
        made = self.branches[name]
        downstream = [part for part in self.parts if name in part.above]
        if made.score is None or not downstream:
            return None
        active = self._active(rn.site)
        states = () if active is None else (a for a in active.type.axes if a in self.reducer.weights)
        keep = {*made.trunk.type.axes, *states}  # in some states of other nodes the row has stopped
        copies = [TRUNK, *(Copy(rn.rank, name, i, s.live, s.soft) for i, s in enumerate(made.sides, 1))]
        advantages = Advantages(
            [self.ahead.of(rn, downstream, keep, copy) for copy in copies],
            self._row_mean(rn.site),
            [Bound(*self._bound(c.bound)) for c in rn.costs if c.bound is not None],
            lambda x: self.reducer.advantage([x], keep),
            made.trunk,
        )
        return made.score(advantages), advantages


def _sum(terms: list[Node], axes: tuple[Axis, ...]) -> Node:
    total = ops.expand(ops.const(0.0), axes)
    for term in terms:
        total = ops.add(total, term)
    return total
