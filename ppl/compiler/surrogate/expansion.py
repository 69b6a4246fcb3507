"""Expand a traced graph by the plan's estimators into plain IR without random nodes.

The expansion goes over the trace in order of computation. It rebuilds plain ops, which may gain axes (particles,
enumerations, branches), and replaces random nodes by the branches of their estimators. It enters a loop over time when
it meets the loop's first step input. Then it assembles the costs and the score terms into the surrogate, whose gradient
is the estimate. Score functions are weighted by the cost to go. Nodes of a loop may be summed out step by
step (`ForwardAlgorithm`)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field, replace
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np

from ppl.compiler.surrogate.elimination import (
    EnumeratedStates,
    Factor,
    StateQuery,
    SummedVariable,
    enumerate_states,
    finite_maximum,
    log_sum_product,
    negative_log_marginal,
    parameter_is_number,
    previous_step_axis,
    state_tilt,
)
from ppl.compiler.surrogate.expectations import CostReducer, MomentNode
from ppl.compiler.surrogate.scan import Recurrence, sum_over_later_steps
from ppl.distributions.base import KEY, Distribution
from ppl.distributions.constraints import BoundaryValue, constant_value, without_expand
from ppl.distributions.formulas import log_weighted_sum
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
from ppl.graph.elimination import SPLIT_FROM_STATES, cost_terms, data_arguments_of
from ppl.graph.stochastic import RandomNode, StochasticGraph
from ppl.ir import ops
from ppl.ir.loop import placeholder
from ppl.ir.node import Node, make, topological
from ppl.ir.op_facts import JUMP
from ppl.ir.types import PARTICLES, PRIMAL, REPEATS, Axis, Branch, Kind, branch_axis, sort_axes, union_axes
from ppl.lang.loops import Scan, base_name, resolve_alias
from ppl.lang.trace import Bound, Cost, Site, SiteKind, Trace
from ppl.records import dataclass

RedrawMode = Literal["", "missing", "all"]
"""What is redrawn of observations: nothing, the entries that a mask drops, or all."""


def redrawn_nodes(trace: Trace, redraw: RedrawMode) -> dict[int, Node]:
    """Return what stands for traced values of observations, by id."""
    sites = trace.sites.values()
    if redraw == "all":
        return {id(s.returned): s.fresh for s in sites if s.fresh is not None}
    return {id(s.node): s.redrawn for s in sites if s.redrawn is not None} if redraw else {}


def _without_coupled_plates(rn: RandomNode, keep: Collection[Axis], values: Sequence[Node], bits: int) -> set[Axis]:
    """Return the axes `keep` but for plates whose rows one of `values`, all of one loop, couples."""
    nodes = topological(values)
    inner = any(n.op in ("stacked", "final") for n in nodes)
    return set(keep) - set(rn.coupled_plates if inner else rn.mixed_plates(nodes, bits))


def _enclosing_scans(part: CostTerm) -> tuple[Scan | None, ...]:
    """Return the loops that a cost stands in."""
    return () if part.cost.scan is None else part.cost.scan.chain


def _term_in_step(part: CostTerm, level: Scan) -> Node:
    """Return a term of a cost as seen in a step of one of its loops."""
    node, scan = part.step, part.cost.scan
    while scan is not level:
        assert node is not None and scan is not None
        node, scan = ops.reduce_sum(scan.as_stacked(node), 0), scan.outer
    assert node is not None
    return node


ExpansionMode = Literal["gradient", "value", "sample"]


class Expansion:
    """One expansion of `graph` under `plan` (site name → estimator), and everything that it has found.

    Parameters
    ----------
    repeats : whether all values have a leading axis of independent repeats.
    particles : fixes the number of particles (one particle needs no axis); None leaves it to run time.
    redraw : what is drawn of observations, here and in all that is computed from them.
    fixed_draws : draws of nodes that are summed out elsewhere; in a loop over time those of all steps.
    missing_data : data arguments that are not there: what is observed of them does not count.
    queries : nodes whose joint posterior probabilities are asked for.
    """

    def __init__(
        self,
        graph: StochasticGraph,
        plan: Mapping[str, Estimator],
        mode: ExpansionMode,
        repeats: bool = False,
        particles: int | None = None,
        redraw: RedrawMode = "",
        fixed_draws: Mapping[str, Node] = MappingProxyType({}),
        missing_data: frozenset[str] = frozenset(),
        queries: Sequence[StateQuery] = (),
    ):
        self.graph, self.plan, self.mode = graph, plan, mode
        self.repeat_axes: tuple[Axis, ...] = (REPEATS,) if repeats else ()
        self.particles = replace(PARTICLES, size=particles)
        self.particle_axes: tuple[Axis, ...] = () if particles == 1 else (self.particles,)
        self.redraw, self.redrawn = redraw, redrawn_nodes(graph.trace, redraw)
        self.fixed_draws, self.missing_data, self.queries = fixed_draws, missing_data, queries
        self.reducer = CostReducer()
        self.leaves_support = mode == "gradient" and any(e.leaves_support for e in plan.values())
        # what traced nodes have become, and whether the discrete draws that they come from are numbers, by id
        self.env: dict[int, Node] = {}
        self.number_conditions: dict[int, Node] = {}
        # by name of random node
        self.branches: dict[str, Branches] = {}
        self.own_parameters: dict[str, tuple[Node, ...]] = {}
        self.marginal: dict[str, EnumeratedStates] = {}
        self.enumerated: dict[str, Axis] = {}
        self.importance: dict[str, Node] = {}
        self.unsampled_edges: dict[tuple[str, str], tuple[RandomNode, BoundaryValue]] = {}
        self.mixture_paths: dict[str, tuple[RandomNode, Node]] = {}
        self.moments: list[MomentNode] = []
        # by name of auxiliary variable, hyperparameter, parameter
        self.aux: dict[str, ExpandedAuxiliary] = {}
        self.hypers: dict[str, float] = dict(graph.trace.hypers)
        self.wrt: dict[str, Node] = {}
        # by loop; the zeros that stand for the states of a query in a chain
        self.recurrences: dict[Scan, Recurrence] = {}
        self.chains: dict[Scan, ForwardAlgorithm] = {}
        self.tilts: dict[StateQuery, Node] = {}
        # by name of cost, and the terms that score functions weigh
        self.costs: dict[str, Node] = {}
        self.pieces: dict[str, list[tuple[Node, Node]]] = {}
        self.parts: list[CostTerm] = []
        # leaves in steps that stand for values made outside of all loops, by value, and the values stopped, by leaf
        self.leaves: dict[Node, Node] = {}
        self.deferred: dict[Node, Node] = {}
        # what the loss is NaN by, once a function of `guards` has found it
        self.penalties: dict[str, Node | None] = {}

    def expand_outputs(self) -> None:
        """Expand all that the trace computes."""
        reweighted = [n for n, e in self.plan.items() if e.reweights]
        if self.mode == "gradient" and reweighted:
            self.importance = self._importance(reweighted)
        self.expand([*self.graph.outputs, *(self.graph.terms.split_nodes if self.mode == "gradient" else ())])

    def expand(self, outputs: Sequence[Node]) -> list[Node]:
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
        known = self._number_conditions_of(
            node, [self.number_conditions[id(a)] for a in node.args if id(a) in self.number_conditions]
        )
        if node.op == "sample" and node.attrs["site"].dist.discrete:
            named = zip(node.attrs["site"].dist.params, node.args, strict=True)
            found = ((name, self.env[id(a)]) for name, a in named)
            known += [parameter_is_number(name, x) for name, x in found if self.reducer.may_be_impossible(x)]
        if known:
            self.number_conditions[id(node)] = functools.reduce(ops.logical_and, dict.fromkeys(known))

    def _nan_unless_number(self, node: Node, value: Node) -> Node:
        """Return `value`, which `node` became, but NaN where it comes from draws that are no numbers."""
        return (
            ops.where(self.number_conditions[id(node)], value, math.nan)
            if id(node) in self.number_conditions
            else value
        )

    def _importance(self, names: list[str]) -> dict[str, Node]:
        """Normalised weights of the bounds downstream of `names`, from an expansion of its own on the same noise.

        Its values are those of this expansion, so that no code is emitted for them twice.
        """
        plan = {n: Pathwise() if e.reweights else e for n, e in self.plan.items()}
        first = Expansion(self.graph, plan, self.mode, bool(self.repeat_axes), self.particles.size)
        first.expand_outputs()
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
            return self.expand([self.redrawn[id(node)]])[0]
        if node.op == "sample":
            site = node.attrs["site"]
            drawn = self._redraw(node, site) if site.kind is SiteKind.OBSERVED else self._sample(self.graph[site.name])
            return ops.expand(drawn, node.type.axes)
        if node.op == "own_density":
            return self._own_density(node)
        if node.op == "param":
            leaf = ops.expand(node, self.repeat_axes)
            self.wrt[node.attrs["name"]] = leaf
            return leaf
        if node.op == "rowkey":
            axes = (*node.attrs["axes"], *self.particle_axes, *self.repeat_axes)
            return ops.row_key(node.attrs["name"], axes, [self.env[id(t)] for t in node.args])
        if node.op == "step_input":
            return self._step_input(node)
        if not node.args:
            return node
        if node.op in ("stacked", "final"):
            return self._stacked_value(node) if node.op == "stacked" else self._final_carry(node)
        args = [self.env[id(a)] for a in node.args]
        if node.op == "expand":
            return ops.expand(args[0], node.attrs["axes"], node.type.shape)
        args = self.reducer.align_states(args)
        attrs = {**node.attrs, "axes": args[0].type.axes} if node.op == "external" else node.attrs
        return make(node.op, *args, **attrs)

    # --- random nodes ------------------------------------------------------------------------------------------------

    def _sample(self, rn: RandomNode) -> Node:
        if rn.name in self.fixed_draws:
            return self._fixed_draw(rn)
        params = [self.env[id(a)] for a in rn.node.args]
        params = self.reducer.align_states(params) if self.reducer.possible else params
        axes = union_axes(*(p.type.axes for p in params))
        dist = rn.dist.with_params(tuple(ops.expand(p, [a for a in axes if a.kind is Kind.BRANCH]) for p in params))
        dist.event_mask = None  # a mask drops units from costs, but all of them are drawn, so all of them score
        estimator = self.plan.get(rn.name, NotNeeded())
        if self.mode != "sample" and estimator.enters == "summed":
            return self._enumerate(rn, dist)
        plates = sort_axes((*rn.node.type.axes, *self.repeat_axes))
        if self.mode != "sample" and estimator.enters == "averaged":
            self.moments.append(MomentNode.make(rn, dist, plates))
            return self.moments[-1].mean
        uniforms = self._uniforms(rn.site, plates, dist.uniforms(), 0)
        if self.mode != "gradient":
            return dist.draw(*uniforms)
        return self._expand_branches(rn, dist, estimator, plates, uniforms)

    def _redraw(self, node: Node, site: Site) -> Node:
        """Draw an observed node."""
        assert site.dist is not None
        dist = site.dist.with_params(tuple(self.env[id(a)] for a in node.args))
        return dist.draw(*self._uniforms(site, sort_axes((*node.type.axes, *self.repeat_axes)), dist.uniforms(), 0))

    def _uniforms(
        self, site: Site, plates: tuple[Axis, ...], shapes: tuple[tuple[int, ...] | None, ...], purpose: int
    ) -> tuple[Node, ...]:
        axes, name, times = (*plates, *self.particle_axes), base_name(site.name), self.expand(site.times)
        return tuple(
            ops.row_key(name, axes, times) if s is KEY else ops.noise(name, purpose + i, axes, s, times)
            for i, s in enumerate(shapes)
        )

    def _expand_branches(
        self,
        rn: RandomNode,
        dist: Distribution,
        estimator: Estimator,
        plates: tuple[Axis, ...],
        uniforms: tuple[Node, ...],
    ) -> Node:
        own = tuple(ops.expand(ops.pick_branch(p), plates) for p in dist.params.values())
        self.own_parameters[rn.name] = own
        ctx = NodeContext(
            rn.name,
            dist.with_params(own),
            uniforms,
            fresh=lambda shapes: self._uniforms(rn.site, plates, shapes, CONDITIONAL_PURPOSE),
            aux=lambda key, spec: self._auxiliary_variable(rn.name, key, spec),
            option=self._option_value,
            particles=self.particles,
            learnable=rn.learnable,
            inputs=self._baseline_inputs(rn),
            relaxes=lambda: rn.soft_order()[0] > JUMP,
            importance=self.importance.get(rn.name),
        )
        made = estimator.expand(ctx)
        if estimator.own_path and rn.dist.through_cdf:
            names, spread = ctx.dist.path_between_components()
            if spread is not None and names & set(rn.learnable):
                self.mixture_paths[rn.name] = rn, spread
        if estimator.drawn_only:
            self.unsampled_edges |= {(rn.name, e.name): (rn, e) for e in ctx.dist.edges() if e.name in rn.learnable}
        inherited = [c for p in dist.params.values() if p.type.branch for c in p.type.branch.copies if c != PRIMAL]
        if not made.sides and not inherited:
            value = made.primal
        elif not made.sides and made.primal is ctx.draw():
            value = dist.draw(*uniforms)
        else:
            value = self._assemble_branches(rn, dist, estimator, made, inherited, uniforms)
        self.branches[rn.name] = made
        return value

    def _assemble_branches(
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
            pieces[copy] = self._value_in_side_branch(at, copy, uniforms)
        for i, side in enumerate(made.sides, 1):
            value = side.value if side.weight is None else ops.scale_grad(side.value, side.weight)
            pieces[Branch(rn.rank, rn.name, i, side.live, side.soft)] = value
        return ops.assemble_branches(pieces, branch_axis(tuple(pieces)))

    def _value_in_side_branch(self, dist: Distribution, copy: Branch, uniforms: tuple[Node, ...]) -> Node:
        """Return a node's value in an earlier node's side branch, on the primal's noise; relaxed where that is soft."""
        if copy.soft and dist.discrete:
            temperature = self.branches[copy.node].temperature
            assert temperature is not None
            return dist.relax(temperature, *uniforms)
        return dist.draw(*uniforms)

    def _auxiliary_variable(self, site: str, key: str, spec: Auxiliary) -> Node:
        name = f"{site}/{key}"
        scan = self.graph[site].site.scan
        scans = scan.chain if spec.per_step and scan is not None else ()
        leaf = value = make("aux", name=name, shape=(*(s.length for s in scans), *spec.shape))
        for each in scans:
            value = self.recurrence(each).slice(value)
        self.aux[name] = ExpandedAuxiliary(leaf, value, spec, site)
        return value

    def _option_value(self, option: Option) -> Node:
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
        plates = sort_axes((*rn.node.type.axes, *self.repeat_axes))
        return rule.value(dist, states.value, self._uniforms(rn.site, plates, dist.uniforms(), 0))

    def _own_density(self, node: Node) -> Node:
        rn = self.graph[node.attrs["name"]]
        if self.mode != "gradient" or rn.name not in self.plan or not self.plan[rn.name].stops_density:
            return self.env[id(node.args[0])]
        dist = rn.dist.with_params(tuple(ops.stop(self.env[id(a)]) for a in rn.node.args))
        return ops.expand(dist.node_log_prob(self.env[id(rn.node)]), node.type.axes)

    # --- loops over time --------------------------------------------------------------------------------------------

    def recurrence(self, scan: Scan) -> Recurrence:
        """Return what the loop `scan` has become."""
        if scan.outer is not None:
            self.recurrence(scan.outer)
        if scan not in self.recurrences:
            self.recurrences[scan] = Recurrence(placeholder(scan.index.type), scan.length, scan.reverse, scan.remat)
            self._find_carries(scan, self.recurrences[scan])
        return self.recurrences[scan]

    def chain(self, scan: Scan) -> ForwardAlgorithm | None:
        """Return the nodes of a loop that are summed out step by step, or None."""
        if self.mode == "sample":
            return None
        sites = [n.attrs["site"] for n in self.graph.samples]
        names = [s.name for s in sites if s.scan is scan and s.name in self.plan]
        names = [name for name in names if self.plan[name].enters == "summed"]
        if names and scan not in self.chains:
            self.chains[scan] = ForwardAlgorithm(self, scan, names)
        return self.chains.get(scan)

    def query_tilts(self, chain: ForwardAlgorithm) -> Node:
        """Zeros that stand for the states of a chain's nodes in a step, where their probabilities are asked for."""
        total = ops.const(0.0)
        for query in self.queries:
            if set(query) <= set(chain.names):
                plates = [a for name in query for a in self.graph[name].node.type.axes]
                states = [chain.states[chain.names.index(name)] for name in query]
                self.tilts[query] = state_tilt(query, (*plates, *states), (chain.scan.length,))
                total = ops.add(total, self.recurrence(chain.scan).slice(self.tilts[query]))
        return total

    def counted_terms(self, cost: Cost) -> list[Node]:
        """List the terms of the log-density that a cost sums over states, but for those that read missing data."""
        if not self.missing_data and cost.step is not None:
            return [cost.step]
        return [f for f in cost.factors if self.missing_data.isdisjoint(data_arguments_of(f))]

    def _fixed_draw(self, rn: RandomNode) -> Node:
        """Return the draw of a node that is fixed, in a step of its loop."""
        value, scan = self.fixed_draws[rn.name], rn.site.scan
        return value if scan is None else self.recurrence(scan).slice(value)

    def _stacked_value(self, node: Node) -> Node:
        """Return a value of a loop seen from outside; over the states of a chain, its expectation."""
        scan: Scan = node.attrs["scan"].leader
        recurrence, chain = self.recurrence(scan), self.chain(scan)
        value = self.env[id(node.args[0])]
        return recurrence.stacked(value if chain is None else chain.expectation(node.args[0], value))

    def _find_carries(self, scan: Scan, found: Recurrence) -> None:
        """Find the carries of a loop: they gain all the axes that a step gives them."""
        inits, chain = self.expand(scan.inits), self.chain(scan)
        inits = inits if chain is None else chain.initial_carries(inits)
        while True:
            found.inits, found.carries = tuple(inits), tuple(placeholder(x.type) for x in inits)
            known = set(self.recurrences)
            outs = self.expand(scan.outs)
            outs = outs if chain is None else chain.next_carries(outs, found.carries)
            outs = [ops.expand(o, union_axes(i.type.axes, o.type.axes)) for i, o in zip(inits, outs, strict=True)]
            if all(o.type == i.type for i, o in zip(inits, outs, strict=True)):
                found.outs = tuple(outs)
                return
            for inner in set(self.recurrences) - known:
                del self.recurrences[inner]
            inits = [ops.expand(i, o.type.axes) for i, o in zip(inits, outs, strict=True)]

    def _step_input(self, node: Node) -> Node:
        """Expand what a step of a loop reads."""
        node = resolve_alias(node)
        if node.op != "step_input":
            return self.expand([node])[0]
        scan: Scan = node.attrs["scan"].leader
        found = self.recurrence(scan)
        if node is scan.index:
            return found.index
        if node in scan.slices:
            return found.slice(self.expand([scan.slices[node]])[0])
        number, chain = scan.carries.index(node), self.chain(scan)
        if chain is None or number not in chain.constant_carries:
            return found.carries[number]
        return ops.expand(ops.cast(chain.constant_carries[number], node.type.dtype), node.type.axes)

    def _baseline_inputs(self, rn: RandomNode) -> tuple[Node, ...]:
        """List what a learned baseline may see of a node's row, and in a loop of its step: known before the draw."""
        inputs, scan = rn.plate_inputs, rn.site.scan
        if scan is None:
            return inputs
        sliced = set(scan.slices.values())
        found = [*self.recurrence(scan).carries[: len(scan.carries)], *self.expand(list(scan.slices))]
        known = {Kind.REPEATS, Kind.PLATE, Kind.PARTICLES}
        floats = [x for x in found if x.type.dtype == "float" and all(a.kind in known for a in x.type.axes)]
        within = (*rn.node.type.axes, *self.repeat_axes, *self.particle_axes)
        return (*(n for n in inputs if n not in sliced), *(x for x in floats if set(x.type.axes) <= set(within)))

    def _final_carry(self, node: Node) -> Node:
        """Return a carry of a loop after the last step."""
        scan: Scan = node.attrs["scan"]
        return self.recurrence(scan.leader).final(scan.carry_offset + node.attrs["index"])

    def _number_conditions_of(self, node: Node, known: list[Node]) -> list[Node]:
        """Return what is `known` of the arguments of `node`; where it is seen from outside of a loop, of all steps."""
        if node.op not in ("stacked", "final"):
            return known
        return [self._holds_in_all_steps(x, node.attrs["scan"].leader) for x in known]

    def _holds_in_all_steps(self, holds: Node, scan: Scan) -> Node:
        """Return whether what may be said of a step holds in all steps, and in all states of a chain."""
        recurrence, chain = self.recurrence(scan), self.chain(scan)
        if not recurrence.varying_nodes([holds]):
            return holds
        fails = ops.cast(ops.logical_not(holds), "float")
        states = [a for a in fails.type.axes if chain is not None and a in (*chain.states, *chain.previous_states)]
        fails = make("amax", recurrence.stacked(fails), axes=tuple(states), dims=(0,))
        return ops.less(fails, 0.5)

    def stack_over_steps(self, node: Node, scan: Scan | None) -> Node:
        """Return a value of a step of `scan` as seen from outside of all loops: steps lead its event."""
        while scan is not None:
            node, scan = self.recurrence(scan).stacked(node), scan.outer
        return node

    # --- costs and score terms --------------------------------------------------------------------------------------

    def run(self) -> ExpandedProgram:
        """Expand the graph, then assemble costs and score terms."""
        self.expand_outputs()
        trace = self.graph.trace
        costs = self.costs = {} if self.mode == "sample" else {n: self._expected(c) for n, c in trace.costs.items()}
        self.pieces = {n: self._split_cost(trace.costs[n], value) for n, value in costs.items()}
        listed = [s for s in trace.sites.values() if s.node is not None and (self.mode == "sample" or s.scan is None)]
        values = {site.name: self._shown(site) for site in listed}
        primal = {
            n: _sum_over_axes([self.reducer.total(x, primal=True) for _, x in p], ()) for n, p in self.pieces.items()
        }
        loss = _sum_over_axes(list(primal.values()), self.repeat_axes)
        surrogate, advantages, fits = loss, {}, {}
        if self.mode == "gradient":
            self.parts = [part for cost in trace.costs.values() for part in self._terms_of_cost(cost)]
            terms = [self.reducer.total(part.value, stopped=self.not_above(part)) for part in self.parts]
            for name in self.branches:
                found = self._score_term(name)
                if found is not None:
                    terms.append(self.reducer.total(self._total_score(name, found[0]), stopped=True))
                    advantages[name] = found[1]
                    fit = self.branches[name].fit
                    fits.update({name: self._mean_over_steps(name, fit(found[1]))} if fit is not None else {})
            surrogate = _sum_over_axes(terms, self.repeat_axes)
        copies = {n: c.type.branch.size or 1 for n, c in costs.items() if c.type.branch is not None}
        for name, param in trace.params.items():  # the gradient of one that nothing reads is an output too: 0
            self.wrt.setdefault(name, ops.expand(param.node, self.repeat_axes))
        return ExpandedProgram(
            values, primal, loss, surrogate, self.wrt, self.aux, self.own_parameters, advantages, self.hypers, copies,
            fits, self._mean_over_steps, lambda name, value: self.stack_over_steps(value, self.graph[name].site.scan),
            self.deferred, self._change_where_running,
        )  # fmt: skip

    def _shown(self, site: Site) -> Node:
        """Return the value of a site as `program.sample` returns it; 0 in rows of a loop that have stopped."""
        node = site.returned if self.redraw == "all" and site.returned is not None else site.node
        assert node is not None
        value = self.env[id(node)] if id(node) in self.env else self.expand([node])[0]
        if site.active is not None:
            (active,) = self.expand([site.active])
            value = ops.where(active, value, ops.cast(ops.zeros_like(value.type), value.type.dtype))
        return self.stack_over_steps(value, site.scan)

    def _running(self, site: Site) -> Node | None:
        """Return the share of rows that still run in the loops of a site, in a step; None where all do."""
        active = self._active(site)
        return None if active is None else self.reducer.mean_over_rows(ops.cast(active, "float"))

    def _row_mean(self, site: Site) -> Callable[[Node], Node]:
        """Return the mean over rows, over those that still run in a loop."""
        mean = self.reducer.mean_over_rows
        active, share = self._active(site), self._running(site)
        if active is None or share is None:
            return mean

        def of(x: Node) -> Node:
            kept = mean(ops.where(active, x, 0.0))
            return ops.where(ops.less(0.0, share), ops.div(kept, ops.where(ops.less(0.0, share), share, 1.0)), 0.0)

        return of

    def _total_score(self, name: str, value: Node) -> Node:
        """Return the sum of a node's score terms over the steps of its loops; rows that have stopped have none."""
        site = self.graph[name].site
        active = self._active(site)
        return self._sum_of_steps(site, value if active is None else ops.where(active, value, 0.0))

    def _active(self, site: Site) -> Node | None:
        """Return whether a row of the primal still runs in the loops of a site; None where all do."""
        return None if site.active is None else ops.pick_branch(self.expand([site.active])[0])

    def _mean_over_steps(self, name: str, value: Node) -> Node:
        """Return the mean of a value of a node's steps, of those in which rows run: in others it is 0."""
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

    def _change_where_running(self, name: str, new: Node, old: Node) -> Node | None:
        """Return how a value of a node's steps changes, 0 in steps in which no row runs; None where rows run in all."""
        share = self._running(self.graph[name].site)
        return None if share is None else ops.where(ops.less(0.0, share), ops.sub(new, old), 0.0)

    def _terms_of_cost(self, cost: Cost) -> list[CostTerm]:
        """Return a cost, or the terms that depend on nodes directly or through `stop_gradient`, one way each."""
        terms = self.graph.terms
        found = terms.of[cost.name]
        if len(found) == 1 and len(self.pieces[cost.name]) > 1:
            reach = terms.reach
            return [CostTerm(x, terms.names(reach(n).direct), cost, n) for n, x in self.pieces[cost.name]]
        if len(found) == 1:
            return [CostTerm(self.costs[cost.name], terms.names(found[0].reach.direct), cost, cost.step)]
        values = [self._with_moments(cost, self._nan_unless_number(t.node, self.env[id(t.node)])) for t in found]
        return [
            CostTerm(value, terms.names(t.reach.direct), cost, t.step) for value, t in zip(values, found, strict=True)
        ]

    def not_above(self, part: CostTerm) -> set[Axis]:
        """Axes of enumerated nodes that reach a term through `stop_gradient` only: their weights are constants."""
        return {axis for name, axis in self.enumerated.items() if name not in part.above}

    def _expected(self, cost: Cost) -> Node:
        return self._with_moments(cost, self._cost_value(cost))

    def _with_moments(self, cost: Cost, value: Node) -> Node:
        """Return a cost or term of it, its expectation taken over the nodes whose value is their mean."""
        for moment in self.moments:
            value = moment.expectation(cost, value)
        return value

    def _cost_value(self, cost: Cost) -> Node:
        value = self._nan_unless_number(cost.node, self.env[id(cost.node)])
        if not cost.marginalize:
            return value
        chain = None if cost.scan is None else self.chain(cost.scan)
        if chain is not None and cost.scan is not None:
            return chain.total(self.recurrence(cost.scan))
        if len(cost.marginalize) == 1:
            return negative_log_marginal(value, [self.marginal[name] for name in cost.marginalize], self.reducer)
        return ops.neg(log_sum_product(self.factors(cost), self.variables(cost), self.reducer))

    def factors(self, cost: Cost) -> list[Factor]:
        """Return the terms of the log-density that a cost sums over states of its nodes."""
        terms = self.counted_terms(cost)
        return [Factor(self._nan_unless_number(f, x)) for f, x in zip(terms, self.expand(terms), strict=True)]

    def variables(self, cost: Cost) -> list[SummedVariable]:
        """Return the states that a cost sums over."""
        nodes = [self.graph[name] for name in cost.marginalize]
        plates = [tuple(a for a in n.node.type.axes if a not in n.coupled_plates) for n in nodes]
        return [SummedVariable(self.marginal[n.name], axes) for n, axes in zip(nodes, plates, strict=True)]

    def _split_cost(self, cost: Cost, value: Node) -> list[tuple[Node, Node]]:
        """Terms of a cost whose enumerated nodes have too many joint states for one table, and what they become."""
        joint = math.prod(a.size or 1 for a in value.type.axes if a in self.reducer.weights)
        if joint <= SPLIT_FROM_STATES or cost.marginalize or cost.bound is not None or cost.scan is not None:
            return [(cost.node, value)]
        terms = cost_terms(cost.node)
        return [
            (n, self._with_moments(cost, self._nan_unless_number(n, x)))
            for n, x in zip(terms, self.expand(terms), strict=True)
        ]

    def _cost_to_go(self, rn: RandomNode, parts: Sequence[CostTerm], keep: Collection[Axis], copy: object) -> Node:
        """Return the costs `parts` downstream of a node, a number for every entry of the axes `keep`, in one branch."""
        scan = rn.site.scan
        if scan is None:
            return self._sum_whole_costs(rn, parts, keep, copy)
        found: list[Node] = []
        inner: Scan | None = None
        level: Scan | None = scan
        while level is not None:
            found += self._costs_in_loop(rn, level, inner, parts, keep, copy)
            inner, level = level, level.outer
        beyond = [p for p in parts if scan.chain[0] not in _enclosing_scans(p)]
        if beyond:
            found.append(self._leaf_for(self._sum_whole_costs(rn, beyond, keep, copy)))
        return ops.stop(functools.reduce(ops.add, found, ops.const(0.0)))

    def _sum_whole_costs(self, rn: RandomNode, parts: Sequence[CostTerm], keep: Collection[Axis], copy: object) -> Node:
        """Sum whole costs, over all rows of a plate whose rows a cost couples, since every row reads all."""
        kept = [set(keep) - set(rn.coupled_for(part.cost)) for part in parts]
        values = [self.reducer.advantage([p.value], k, copy) for p, k in zip(parts, kept, strict=True)]
        return ops.stop(functools.reduce(ops.add, values))

    def _costs_in_loop(
        self,
        rn: RandomNode,
        level: Scan,
        inner: Scan | None,
        parts: Sequence[CostTerm],
        keep: Collection[Axis],
        copy: object,
    ) -> list[Node]:
        """Return the costs to go in one loop: those of the rest of this step, and of later steps."""
        terms = self.graph.terms
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
            value = self.expand([traced])
            if reach & bit and inner not in _enclosing_scans(part):
                now.append(self.reducer.advantage(value, _without_coupled_plates(rn, keep, [traced], bit), copy))
            if reach & later:
                kept = _without_coupled_plates(rn, keep, [traced, *level.outs], bit | later)
                then.append(self.reducer.advantage(value, kept, copy))
        found = [functools.reduce(ops.add, now)] if now else []
        if then:
            recurrence = self.recurrence(level)
            stack = sum_over_later_steps(recurrence, recurrence.stacked(functools.reduce(ops.add, then)))
            found.append(recurrence.slice(self._leaf_for(stack) if level.outer is None else stack))
        return found

    def _leaf_for(self, value: Node) -> Node:
        """Return a leaf that stands for a value made outside of all loops."""
        if value not in self.leaves:
            leaf = self.leaves[value] = placeholder(value.type)
            self.deferred[leaf] = ops.stop(value)
        return self.leaves[value]

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
            [self._cost_to_go(rn, downstream, keep, copy) for copy in copies],
            self._row_mean(rn.site),
            [Bound(*self._bound(c.bound)) for c in rn.costs if c.bound is not None],
            lambda x: self.reducer.advantage([x], keep),
            made.primal,
        )
        return made.score(advantages), advantages


