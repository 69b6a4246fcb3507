"""Expand a traced graph by the plan's estimators into plain IR without random nodes.

The expansion goes over the trace in order of computation. It rebuilds plain ops, which may gain axes (particles,
enumerations, branches), and replaces random nodes by the branches of their estimators. Then it assembles the costs and
the score terms into the surrogate, whose gradient is the estimate. Score functions are weighted by the cost to go."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field, replace
from typing import Literal, NamedTuple

from ppl.compiler.surrogate.elimination import (
    EnumeratedStates,
    Factor,
    SummedVariable,
    enumerate_states,
    log_sum_product,
    negative_log_marginal,
    parameter_is_number,
)
from ppl.compiler.surrogate.expectations import CostReducer, MomentNode
from ppl.compiler.surrogate.scan import ExpansionMode, ForwardAlgorithm, Recurrence, ScanExpansion, sum_over_later_steps
from ppl.distributions.base import KEY, Distribution
from ppl.distributions.constraints import BoundaryValue
from ppl.estimators.base import (
    CONDITIONAL_PURPOSE,
    Advantages,
    Auxiliary,
    Branches,
    Estimator,
    Hyper,
    NodeContext,
    Option,
)
from ppl.estimators.not_needed import NotNeeded
from ppl.estimators.pathwise import Pathwise
from ppl.graph.elimination import SPLIT_FROM_STATES, cost_terms
from ppl.graph.stochastic import RandomNode, StochasticGraph
from ppl.ir import ops
from ppl.ir.loop import placeholder
from ppl.ir.node import Node, make, topological
from ppl.ir.op_facts import JUMP
from ppl.ir.types import PARTICLES, PRIMAL, REPEATS, Axis, Branch, Kind, branch_axis, sort_axes, union_axes
from ppl.lang.loops import Scan, base_name
from ppl.lang.trace import Bound, Cost, Site, SiteKind, Trace
from ppl.records import dataclass

RedrawMode = Literal["", "missing", "all"]
"""What is redrawn of observations: nothing, the entries that a mask drops, or all."""


def redrawn_nodes(trace: Trace, redraw: RedrawMode) -> dict[int, Node]:
    """What stands for traced values of observations, by id."""
    sites = trace.sites.values()
    if redraw == "all":
        return {id(s.returned): s.fresh for s in sites if s.fresh is not None}
    return {id(s.node): s.redrawn for s in sites if s.redrawn is not None} if redraw else {}


class CostToGo:
    """The downstream costs of nodes of one expansion, stopped.

    Values that are made outside of all loops and read in a step are leaves; `deferred` says what they stand for.
    """

    def __init__(self, expansion: Expansion):
        self.expansion = expansion
        self.deferred: dict[Node, Node] = {}
        self._leaves: dict[Node, Node] = {}

    def of(self, rn: RandomNode, parts: Sequence[CostTerm], keep: Collection[Axis], copy: object) -> Node:
        """The costs `parts` downstream of a node, one number for every entry of the axes `keep`, in one branch."""
        scan = rn.site.scan
        if scan is None:
            return self._rest(rn, parts, keep, copy)
        found: list[Node] = []
        inner: Scan | None = None
        level: Scan | None = scan
        while level is not None:
            found += self._in_loop(rn, level, inner, parts, keep, copy)
            inner, level = level, level.outer
        beyond = [p for p in parts if scan.chain[0] not in _enclosing_scans(p)]
        if beyond:
            found.append(self._leaf(self._rest(rn, beyond, keep, copy)))
        total = ops.const(0.0)
        for part in found:
            total = ops.add(total, part)
        return ops.stop(total)

    def _rest(self, rn: RandomNode, parts: Sequence[CostTerm], keep: Collection[Axis], copy: object) -> Node:
        """The sum of whole costs; over all rows of a plate whose rows a cost couples, since every row reads all."""
        total: Node | None = None
        for part in parts:
            kept = set(keep) - set(rn.coupled_for(part.cost))
            value = self.expansion.reducer.advantage([part.value], kept, copy)
            total = value if total is None else ops.add(total, value)
        assert total is not None
        return ops.stop(total)

    def _in_loop(
        self,
        rn: RandomNode,
        level: Scan,
        inner: Scan | None,
        parts: Sequence[CostTerm],
        keep: Collection[Axis],
        copy: object,
    ) -> list[Node]:
        """What lies ahead in one loop: of the rest of this step, and of later steps."""
        walk, terms = self.expansion, self.expansion.graph.terms
        bit = terms.bit[rn.name]
        later = terms.carries_reached(level, bit)
        now: list[Node] = []
        then: list[Node] = []
        for part in parts:
            if level not in _enclosing_scans(part):
                continue
            traced = _term_in_step(part, level)
            reach = terms.reach(traced).direct
            if not (reach & bit or reach & later):
                continue
            value = walk.walk([traced])
            if reach & bit and inner not in _enclosing_scans(part):
                now.append(walk.reducer.advantage(value, _without_coupled_plates(rn, keep, [traced], bit), copy))
            if reach & later:
                kept = _without_coupled_plates(rn, keep, [traced, *level.outs], bit | later)
                then.append(walk.reducer.advantage(value, kept, copy))
        found = [_sum_nodes(now)] if now else []
        if then:
            recurrence = walk.recurrence(level)
            stack = sum_over_later_steps(recurrence, recurrence.stacked(_sum_nodes(then)))
            found.append(recurrence.slice(self._leaf(stack) if level.outer is None else stack))
        return found

    def _leaf(self, value: Node) -> Node:
        """A leaf that stands for a value made outside of all loops."""
        if value not in self._leaves:
            leaf = self._leaves[value] = placeholder(value.type)
            self.deferred[leaf] = ops.stop(value)
        return self._leaves[value]


def _without_coupled_plates(rn: RandomNode, keep: Collection[Axis], values: Sequence[Node], bits: int) -> set[Axis]:
    """The axes `keep` but for plates whose rows one of `values`, all of one loop, couples."""
    nodes = topological(values)
    inner = any(n.op in ("stacked", "final") for n in nodes)
    return set(keep) - set(rn.coupled_plates if inner else rn.mixed_plates(nodes, bits))


def _enclosing_scans(part: CostTerm) -> tuple[Scan | None, ...]:
    """The loops that a cost stands in."""
    return () if part.cost.scan is None else part.cost.scan.chain


def _term_in_step(part: CostTerm, level: Scan) -> Node:
    """A term of a cost as seen in a step of one of its loops."""
    node, scan = part.step, part.cost.scan
    while scan is not level:
        assert node is not None and scan is not None
        node, scan = ops.reduce_sum(scan.as_stacked(node), 0), scan.outer
    assert node is not None
    return node


def _sum_nodes(nodes: Sequence[Node]) -> Node:
    total = nodes[0]
    for node in nodes[1:]:
        total = ops.add(total, node)
    return total


class GraphExpansion(ScanExpansion):
    """One expansion of `graph` under `plan` (site name → estimator).

    `particles` fixes the number of particles (one particle needs no axis); None leaves it to run time. What `redraw`
    names of observations are draws, here and in all that is computed from them: entries that a mask drops, or all.
    """

    def __init__(
        self,
        graph: StochasticGraph,
        plan: Mapping[str, Estimator],
        mode: ExpansionMode,
        repeats: bool = False,
        particles: int | None = None,
        redraw: RedrawMode = "",
    ):
        self.graph, self.plan, self.mode = graph, plan, mode
        self.everywhere: tuple[Axis, ...] = (REPEATS,) if repeats else ()
        self.particles = replace(PARTICLES, size=particles)
        self.sampled: tuple[Axis, ...] = () if particles == 1 else (self.particles,)
        self.reducer = CostReducer()
        self.env: dict[int, Node] = {}
        self.drawn: dict[int, Node] = {}
        self.leaves_support = mode == "gradient" and any(e.leaves_support for e in plan.values())
        self.branches: dict[str, Branches] = {}
        self.own: dict[str, tuple[Node, ...]] = {}
        self.aux: dict[str, ExpandedAuxiliary] = {}
        self.hypers: dict[str, float] = dict(graph.trace.hypers)
        self.wrt: dict[str, Node] = {}
        self.marginal: dict[str, EnumeratedStates] = {}
        self.enumerated: dict[str, Axis] = {}
        self.importance: dict[str, Node] = {}
        self.averaged: list[MomentNode] = []
        self.redraw, self.redrawn = redraw, redrawn_nodes(graph.trace, redraw)
        self.edges: dict[tuple[str, str], tuple[RandomNode, BoundaryValue]] = {}
        self.crossings: dict[str, tuple[RandomNode, Node]] = {}
        self.recurrences: dict[Scan, Recurrence] = {}
        self.chains: dict[Scan, ForwardAlgorithm] = {}

    def _walk(self) -> None:
        reweighted = [n for n, e in self.plan.items() if e.reweights]
        if self.mode == "gradient" and reweighted:
            self.importance = self._importance(reweighted)
        self.walk(
            self.graph.outputs if self.mode != "gradient" else [*self.graph.outputs, *self.graph.terms.split_nodes]
        )

    def walk(self, outputs: Sequence[Node]) -> list[Node]:
        """Expand everything that `outputs` are computed from; returns what they become."""
        for node in topological(outputs):
            made = self.env[id(node)] = self._visit(node)
            assert set(node.type.axes) <= set(made.type.axes), f"{node.op} lost a plate"
            if self.reducer.possible or self.leaves_support:
                self._note_draws(node)
        return [self.env[id(node)] for node in outputs]

    def _note_draws(self, node: Node) -> None:
        """Remember where `node` comes from a discrete draw whose parameters are no numbers: it is one all the same.

        Only states that nothing reaches have such parameters and a finite loss.
        """
        known = self._conditions(node, [self.drawn[id(a)] for a in node.args if id(a) in self.drawn])
        if node.op == "sample" and node.attrs["site"].dist.discrete:
            named = zip(node.attrs["site"].dist.params, node.args, strict=True)
            found = ((name, self.env[id(a)]) for name, a in named)
            known += [parameter_is_number(name, x) for name, x in found if self.reducer.may_be_impossible(x)]
        if known:
            self.drawn[id(node)] = functools.reduce(ops.logical_and, dict.fromkeys(known))

    def _meant(self, node: Node, value: Node) -> Node:
        """`value`, what `node` became, but NaN where it comes from draws that mean nothing."""
        return ops.where(self.drawn[id(node)], value, math.nan) if id(node) in self.drawn else value

    def _importance(self, names: list[str]) -> dict[str, Node]:
        """Normalised weights of the bounds downstream of `names`, from a walk of its own on the same noise.

        Its values are those of this walk, so that no code is emitted for them twice.
        """
        plan = {n: Pathwise() if e.reweights else e for n, e in self.plan.items()}
        first = GraphExpansion(self.graph, plan, self.mode, bool(self.everywhere), self.particles.size)
        first._walk()
        found = {}
        for name in names:
            for cost in self.graph[name].costs:
                if cost.bound is not None:
                    log_weights, axis = first._bound(cost.bound)
                    weights = ops.softmax(ops.collect(ops.stop(log_weights), axis))
                    found[name] = ops.distribute(ops.stop(weights), axis)
        return found

    def _bound(self, bound: Bound) -> tuple[Node, Axis]:
        return ops.pick_branch(self.env[id(bound.log_weights)]), bound.axis

    def _visit(self, node: Node) -> Node:
        if id(node) in self.redrawn:
            return self.walk([self.redrawn[id(node)]])[0]
        if node.op == "sample":
            site = node.attrs["site"]
            drawn = self._redraw(node, site) if site.kind is SiteKind.OBSERVED else self._sample(self.graph[site.name])
            return ops.expand(drawn, node.type.axes)
        if node.op == "own_density":
            return self._own_density(node)
        if node.op == "param":
            leaf = ops.expand(node, self.everywhere)
            self.wrt[node.attrs["name"]] = leaf
            return leaf
        if node.op == "rowkey":
            axes = (*node.attrs["axes"], *self.sampled, *self.everywhere)
            return ops.row_key(node.attrs["name"], axes, [self.env[id(t)] for t in node.args])
        if node.op == "step_input":
            return self._input(node)
        if not node.args:
            return node
        if node.op in ("stacked", "final"):
            return self._stacked(node) if node.op == "stacked" else self._final(node)
        args = [self.env[id(a)] for a in node.args]
        if node.op == "expand":
            return ops.expand(args[0], node.attrs["axes"], node.type.shape)
        args = self.reducer.align_states(args)
        attrs = {**node.attrs, "axes": args[0].type.axes} if node.op == "external" else node.attrs
        return make(node.op, *args, **attrs)

    # --- random nodes ------------------------------------------------------------------------------------------------

    def _sample(self, rn: RandomNode) -> Node:
        if rn.name in self.given:
            return self.given_value(rn)
        params = [self.env[id(a)] for a in rn.node.args]
        params = self.reducer.align_states(params) if self.reducer.possible else params
        axes = union_axes(*(p.type.axes for p in params))
        dist = rn.dist.with_params(tuple(ops.expand(p, [a for a in axes if a.kind is Kind.BRANCH]) for p in params))
        dist.event_mask = None  # a mask drops units from costs, but all of them are drawn, so all of them score
        estimator = self.plan.get(rn.name, NotNeeded())
        if self.mode != "sample" and estimator.enters == "summed":
            return self._enumerate(rn, dist)
        plates = sort_axes((*rn.node.type.axes, *self.everywhere))
        if self.mode != "sample" and estimator.enters == "averaged":
            self.averaged.append(MomentNode.make(rn, dist, plates))
            return self.averaged[-1].mean
        uniforms = self._uniforms(rn.site, plates, dist.uniforms(), 0)
        if self.mode != "gradient":
            return dist.draw(*uniforms)
        return self._branch(rn, dist, estimator, plates, uniforms)

    def _redraw(self, node: Node, site: Site) -> Node:
        """A draw of an observed node."""
        assert site.dist is not None
        dist = site.dist.with_params(tuple(self.env[id(a)] for a in node.args))
        return dist.draw(*self._uniforms(site, sort_axes((*node.type.axes, *self.everywhere)), dist.uniforms(), 0))

    def _uniforms(
        self, site: Site, plates: tuple[Axis, ...], shapes: tuple[tuple[int, ...] | None, ...], purpose: int
    ) -> tuple[Node, ...]:
        axes, name, times = (*plates, *self.sampled), base_name(site.name), self.walk(site.times)
        return tuple(
            ops.row_key(name, axes, times) if s is KEY else ops.noise(name, purpose + i, axes, s, times)
            for i, s in enumerate(shapes)
        )

    def _branch(
        self,
        rn: RandomNode,
        dist: Distribution,
        estimator: Estimator,
        plates: tuple[Axis, ...],
        uniforms: tuple[Node, ...],
    ) -> Node:
        own = tuple(ops.expand(ops.pick_branch(p), plates) for p in dist.params.values())
        self.own[rn.name] = own
        ctx = NodeContext(
            rn.name,
            dist.with_params(own),
            uniforms,
            fresh=lambda shapes: self._uniforms(rn.site, plates, shapes, CONDITIONAL_PURPOSE),
            aux=lambda key, spec: self._aux(rn.name, key, spec),
            option=self._option,
            particles=self.particles,
            learnable=rn.learnable,
            inputs=self._inputs(rn),
            relaxes=lambda: rn.soft_order()[0] > JUMP,
            importance=self.importance.get(rn.name),
        )
        made = estimator.expand(ctx)
        if estimator.own_path and rn.dist.through_cdf:
            names, spread = ctx.dist.path_between_components()
            if spread is not None and names & set(rn.learnable):
                self.crossings[rn.name] = rn, spread
        if estimator.drawn_only:
            self.edges |= {(rn.name, e.name): (rn, e) for e in ctx.dist.edges() if e.name in rn.learnable}
        inherited = [c for p in dist.params.values() if p.type.branch for c in p.type.branch.copies if c != PRIMAL]
        if not made.sides and not inherited:
            value = made.primal
        elif not made.sides and made.primal is ctx.draw():
            value = dist.draw(*uniforms)
        else:
            value = self._assemble(rn, dist, estimator, made, inherited, uniforms)
        self.branches[rn.name] = made
        return value

    def _assemble(
        self,
        rn: RandomNode,
        dist: Distribution,
        estimator: Estimator,
        made: Branches,
        inherited: list[Branch],
        uniforms: tuple[Node, ...],
    ) -> Node:
        pieces: dict[Branch, Node] = {PRIMAL: made.primal}
        for copy in dict.fromkeys(inherited):
            at = dist.with_params(tuple(ops.pick_branch(p, copy) for p in dist.params.values()))
            pieces[copy] = self._follow(at, copy, uniforms)
        for i, side in enumerate(made.sides, 1):
            value = side.value if side.weight is None else ops.scale_grad(side.value, side.weight)
            pieces[Branch(rn.rank, rn.name, i, side.live, side.soft)] = value
        return ops.assemble_branches(pieces, branch_axis(tuple(pieces)))

    def _follow(self, dist: Distribution, copy: Branch, uniforms: tuple[Node, ...]) -> Node:
        """Rule 4: a node's value in an earlier node's side branch, on the primal's noise; relaxed where that is
        soft."""
        if copy.soft and dist.discrete:
            temperature = self.branches[copy.node].temperature
            assert temperature is not None
            return dist.relax(temperature, *uniforms)
        return dist.draw(*uniforms)

    def _aux(self, site: str, key: str, spec: Auxiliary) -> Node:
        name = f"{site}/{key}"
        scan = self.graph[site].site.scan
        scans = scan.chain if spec.per_step and scan is not None else ()
        leaf = value = make("aux", name=name, shape=(*(s.length for s in scans), *spec.shape))
        for each in scans:
            value = self.recurrence(each).slice(value)
        self.aux[name] = ExpandedAuxiliary(leaf, value, spec, site)
        return value

    def _option(self, option: Option) -> Node:
        if isinstance(option, Hyper):
            self.hypers.setdefault(option.name, option.default)
            return make("hyper", name=option.name)
        return ops.const(float(option))

    def _enumerate(self, rn: RandomNode, dist: Distribution) -> Node:
        rule = self.plan[rn.name]
        states = enumerate_states(rule.law(dist), rn)
        if states.log_prob is None and rn.site.scan is None:
            self.reducer.possible[states.axis] = ops.less(0.0, ops.stop(states.weight))
        if rule.within_cost:
            self.marginal[rn.name] = states
        else:
            self.reducer.weights[states.axis] = states.weight
            self.enumerated[rn.name] = states.axis
        plates = sort_axes((*rn.node.type.axes, *self.everywhere))
        return rule.value(dist, states.value, self._uniforms(rn.site, plates, dist.uniforms(), 0))

    def _own_density(self, node: Node) -> Node:
        rn = self.graph[node.attrs["name"]]
        if self.mode != "gradient" or rn.name not in self.plan or not self.plan[rn.name].stops_density:
            return self.env[id(node.args[0])]
        dist = rn.dist.with_params(tuple(ops.stop(self.env[id(a)]) for a in rn.node.args))
        return ops.expand(dist.node_log_prob(self.env[id(rn.node)]), node.type.axes)


@dataclass(eq=False)
class ExpandedProgram:
    """The expanded program.

    `values` maps names of sites to nodes (those in loops over time only where they are sampled); `surrogate` has the
    estimate as its gradient with respect to the nodes in `wrt`; `own` holds the primal parameters of each random node,
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
    aux: dict[str, ExpandedAuxiliary]
    own: dict[str, tuple[Node, ...]]
    advantages: dict[str, Advantages]
    hypers: dict[str, float]
    copies: dict[str, int] = field(default_factory=dict)
    fits: dict[str, Node] = field(default_factory=dict)
    averaged: Callable[[str, Node], Node] = lambda owner, value: value
    stacked: Callable[[str, Node], Node] = lambda owner, value: value
    deferred: dict[Node, Node] = field(default_factory=dict)
    change: Callable[[str, Node, Node], Node | None] = lambda owner, new, old: None


