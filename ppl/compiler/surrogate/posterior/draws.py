"""Drawing programs: the values of named sites with true nodes, given the data or with observations redrawn.

"sample": latents, the data, and draws of what a mask drops. "predict": latents, and draws of all observations.
The latents of a multi-sample bound are then one of its importance samples, taken with its weight.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from ppl.compiler.surrogate.conditions.range_guards import INVALID, penalty_of_loss, penalty_of_sites
from ppl.compiler.surrogate.expansion import Expansion
from ppl.compiler.surrogate.posterior.backward import Backward
from ppl.compiler.surrogate.posterior.choice import chosen, uniform
from ppl.compiler.surrogate.posterior.probabilities import guide_probabilities, probabilities
from ppl.estimators.base import Estimator
from ppl.graph.stochastic import StochasticGraph
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import Kind
from ppl.lang.trace import Cost


class Planned(Protocol):
    """A planned program: its graph, and that with what the plan writes out of loops."""

    graph: StochasticGraph
    working: StochasticGraph

    @property
    def working_plan(self) -> dict[str, Estimator]:
        """The estimators of the nodes of `working`."""
        ...


def drawing(planned: Planned) -> StochasticGraph:
    """The graph that posteriors are drawn from: loops are written out only where summed-out nodes need that."""
    summed = any(estimator.within_cost for estimator in planned.working_plan.values())
    return planned.working if summed else planned.graph


IMPOSSIBLE = "data of probability 0"
"""The array of a drawing program that is NaN where the data have probability 0."""


def sampled(graph: StochasticGraph, sites: Sequence[str], plan: Mapping[str, Estimator]) -> dict[str, Node]:
    """Values of named sites, particles kept as an axis; observations are the data, redrawn where a mask drops them."""
    expansion = Expansion(graph, {}, "sample", redraw="all" if graph.trace.predictive else "missing")
    return _outputs(expansion, sites)


def predicted(
    graph: StochasticGraph, sites: Sequence[str], plan: Mapping[str, Estimator], absent: frozenset[str] = frozenset()
) -> dict[str, Node]:
    """Values of named sites with all observations redrawn; summed-out nodes are drawn from their posterior.

    Nothing is known of the data arguments `absent`.
    """
    expansion, backward = Expansion(graph, {}, "sample", redraw="all"), Backward(graph, plan, absent).run()
    expansion.given = backward.draws
    found = _outputs(expansion, sites, _resampling(graph))
    if backward.evidence:
        found[IMPOSSIBLE] = _impossible(backward.evidence)
        term = None if absent else penalty_of_loss(backward.walk)
        if term is not None:
            found[INVALID] = ops.add(found[INVALID], term) if INVALID in found else term
    return found


def _impossible(evidence: Sequence[Node]) -> Node:
    """0, or NaN where the data have probability 0."""
    total = ops.const(0.0)
    for log in evidence:
        term = ops.where(ops.less(-np.inf, log), 0.0, np.nan)
        total = ops.add(total, ops.sum_axes(term, [a for a in term.type.axes if a.kind is not Kind.REPEATS]))
    return total


def _outputs(
    expansion: Expansion, sites: Sequence[str], taken: Callable[[Node], Node] = lambda value: value
) -> dict[str, Node]:
    """What users see of the sites, and NaN where parameters of what they are drawn from are out of range."""
    trace, values = expansion.graph.trace, expansion.run().values
    found = {}
    for name in sites:
        dist = trace.sites[name].dist
        found[name] = taken(values[name] if dist is None else dist.shown(values[name]))
    term = penalty_of_sites(expansion, sites)
    return found if term is None else found | {INVALID: term}


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


WITHOUT = " without "


def key_of(name: str, absent: Collection[str]) -> str:
    """The name of a variant of draws that has nothing of some data arguments."""
    return name + WITHOUT + " ".join(sorted(absent)) if absent else name


def draws_of(key: str) -> Draws | None:
    """What a variant of that name computes; None of variants that are no draws."""
    name, _, absent = key.partition(WITHOUT)
    found = DRAWS.get(name)
    return partial(found, absent=frozenset(absent.split())) if absent and found is not None else found


Draws = Callable[..., dict[str, Node]]
"""The outputs of a program that draws: of a graph, what is asked for, and the plan."""
DRAWS: dict[str, Draws] = {
    "predict": predicted,
    "probabilities": probabilities,
    "guide": guide_probabilities,
}