def _sum_over_axes(terms: list[Node], axes: tuple[Axis, ...]) -> Node:
    return functools.reduce(ops.add, terms, ops.expand(ops.const(0.0), axes))


class ForwardAlgorithm:
    """Sums the nodes `names` of a loop out step by step (Baum & Petrie 1966; Rabiner 1989).

    Reverse mode through the loop is the backward algorithm. `states` and `previous_states` are the axes of the states
    in a step and in the one before, and `carry_varies` says which carries vary with the latter.
    """

    def __init__(self, expansion: Expansion, scan: Scan, names: Sequence[str]):
        self.expansion, self.scan, self.names = expansion, scan, names
        nodes = [expansion.graph[name] for name in names]
        laws = [expansion.plan[n.name].law(n.dist) for n in nodes]
        self.states = [Axis(f"enum:{n.name}", Kind.ENUM, len(law.support_table()), n.rank)
                       for n, law in zip(nodes, laws, strict=True)]  # fmt: skip
        self.previous_states = [previous_step_axis(axis) for axis in self.states]
        self.marginal = expansion.plan[names[0]].within_cost
        terms = expansion.graph.terms
        later = terms.carries_reached(scan, sum(terms.bit[name] for name in names))
        self.carry_varies = [bool(terms.carry_bit(c) & later) for c in scan.carries]
        self.constant_carries, self.starts = self._find_constant_carries(
            [np.asarray(law.support_table()) for law in laws]
        )

    def _find_constant_carries(self, tables: Sequence[np.ndarray]) -> tuple[dict[int, Node], list[int | None]]:
        """Carries that are a node's state itself, by number, and the state that each node starts from, if any.

        They are constants, so that what a step makes of them (a table of transitions) is computed once for all steps.
        """
        found: dict[int, tuple[int, int]] = {}
        for i, (init, out) in enumerate(zip(self.scan.inits, self.scan.outs, strict=True)):
            node, start = without_expand(out), constant_value(init)
            if node.op != "sample" or node.attrs["site"].name not in self.names or start is None:
                continue
            j = self.names.index(node.attrs["site"].name)
            same = [k for k, state in enumerate(tables[j]) if np.all(state == start)]
            if same and node.type.shape == tables[j].shape[1:]:
                found[i] = j, same[0]
        starts: list[int | None] = []
        for j in range(len(tables)):
            states = {k for n, k in found.values() if n == j}
            starts.append(states.pop() if len(states) == 1 else None)
        constant_carries = {i: ops.distribute(ops.const(tables[j]), self.previous_states[j])
                for i, (j, _) in found.items() if starts[j] is not None}  # fmt: skip
        return constant_carries, starts

    def initial_carries(self, inits: Sequence[Node]) -> list[Node]:
        """Return what the carries start with, the message last."""
        found = [ops.expand(x, (*x.type.axes, *self.previous_states)) if varies else x
                 for x, varies in zip(inits, self.carry_varies, strict=True)]  # fmt: skip
        message = ops.const(0.0 if self.marginal else 1.0)
        for axis, state in zip(self.previous_states, self.starts, strict=True):
            count = axis.size or 1
            first = np.full(count, 1.0 / count) if state is None else np.eye(count)[state]
            with np.errstate(divide="ignore"):
                start = ops.distribute(ops.const(np.log(first) if self.marginal else first), axis)
            message = ops.add(message, start) if self.marginal else ops.mul(message, start)
        return [*found, message, ops.const(0.0)] if self.marginal else [*found, message]

    def next_carries(self, outs: Sequence[Node], carries: Sequence[Node]) -> list[Node]:
        """Return what the carries become, given those of the step before."""
        message = carries[len(outs)]
        if not self.marginal:
            for axis in self.previous_states:
                self.expansion.reducer.weights[axis] = ops.const(1.0)
            self.expansion.reducer.weights[self.previous_states[-1]] = message
        carried = [
            self._as_previous_states(x) if varies else x for x, varies in zip(outs, self.carry_varies, strict=True)
        ]
        new = self._message(message)
        if not self.marginal:
            return [*carried, self._as_previous_states(new)]
        top = finite_maximum(new, sort_axes(a for a in self.states if a in new.type.axes))
        return [*carried, self._as_previous_states(ops.sub(new, top)), ops.add(carries[-1], top)]

    def _as_previous_states(self, x: Node) -> Node:
        """Return a value of this step's states, as one of the states before the next step.

        Given this step's states it is the same for all states before, of which one is taken.
        """
        for axis in [a for a in self.previous_states if a in x.type.axes]:
            rest = tuple((0, n, 1) for n in x.type.shape)
            x = ops.reshape(ops.window(ops.collect(x, axis), ((0, 1, 1), *rest)), x.type.shape)
        for now, then in zip(self.states, self.previous_states, strict=True):
            x = ops.distribute(ops.collect(ops.expand(x, (*x.type.axes, now)), now), then)
        return x

    def _message(self, message: Node) -> Node:
        expansion, weight = self.expansion, ops.const(1.0)
        expansion.expand([expansion.graph[name].node for name in self.names])  # also those that no carry reads
        if not self.marginal:
            values = [message, *(expansion.reducer.weights[axis] for axis in self.states)]
            values = expansion.reducer.align_states(values)
            for value in values:
                weight = ops.mul(weight, value)
            return ops.sum_axes(weight, self.previous_states)
        moved, seen = ops.const(0.0), ops.const(0.0)
        for states in (expansion.marginal[name] for name in self.names):
            if states.log_prob is not None:
                moved = ops.add(moved, states.log_prob)
            else:
                weight = ops.mul(weight, states.weight)
        for cost in expansion.graph.trace.costs.values():
            if cost.scan is self.scan and cost.marginalize and cost.step is not None:
                for term in expansion.expand(expansion.counted_terms(cost)):
                    seen = ops.add(seen, term)
        seen = ops.add(seen, expansion.query_tilts(self))
        self.table = Factor(ops.add(ops.add(message, moved), seen), weight if weight.type.axes else None)
        if not weight.type.axes and not any(axis in seen.type.axes for axis in self.previous_states):
            return self._message_by_product(message, moved, seen)
        log_density = ops.add(ops.add(message, moved), seen)
        weight, log_density = expansion.reducer.align_states([weight, log_density])
        missing = [axis for axis in (*self.states, *self.previous_states) if axis not in log_density.type.axes]
        weight, log_density = (ops.expand(x, (*x.type.axes, *missing)) for x in (weight, log_density))
        return log_weighted_sum(weight, log_density, self.previous_states)

    def _message_by_product(self, message: Node, moved: Node, seen: Node) -> Node:
        """Return the message where all moves are possible, and what is seen depends on this step's states alone.

        It is a product with the probabilities of moves, which steps may share. The state before that is the most
        probable reaches all states, so that those whose probability underflows beside it are of no account.
        """
        top = finite_maximum(message, tuple(self.previous_states))
        reached = ops.sum_axes(ops.mul(ops.exp(ops.sub(message, top)), ops.exp(moved)), self.previous_states)
        none = ops.equal(ops.stop(reached), 0.0)
        logarithm = ops.where(none, -math.inf, ops.log(ops.where(none, 1.0, reached)))
        return ops.add(ops.add(logarithm, top), seen)

    def expectation(self, traced: Node, value: Node) -> Node:
        """Return the expectation of a value over the states of this step and of the one before.

        What depends on them through `stop_gradient` alone does not move with their probabilities.
        """
        if self.marginal:
            return value
        terms = self.expansion.graph.terms
        moved = (terms.carry_bit(c) for c, varies in zip(self.scan.carries, self.carry_varies, strict=True) if varies)
        bits = sum(terms.bit[name] for name in self.names) + sum(moved)
        kept = [a for a in value.type.axes if a not in self.states and a not in self.previous_states]
        return self.expansion.reducer.expect_over_states(value, kept, stopped=not terms.reach(traced).direct & bits)

    def total(self, recurrence: Recurrence) -> Node:
        """Return minus the logarithm of the probability of all that was observed."""
        count = len(self.scan.carries)
        last, taken = recurrence.final(count), recurrence.final(count + 1)
        return ops.neg(ops.add(taken, log_weighted_sum(ops.const(1.0), last, self.previous_states)))