class CostTerm(NamedTuple):
    """A term of a cost in the expansion, and the random nodes whose downstream costs it belongs to.

    `step` is what it is of, in one step of the loops that the cost stands in.
    """

    value: Node
    above: frozenset[str]
    cost: Cost
    step: Node | None


class Expansion(GraphExpansion):
    """One expansion: the walk, and then its costs and score terms."""

    costs: dict[str, Node]
    parts: list[CostTerm]
    known: dict[str, Node | None]
    pieces: dict[str, list[tuple[Node, Node]]]

    def run(self) -> ExpandedProgram:
        """Walk the graph, then assemble costs and score terms."""
        self.known = {}
        self._walk()
        trace, self.parts = self.graph.trace, []
        costs = self.costs = {} if self.mode == "sample" else {n: self._expected(c) for n, c in trace.costs.items()}
        self.pieces = {n: self._pieces(trace.costs[n], value) for n, value in costs.items()}
        listed = [s for s in trace.sites.values() if s.node is not None and (self.mode == "sample" or s.scan is None)]
        values = {site.name: self._shown(site) for site in listed}
        self.cost_to_go = CostToGo(self)
        primal = {
            n: _sum_over_axes([self.reducer.total(x, primal=True) for _, x in p], ()) for n, p in self.pieces.items()
        }
        loss = _sum_over_axes(list(primal.values()), self.everywhere)
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
            surrogate = _sum_over_axes(terms, self.everywhere)
        copies = {n: c.type.branch.size or 1 for n, c in costs.items() if c.type.branch is not None}
        for name, param in trace.params.items():  # the gradient of one that nothing reads is an output too: 0
            self.wrt.setdefault(name, ops.expand(param.node, self.everywhere))
        return ExpandedProgram(
            values, primal, loss, surrogate, self.wrt, self.aux, self.own, advantages, self.hypers, copies, fits,
            self._mean, lambda name, value: self.outside(value, self.graph[name].site.scan), self.cost_to_go.deferred,
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
        """Whether a row of the primal still runs in the loops of a site; None where all do."""
        return None if site.active is None else ops.pick_branch(self.walk([site.active])[0])

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

    def _parts(self, cost: Cost) -> list[CostTerm]:
        """A cost, or the terms that depend on nodes directly or through `stop_gradient`, one way each."""
        terms = self.graph.terms
        found = terms.of[cost.name]
        if len(found) == 1 and len(self.pieces[cost.name]) > 1:
            reach = terms.reach
            return [CostTerm(x, terms.names(reach(n).direct), cost, n) for n, x in self.pieces[cost.name]]
        if len(found) == 1:
            return [CostTerm(self.costs[cost.name], terms.names(found[0].reach.direct), cost, cost.step)]
        values = [self._averaged(cost, self._meant(t.node, self.env[id(t.node)])) for t in found]
        return [
            CostTerm(value, terms.names(t.reach.direct), cost, t.step) for value, t in zip(values, found, strict=True)
        ]

    def not_above(self, part: CostTerm) -> set[Axis]:
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
            return negative_log_marginal(value, [self.marginal[name] for name in cost.marginalize], self.reducer)
        return ops.neg(log_sum_product(self.factors(cost), self.variables(cost), self.reducer))

    def factors(self, cost: Cost) -> list[Factor]:
        """The terms of the log-density that a cost sums over states of its nodes."""
        terms = self.seen(cost)
        return [Factor(self._meant(f, x)) for f, x in zip(terms, self.walk(terms), strict=True)]

    def variables(self, cost: Cost) -> list[SummedVariable]:
        """The states that a cost sums over."""
        nodes = [self.graph[name] for name in cost.marginalize]
        plates = [tuple(a for a in n.node.type.axes if a not in n.coupled_plates) for n in nodes]
        return [SummedVariable(self.marginal[n.name], axes) for n, axes in zip(nodes, plates, strict=True)]

    def _pieces(self, cost: Cost, value: Node) -> list[tuple[Node, Node]]:
        """Terms of a cost whose enumerated nodes have too many joint states for one table, and what they become."""
        joint = math.prod(a.size or 1 for a in value.type.axes if a in self.reducer.weights)
        if joint <= SPLIT_FROM_STATES or cost.marginalize or cost.bound is not None or cost.scan is not None:
            return [(cost.node, value)]
        terms = cost_terms(cost.node)
        return [(n, self._averaged(cost, self._meant(n, x))) for n, x in zip(terms, self.walk(terms), strict=True)]

    def _score_term(self, name: str) -> tuple[Node, Advantages] | None:
        rn = self.graph[name]
        made = self.branches[name]
        downstream = [part for part in self.parts if name in part.above]
        if made.score is None or not downstream:
            return None
        active = self._active(rn.site)
        states = () if active is None else (a for a in active.type.axes if a in self.reducer.weights)
        keep = {*made.primal.type.axes, *states}  # in some states of other nodes the row has stopped
        copies = [PRIMAL, *(Branch(rn.rank, name, i, s.live, s.soft) for i, s in enumerate(made.sides, 1))]
        advantages = Advantages(
            [self.cost_to_go.of(rn, downstream, keep, copy) for copy in copies],
            self._row_mean(rn.site),
            [Bound(*self._bound(c.bound)) for c in rn.costs if c.bound is not None],
            lambda x: self.reducer.advantage([x], keep),
            made.primal,
        )
        return made.score(advantages), advantages


def _sum_over_axes(terms: list[Node], axes: tuple[Axis, ...]) -> Node:
    total = ops.expand(ops.const(0.0), axes)
    for term in terms:
        total = ops.add(total, term)
    return total


@dataclass(eq=False)
class ExpandedAuxiliary:
    """An auxiliary variable in the expanded program: leaf, its value in a step, declaration, its node."""

    leaf: Node
    step: Node
    spec: Auxiliary
    owner: str
