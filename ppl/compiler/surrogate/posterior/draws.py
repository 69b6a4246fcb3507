"""Drawing programs: the values of named sites with true nodes, given the data or with observations redrawn.

"sample": latents, the data, and draws of what a mask drops. "predict": latents, and draws of all observations.
The latents of a multi-sample bound are then one of its importance samples, taken with its weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ppl.compiler.surrogate.conditions.indices import concerned
from ppl.compiler.surrogate.conditions.range_guards import INVALID, drawn, penalty, values_of
from ppl.compiler.surrogate.expansion import Expansion
from ppl.graph.stochastic import StochasticGraph
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import Axis, Kind, sort_axes
from ppl.lang.trace import Cost


def sampled(graph: StochasticGraph, sites: Sequence[str]) -> dict[str, Node]:
    """Values of named sites, particles kept as an axis; observations are the data, redrawn where a mask drops them."""
    expansion = Expansion(graph, {}, "sample", redraw="all" if graph.trace.predictive else "missing")
    return _outputs(expansion, sites)


def predicted(graph: StochasticGraph, sites: Sequence[str]) -> dict[str, Node]:
    """Values of named sites with all observations redrawn."""
    return _outputs(Expansion(graph, {}, "sample", redraw="all"), sites, _resampling(graph))


DRAWS = {"sample": sampled, "predict": predicted}
"""Drawing variants by name."""


def _outputs(
    expansion: Expansion, sites: Sequence[str], taken: Callable[[Node], Node] = lambda value: value
) -> dict[str, Node]:
    """What users see of the sites, and NaN where parameters of what they are drawn from are out of range."""
    trace, values = expansion.graph.trace, expansion.run().values
    found = {}
    for name in sites:
        dist = trace.sites[name].dist
        found[name] = taken(values[name] if dist is None else dist.shown(values[name]))
    if trace.guards:
        above = drawn(values_of(trace, sites))
        term = penalty(expansion, [g for g in trace.guards if concerned(g, above, sites)])
        found |= {} if term is None else {INVALID: term}
    return found


def _resampling(graph: StochasticGraph) -> Callable[[Node], Node]:
    """Takes of every value that importance samples vary the entry of one of them, by their weights."""
    bound = next((c for c in graph.trace.costs.values() if c.bound is not None), None)
    if bound is None or bound.bound is None:
        return lambda value: value
    axis, index = bound.bound.axis, _importance(graph, bound)
    return lambda value: ops.take(ops.collect(value, axis), index) if axis in value.type.axes else value


def _importance(graph: StochasticGraph, cost: Cost) -> Node:
    """The number of the importance sample that is taken, in every row of the bound and every particle."""
    assert cost.bound is not None
    weighing = Expansion(graph, {}, "sample")
    weighing.run()
    (log_weights,) = weighing.walk([cost.bound.log_weights])
    weights = ops.softmax(ops.collect(log_weights, cost.bound.axis))
    rows = [a for a in weights.type.axes if a.kind in (Kind.PLATE, Kind.PARTICLES)]
    return chosen(weights, uniform(cost.name, (*rows, *weighing.sampled)))


def uniform(name: str, axes: Sequence[Axis], times: Sequence[Node] = ()) -> Node:
    """One uniform number for every entry of `axes`."""
    return ops.noise(name, 0, sort_axes(axes), (), times)


def chosen(weights: Node, u: Node) -> Node:
    """A draw of an entry of the last event dimension, in proportion to `weights`; entries of weight 0 are not drawn."""
    sums = ops.cumsum(weights)
    count = weights.type.shape[-1]
    total = ops.window(sums, (*((0, n, 1) for n in sums.type.shape[:-1]), (count - 1, 1, 1)))
    at = ops.mul(total, ops.reshape(u, (*u.type.shape, 1)))
    before = ops.cast(ops.less_equal(sums, at), "int")
    last = ops.reduce("amax", ops.mul(ops.cast(ops.less(0.0, weights), "int"), _numbers(count)), -1)
    return ops.minimum(ops.reduce_sum(before, -1), last)


def _numbers(count: int) -> Node:
    return ops.const(range(count), "int")
