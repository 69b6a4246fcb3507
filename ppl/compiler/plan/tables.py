"""The tables that summed nodes need: within the budget, or an error that says which cut would be."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from ppl.compiler.plan import loops
from ppl.errors import EstimatorError
from ppl.estimators.base import Estimator
from ppl.graph.stochastic import StochasticGraph
from ppl.graph.summed.addends import JOINT, addends
from ppl.graph.summed.order import cut, elimination, largest
from ppl.graph.summed.scopes import folded, scope
from ppl.lang.time.record import base_name
from ppl.lang.trace import Cost

ADVISED = 40
"""Nodes up to which it is worth looking for those to take out of a sum, which takes a time that grows with the cube of
their number."""
SHOWN = 4
"""Nodes of a cut that a message names at most."""


def require_tables(graph: StochasticGraph, estimators: Mapping[str, Estimator]) -> None:
    """Raise an EstimatorError where the sums over nodes with a common cost take a table beyond their budget."""
    if loops.unrolled(graph, estimators):
        return  # what is summed then is a graph without loops, whose tables are looked at when it is made
    summed = {name: estimator for name, estimator in estimators.items() if estimator.enters == "summed"}
    for cost in graph.trace.costs.values():
        names = [name for name in summed if cost in graph[name].costs]
        if names:
            _Sums(graph, cost, {name: summed[name] for name in names}).require()


class _Sums:
    """The nodes that are summed under one cost."""

    def __init__(self, graph: StochasticGraph, cost: Cost, summed: Mapping[str, Estimator]):
        self.cost, self.names = cost, list(summed)
        self.budget = min(estimator.most_states for estimator in summed.values())
        self.sizes = {name: loops.states(estimator, graph[name]) for name, estimator in summed.items()}
        inside = {name: estimator.sampled for name, estimator in summed.items()}
        self.above = {name: scope(graph[name].node.args, inside) for name in summed}
        self.ranks = {name: graph[name].rank for name in summed}
        self.chained = any(graph[name].site.scan is not None for name in summed)
        self.depths = {n: len(graph[n].node.type.axes) for n in summed if summed[n].within_cost}
        self.whole = scope([cost.node], inside)
        factors = cost.factors or addends(cost.node)
        self.scopes = [scope([factor], inside) for factor in factors]
        self.laws = [self.above[name] | {name} for name in self.depths or summed]

    def entries(self) -> float:
        """Entries of the largest table."""
        if self.chained:
            return math.prod(self.sizes.values())
        if self.depths:
            tables = elimination([*self.scopes, *self.laws], self.sizes, self.depths)
            rest = set().union(*self.scopes, *self.laws) - set(self.depths)
            return max(largest(tables), self._mean(rest))
        joint = self._mean(self.whole)
        return joint if self._joint(self.whole) <= JOINT else max(map(self._mean, self.scopes))

    def _mean(self, first: Collection[str]) -> float:
        """Entries of the largest table of an expectation."""
        return max(map(self._joint, folded(first, self.above, self.ranks)), default=1.0)

    def _joint(self, names: Collection[str]) -> float:
        return math.prod(self.sizes[name] for name in names)

    def require(self) -> None:
        entries = self.entries()
        if entries > self.budget:
            listed = _listed(self.names)
            raise EstimatorError(
                f"enumerating {listed} together takes {entries:.3g} joint states for cost '{base_name(self.cost.name)}'"
                f", over the budget of {self.budget:.0f}{self._advice()}"
            )

    def _advice(self) -> str:
        """Which nodes to take out of the sum."""
        depths = self.depths or dict.fromkeys(self.names, 0)
        if self.chained or len(depths) > ADVISED:
            return ""
        nodes, entries = cut([*self.scopes, *self.laws], self.sizes, depths, self.budget)
        if len(nodes) > SHOWN or len(nodes) == len(depths) or entries > self.budget:
            return ""
        how = "observed (ppl.condition), or left out of marginalize=" if self.depths else "of another estimator"
        return f"; with {_listed(nodes)} {how}, {entries:.3g} would do"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(map(base_name, names)))
