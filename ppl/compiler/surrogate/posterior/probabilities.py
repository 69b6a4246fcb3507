"""Exact posterior probabilities of finite nodes.

The derivative of the log-evidence in a term that is added to the log-density in one state is the posterior probability
of that state. So a *tilt* of zeros, over the states that are asked for, enters the sum as one more factor, and reverse
mode gives all probabilities at once: responsibilities, those of several nodes together, and smoothing in loops (there
reverse mode is the backward algorithm).

References: Darwiche 2003.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ppl.compiler.surrogate.conditions.range_guards import INVALID, penalty_of_loss, penalty_of_sites
from ppl.compiler.surrogate.enumeration import states_of
from ppl.compiler.surrogate.expansion import Expansion
from ppl.compiler.surrogate.posterior.tilts import Query, tilt
from ppl.compiler.surrogate.summed.elimination import Elimination
from ppl.compiler.surrogate.summed.factors import Factor, whole_log
from ppl.estimators.base import Estimator
from ppl.graph.stochastic import StochasticGraph
from ppl.ir import ops
from ppl.ir.differentiate import vjp
from ppl.ir.node import Node
from ppl.ir.types import Axis, Kind
from ppl.lang.trace import Cost


def probabilities(graph: StochasticGraph, queries: Sequence[Query], plan: Mapping[str, Estimator]) -> dict[str, Node]:
    """The probabilities of all states of queries, states last; in a loop over time, time leads."""
    summed = {name: e for name, e in plan.items() if e.within_cost}
    walk = Expansion(graph, summed, "value", particles=1)
    walk.asked = dict.fromkeys(queries, ())
    walk.run()
    found: dict[str, Node] = {}
    for cost in graph.trace.costs.values():
        own = [q for q in queries if set(q) <= set(cost.marginalize)]
        if own:
            found |= _of_cost(walk, cost, own)
    listed, term = {", ".join(q): found[", ".join(q)] for q in queries}, penalty_of_loss(walk)
    return listed if term is None else listed | {INVALID: term}


def _of_cost(walk: Expansion, cost: Cost, queries: Sequence[Query]) -> dict[str, Node]:
    chain = None if cost.scan is None else walk.chain(cost.scan)
    if chain is not None and cost.scan is not None:
        log = ops.neg(chain.total(walk.recurrence(cost.scan)))
        tilts = {query: walk.asked[query] for query in queries}
        axes = {query: [chain.now[chain.names.index(name)] for name in query] for query in queries}
    else:
        factors, variables = walk.factors(cost), walk.variables(cost)
        plates = {walk.graph[n].name: v.plates for n, v in zip(cost.marginalize, variables, strict=True)}
        axes = {query: [walk.marginal[name].axis for name in query] for query in queries}
        tilts = {q: tilt(q, (*axes[q], *(p for name in q for p in plates[name]))) for q in queries}
        total, _ = Elimination([*factors, *map(Factor, tilts.values())], variables, walk.reducer).run()
        log = whole_log(total)
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
    graph: StochasticGraph, queries: Sequence[Query], plan: Mapping[str, Estimator]
) -> dict[str, Node]:
    """The probabilities of nodes of a guide, each given the data."""
    walk = Expansion(graph, {}, "sample")
    walk.run()
    found = {}
    for (name,) in queries:
        node = graph[name]
        dist = node.dist.with_params(tuple(walk.walk(node.node.args)))
        states = states_of(dist, node)
        weight = ops.expand(states.weight, (*node.node.type.axes, states.axis))
        found[name] = ops.collect(weight, states.axis)
    term = penalty_of_sites(walk, list(found))
    return found if term is None else found | {INVALID: term}