@dataclass(eq=False)
class ExpandedProgram:
    """The expanded program.

    `values` maps names of sites to nodes (those in loops over time only where they are sampled); `surrogate` has the
    estimate as its gradient with respect to the nodes in `wrt`; `own_parameters` holds the primal parameters of each
    random node, for the auxiliary pass. `mean_over_steps` takes a value of a step of the loop that a node stands in to
    its mean over the steps, `all_steps` to those of all steps; `change_where_running` says how such a value changes, 0
    in steps in which no row runs, or None where rows run in all. `deferred` maps leaves to what they stand for: in the
    surrogate, costs after a step are leaves, so that its loops do not read one another.
    """

    values: dict[str, Node]
    costs: dict[str, Node]
    loss: Node
    surrogate: Node
    wrt: dict[str, Node]
    aux: dict[str, ExpandedAuxiliary]
    own_parameters: dict[str, tuple[Node, ...]]
    advantages: dict[str, Advantages]
    hypers: dict[str, float]
    copies: dict[str, int] = field(default_factory=dict)
    fits: dict[str, Node] = field(default_factory=dict)
    mean_over_steps: Callable[[str, Node], Node] = lambda owner, value: value
    all_steps: Callable[[str, Node], Node] = lambda owner, value: value
    deferred: dict[Node, Node] = field(default_factory=dict)
    change_where_running: Callable[[str, Node, Node], Node | None] = lambda owner, new, old: None


class CostTerm(NamedTuple):
    """A term of a cost in the expansion, and the random nodes whose downstream costs it belongs to.

    `step` is the traced term that `value` expands, as seen inside one scan step.
    """

    value: Node
    above: frozenset[str]
    cost: Cost
    step: Node | None


@dataclass(eq=False)
class ExpandedAuxiliary:
    """An auxiliary variable in the expanded program: leaf, its value in a step, declaration, its node."""

    leaf: Node
    step: Node
    spec: Auxiliary
    owner: str
