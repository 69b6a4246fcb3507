"""Compute posteriors: exact probabilities of finite nodes, and draws of latents and observations.

Nodes that were summed out are drawn backward from the tables of their elimination (Carter & Kohn 1994;
Frühwirth-Schnatter 1994). The derivative of the log-evidence in a term that is added to the log-density of one state is
the posterior probability of that state (Darwiche 2003)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import field
from functools import partial

import numpy as np

from ppl.compiler.surrogate.elimination import (
    EliminationStep,
    Factor,
    StateQuery,
    VariableElimination,
    enumerate_states,
    log_factor,
    state_tilt,
)
from ppl.compiler.surrogate.expansion import Expansion, ForwardAlgorithm
from ppl.compiler.surrogate.guards import OUT_OF_RANGE, loss_penalty, site_penalty
from ppl.compiler.surrogate.scan import Recurrence
from ppl.estimators.base import Estimator
from ppl.graph.stochastic import StochasticGraph
from ppl.ir import ops
from ppl.ir.differentiate import vjp
from ppl.ir.loop import placeholder
from ppl.ir.node import Node
from ppl.ir.types import Axis, Kind, Type, sort_axes
from ppl.lang.loops import Scan, base_name
from ppl.lang.trace import Cost
from ppl.records import dataclass


def uniform_noise(name: str, axes: Sequence[Axis], times: Sequence[Node] = ()) -> Node:
    """Draw one uniform number for every entry of `axes`, keyed by a node's name."""
    return ops.noise(base_name(name), 0, sort_axes(axes), (), times)


def draw_index(weights: Node, u: Node) -> Node:
    """Draw an entry of the last event dimension, in proportion to `weights`; entries of weight 0 are not drawn."""
    sums, count = ops.cumsum(weights), weights.type.shape[-1]
    ends = tuple((0, n, 1) for n in sums.type.shape[:-1])
    total = ops.window(sums, (*ends, (count - 1, 1, 1)))
    at = ops.mul(total, ops.reshape(u, (*u.type.shape, 1)))
    before = ops.cast(ops.less_equal(sums, at), "int")
    last = ops.reduce("amax", ops.mul(ops.cast(ops.less(0.0, weights), "int"), ops.const(np.arange(count))), -1)
    return ops.minimum(ops.reduce_sum(before, -1), last)


@dataclass
class BackwardSampling:
    """The draws by node: a value in a row; in a loop over time a stack of all steps.

    Observations of the data arguments `missing_data` do not count. `evidence` are the logarithms of what was observed,
    one for every group of nodes that is summed together.
    """

    graph: StochasticGraph
    plan: Mapping[str, Estimator]
    missing_data: frozenset[str] = frozenset()
    draws: dict[str, Node] = field(default_factory=dict)
    evidence: list[Node] = field(default_factory=list)

    def run(self) -> BackwardSampling:
        """Sum all groups, then draw from their tables."""
        summed = {name: e for name, e in self.plan.items() if e.within_cost}
        self.expansion = Expansion(self.graph, summed, "value", missing_data=self.missing_data)
        if summed:
            self.expansion.run()
        for cost in self.graph.trace.costs.values() if summed else ():
            chain = None if cost.scan is None else self.expansion.chain(cost.scan)
            if cost.marginalize and chain is not None and cost.scan is not None:
                self._chain(cost.scan, chain)
            elif cost.marginalize:
                self._group(cost)
        return self

    def _group(self, cost: Cost) -> None:
        expansion = self.expansion
        total, steps = VariableElimination(expansion.factors(cost), expansion.variables(cost), expansion.reducer).run()
        self.evidence.append(log_factor(total))
        names = {expansion.marginal[name].axis: name for name in cost.marginalize}
        drawn: dict[Axis, Node] = {}
        for step in reversed(steps):
            axis = step.variable.axis
            drawn[axis] = self._index(step, names[axis], drawn)
            self.draws[names[axis]] = ops.take(ops.collect(step.variable.states.value, axis), drawn[axis])

    def _index(self, step: EliminationStep, name: str, drawn: Mapping[Axis, Node]) -> Node:
        """Return the number of the state that is drawn of a node, given those of nodes that were summed out later."""
        log = _at_drawn_states(ops.expand(log_factor(step.table), (step.variable.axis,)), drawn)
        rows = [a for a in log.type.axes if a.kind in (Kind.PLATE, Kind.PARTICLES)]
        times = self.expansion.expand(self.graph[name].site.times)
        u = uniform_noise(name, (*step.variable.plates, *rows, *self.expansion.particle_axes), times)
        return draw_index(ops.softmax(ops.collect(log, step.variable.axis)), u)

    def _chain(self, scan: Scan, chain: ForwardAlgorithm) -> None:
        """Draw the states of all steps, beginning with the step that was run last."""
        found = self.expansion.recurrence(scan)
        self.evidence.append(ops.neg(chain.total(found)))
        states = (*chain.previous_states, *chain.states)
        last = _with_axes(found.final(len(scan.carries)), states)
        tables = found.stacked(_with_axes(log_factor(chain.table), states))
        if scan.length > 1:
            rest = tuple((0, n, 1) for n in tables.type.shape[1:])
            later = ops.window(tables, ((0 if scan.reverse else 1, scan.length - 1, 1), *rest))
            ends = [later, ops.reshape(last, (1, *last.type.shape))]
            tables = ops.concat(ends[::-1] if scan.reverse else ends, 0)
        else:
            tables = ops.reshape(last, (1, *last.type.shape))
        index = self._backwards(scan, chain, tables)
        sizes = [axis.size or 1 for axis in chain.previous_states]
        numbers = np.unravel_index(np.arange(int(np.prod(sizes))), sizes)
        for name, number in zip(chain.names, numbers, strict=True):
            law = self.expansion.plan[name].law(self.graph[name].dist)
            table = np.asarray(law.support_table())[number]
            self.draws[name] = ops.take(ops.const(table, law.dtype), index)

    def _backwards(self, scan: Scan, chain: ForwardAlgorithm, tables: Node) -> Node:
        """Return the numbers of the joint states of all steps: a stack."""
        back = Recurrence(placeholder(Type((), (), "int")), scan.length, not scan.reverse, None)
        log = _flatten_axes(_flatten_axes(back.slice(tables), chain.previous_states), chain.states)
        axes = tuple(dict.fromkeys((*log.type.axes, *scan.axes, *self.expansion.particle_axes)))
        start = ops.expand(ops.const(0, "int"), axes)
        back.inits, back.carries = (start,), (placeholder(start.type),)
        weights = ops.softmax(ops.take(log, back.carries[0]))
        state = draw_index(weights, uniform_noise(chain.names[0], axes, (back.index,)))
        back.outs = (ops.expand(state, axes),)
        return back.stacked(back.outs[0])


def _with_axes(x: Node, axes: Iterable[Axis]) -> Node:
    return ops.expand(x, (*x.type.axes, *axes))


def _at_drawn_states(log: Node, drawn: Mapping[Axis, Node]) -> Node:
    """Return a table at the states that are drawn."""
    for axis in [a for a in log.type.axes if a in drawn]:
        log = ops.take(ops.collect(log, axis), drawn[axis])
    return log


def _flatten_axes(x: Node, axes: Iterable[Axis]) -> Node:
    """Collect several axes into one leading event dimension, the first axis outermost."""
    shape, count = x.type.shape, 1
    for axis in reversed(list(axes)):
        x, count = ops.collect(x, axis), count * (axis.size or 1)
    return ops.reshape(x, (count, *shape))


def why_not_drawable(graph: StochasticGraph, plan: Mapping[str, Estimator]) -> str | None:
    """Say why summed-out nodes cannot be drawn, or None."""
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


def posterior_probabilities(
    graph: StochasticGraph, queries: Sequence[StateQuery], plan: Mapping[str, Estimator]
) -> dict[str, Node]:
    """Return the probabilities of all states of queries, states last; in a loop over time, time leads."""
    summed = {name: e for name, e in plan.items() if e.within_cost}
    expansion = Expansion(graph, summed, "value", particles=1, queries=queries)
    expansion.run()
    found: dict[str, Node] = {}
    for cost in graph.trace.costs.values():
        own = [q for q in queries if set(q) <= set(cost.marginalize)]
        if own:
            found |= _cost_probabilities(expansion, cost, own)
    listed, term = {", ".join(q): found[", ".join(q)] for q in queries}, loss_penalty(expansion)
    return listed if term is None else listed | {OUT_OF_RANGE: term}


def _cost_probabilities(expansion: Expansion, cost: Cost, queries: Sequence[StateQuery]) -> dict[str, Node]:
    chain = None if cost.scan is None else expansion.chain(cost.scan)
    if chain is not None and cost.scan is not None:
        log = ops.neg(chain.total(expansion.recurrence(cost.scan)))
        tilts = {query: expansion.tilts[query] for query in queries}
        axes = {query: [chain.states[chain.names.index(name)] for name in query] for query in queries}
    else:
        factors, variables = expansion.factors(cost), expansion.variables(cost)
        plates = {expansion.graph[n].name: v.plates for n, v in zip(cost.marginalize, variables, strict=True)}
        axes = {query: [expansion.marginal[name].axis for name in query] for query in queries}
        tilts = {q: state_tilt(q, (*axes[q], *(p for name in q for p in plates[name]))) for q in queries}
        total, _ = VariableElimination([*factors, *map(Factor, tilts.values())], variables, expansion.reducer).run()
        log = log_factor(total)
    rows = [a for a in log.type.axes if a.kind is Kind.PLATE]
    slopes = vjp([(ops.sum_axes(log, rows), ops.const(1.0))], list(tilts.values()))
    found = {}
    for (query, node), slope in zip(tilts.items(), slopes, strict=True):
        slope = ops.zeros_like(node.type) if slope is None else slope
        found[", ".join(query)] = _states_last(slope, axes[query])
    return found


def _states_last(x: Node, axes: Sequence[Axis]) -> Node:
    times = len(x.type.shape)
    for axis in reversed(axes):
        x = ops.collect(x, axis)
    states = len(axes)
    return ops.transpose(x, (*range(states, states + times), *range(states)))


def guide_probabilities(
    graph: StochasticGraph, queries: Sequence[StateQuery], plan: Mapping[str, Estimator]
) -> dict[str, Node]:
    """Return the probabilities of nodes of a guide, each given the data."""
    expansion = Expansion(graph, {}, "sample")
    expansion.run()
    found = {}
    for (name,) in queries:
        node = graph[name]
        dist = node.dist.with_params(tuple(expansion.expand(node.node.args)))
        states = enumerate_states(dist, node)
        weight = ops.expand(states.weight, (*node.node.type.axes, states.axis))
        found[name] = ops.collect(weight, states.axis)
    term = site_penalty(expansion, list(found))
    return found if term is None else found | {OUT_OF_RANGE: term}


IMPOSSIBLE_DATA = "data of probability 0"
"""The array of a drawing program that is NaN where the data have probability 0."""


def sample_sites(graph: StochasticGraph, sites: Sequence[str], plan: Mapping[str, Estimator]) -> dict[str, Node]:
    """Return the values of named sites, particles kept as an axis.

    Observations are the data, redrawn where a mask drops them.
    """
    expansion = Expansion(graph, {}, "sample", redraw="all" if graph.trace.predictive else "missing")
    return _site_outputs(expansion, sites)


def predict_sites(
    graph: StochasticGraph, sites: Sequence[str], plan: Mapping[str, Estimator], absent: frozenset[str] = frozenset()
) -> dict[str, Node]:
    """Return the values of named sites with all observations redrawn; summed-out nodes are drawn from their posterior.

    Nothing is known of the data arguments `absent`.
    """
    backward = BackwardSampling(graph, plan, absent).run()
    expansion = Expansion(graph, {}, "sample", redraw="all", fixed_draws=backward.draws)
    found = _site_outputs(expansion, sites, _resample_importance(graph))
    if backward.evidence:
        found[IMPOSSIBLE_DATA] = _impossible_data_term(backward.evidence)
        term = None if absent else loss_penalty(backward.expansion)
        if term is not None:
            found[OUT_OF_RANGE] = ops.add(found[OUT_OF_RANGE], term) if OUT_OF_RANGE in found else term
    return found


def _impossible_data_term(evidence: Sequence[Node]) -> Node:
    """0, or NaN where the data have probability 0."""
    total = ops.const(0.0)
    for log in evidence:
        term = ops.where(ops.less(-np.inf, log), 0.0, np.nan)
        total = ops.add(total, ops.sum_axes(term, [a for a in term.type.axes if a.kind is not Kind.REPEATS]))
    return total


def _site_outputs(
    expansion: Expansion, sites: Sequence[str], taken: Callable[[Node], Node] = lambda value: value
) -> dict[str, Node]:
    """Return what users see of the sites, and NaN where parameters of what they are drawn from are out of range."""
    trace, values = expansion.graph.trace, expansion.run().values
    found = {}
    for name in sites:
        dist = trace.sites[name].dist
        found[name] = taken(values[name] if dist is None else dist.shown(values[name]))
    term = site_penalty(expansion, sites)
    return found if term is None else found | {OUT_OF_RANGE: term}


def _resample_importance(graph: StochasticGraph) -> Callable[[Node], Node]:
    """Takes of every value that importance samples vary the entry of one of them, by their weights."""
    bound = next((c for c in graph.trace.costs.values() if c.bound is not None), None)
    if bound is None or bound.bound is None:
        return lambda value: value
    axis, index = bound.bound.axis, _importance_index(graph, bound)
    return lambda value: ops.take(ops.collect(value, axis), index) if axis in value.type.axes else value


def _importance_index(graph: StochasticGraph, cost: Cost) -> Node:
    """Return the number of the importance sample that is taken, in every row of the bound and every particle."""
    assert cost.bound is not None
    weighing = Expansion(graph, {}, "sample")
    weighing.run()
    (log_weights,) = weighing.expand([cost.bound.log_weights])
    weights = ops.softmax(ops.collect(log_weights, cost.bound.axis))
    rows = [a for a in weights.type.axes if a.kind in (Kind.PLATE, Kind.PARTICLES)]
    return draw_index(weights, uniform_noise(cost.name, (*rows, *weighing.particle_axes)))


WITHOUT_DATA = " without "


def draw_key(name: str, absent: Collection[str]) -> str:
    """Return the name of a variant of draws that has nothing of some data arguments."""
    return name + WITHOUT_DATA + " ".join(sorted(absent)) if absent else name


def draw_builder(key: str) -> DrawBuilder | None:
    """Return what a variant of that name computes; None of variants that are no draws."""
    name, _, absent = key.partition(WITHOUT_DATA)
    found = DRAW_BUILDERS.get(name)
    return partial(found, absent=frozenset(absent.split())) if absent and found is not None else found


DrawBuilder = Callable[..., dict[str, Node]]
"""The outputs of a program that draws: of a graph, what is asked for, and the plan."""

DRAW_BUILDERS: dict[str, DrawBuilder] = {
    "predict": predict_sites,
    "probabilities": posterior_probabilities,
    "guide": guide_probabilities,
}
