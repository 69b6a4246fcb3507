"""Limits on what a plan may cost: loops over time that would have to be unrolled, and tables of sums over nodes.

The decision table asks for them before it admits an estimator."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ppl.errors import EstimatorError, PplError
from ppl.estimators.base import Estimator
from ppl.graph.elimination import (
    SPLIT_FROM_STATES,
    cost_terms,
    cut_to_budget,
    elimination_tables,
    expectation_scopes,
    largest_table,
    states_varied_with,
    why_not_chain,
)
from ppl.graph.stochastic import RandomNode, StochasticGraph
from ppl.lang.loops import base_name
from ppl.lang.trace import Cost
from ppl.tuning import UNROLLED_STEPS


def needs_unrolling(estimator: Estimator, rn: RandomNode, summed: Collection[str] = ()) -> bool:
    """Return whether loops are unrolled for the sake of a node's estimator; those of `summed` sum theirs."""
    if rn.site.scan is not None:
        kept = estimator.in_loops or (estimator.enters == "summed" and why_not_chain(rn, summed) is None)
        return not kept and (rn.needs_gradient or estimator.enters == "summed")
    return not estimator.before_loops and rn.enters_loops and rn.needs_gradient


def why_not_in_loop(estimator: Estimator, rn: RandomNode, max_copies: float) -> str | None:
    """Say why an estimator has no place in a loop over time, or None."""
    if not needs_unrolling(estimator, rn):
        return None
    steps = rn.graph.total_steps
    if rn.site.scan is not None and estimator.enters == "summed":
        if steps > UNROLLED_STEPS:
            return f"{why_not_chain(rn, ())}, and its {steps} steps, more than {UNROLLED_STEPS}, are not written out"
    elif rn.site.scan is not None and 1 + estimator.side_count_over_loop(rn) > max_copies:
        return (
            f"in a loop of {rn.steps} steps it takes {estimator.side_count_over_loop(rn)} branches, over "
            f"max_copies={max_copies:g}; "
            "ScoreFunction takes none, nor do paths and relaxations"
        )
    if steps > UNROLLED_STEPS:
        return f"the loop would be unrolled for it, and {steps} steps are more than {UNROLLED_STEPS}"
    return None


def plan_needs_unrolling(graph: StochasticGraph, plan: Mapping[str, Estimator]) -> bool:
    """Return whether a plan needs the program without loops."""
    summed = [name for name, estimator in plan.items() if estimator.enters == "summed"]
    return any(needs_unrolling(estimator, graph[name], summed) for name, estimator in plan.items())


def is_summed_by_steps(estimator: Estimator, rn: RandomNode) -> bool:
    """Return whether a node of a loop is summed out step by step."""
    return rn.site.scan is not None and estimator.enters == "summed" and why_not_chain(rn, ()) is None


def joint_states(estimator: Estimator, rn: RandomNode) -> float:
    """Joint states that a node is summed over: in a chain those of two steps in turn, else those of all steps."""
    return (
        estimator.states(rn.in_one_step) ** 2 if is_summed_by_steps(estimator, rn) else estimator.states_over_loop(rn)
    )


def loop_labels(rn: RandomNode) -> tuple[str, ...]:
    """Return the loops that a node stands in, for the column of plates."""
    return () if rn.site.scan is None else tuple(f"{s.name} ({s.length} steps)" for s in rn.site.scan.chain)


@contextmanager
def errors_without_step_numbers() -> Iterator[None]:
    """Errors about a sketch name nodes as the model does, without numbers of steps."""
    try:
        yield
    except PplError as error:
        if base_name(str(error)) == str(error):
            raise
        raise type(error)(base_name(str(error))).with_traceback(error.__traceback__) from None


MOST_NODES_FOR_ADVICE = 40
"""Nodes up to which it is worth looking for those to take out of a sum, which takes a time that grows with the cube of
their number."""

MOST_NODES_SHOWN = 4
"""Nodes of a cut that a message names at most."""


def require_table_budget(graph: StochasticGraph, estimators: Mapping[str, Estimator]) -> None:
    """Raise an EstimatorError where the sums over nodes with a common cost take a table beyond their budget."""
    if plan_needs_unrolling(graph, estimators):
        return  # what is summed then is a graph without loops, whose tables are looked at when it is made
    summed = {name: estimator for name, estimator in estimators.items() if estimator.enters == "summed"}
    for cost in graph.trace.costs.values():
        names = [name for name in summed if cost in graph[name].costs]
        if names:
            _SumBudget(graph, cost, {name: summed[name] for name in names}).require()


class _SumBudget:
    """The nodes that are summed under one cost."""

    def __init__(self, graph: StochasticGraph, cost: Cost, summed: Mapping[str, Estimator]):
        self.cost, self.names = cost, list(summed)
        self.budget = min(estimator.most_states for estimator in summed.values())
        self.sizes = {name: joint_states(estimator, graph[name]) for name, estimator in summed.items()}
        inside = {name: estimator.sampled for name, estimator in summed.items()}
        self.above = {name: states_varied_with(graph[name].node.args, inside) for name in summed}
        self.ranks = {name: graph[name].rank for name in summed}
        self.chained = any(graph[name].site.scan is not None for name in summed)
        self.depths = {n: len(graph[n].node.type.axes) for n in summed if summed[n].within_cost}
        self.whole = states_varied_with([cost.node], inside)
        factors = cost.factors or cost_terms(cost.node)
        self.scopes = [states_varied_with([factor], inside) for factor in factors]
        self.laws = [self.above[name] | {name} for name in self.depths or summed]

    def entries(self) -> float:
        """Return the number of entries of the largest table."""
        if self.chained:
            return math.prod(self.sizes.values())
        if self.depths:
            tables = elimination_tables([*self.scopes, *self.laws], self.sizes, self.depths)
            rest = set().union(*self.scopes, *self.laws) - set(self.depths)
            return max(largest_table(tables), self._mean(rest))
        joint = self._mean(self.whole)
        return joint if self._joint(self.whole) <= SPLIT_FROM_STATES else max(map(self._mean, self.scopes))

    def _mean(self, first: Collection[str]) -> float:
        """Return the number of entries of the largest table of an expectation."""
        return max(map(self._joint, expectation_scopes(first, self.above, self.ranks)), default=1.0)

    def _joint(self, names: Collection[str]) -> float:
        return math.prod(self.sizes[name] for name in names)

    def require(self) -> None:
        entries = self.entries()
        if entries > self.budget:
            listed = _join_names(self.names)
            raise EstimatorError(
                f"enumerating {listed} together takes {entries:.3g} joint states for cost '{base_name(self.cost.name)}'"
                f", over the budget of {self.budget:.0f}{self._advice()}"
            )

    def _advice(self) -> str:
        """Say which nodes to take out of the sum."""
        depths = self.depths or dict.fromkeys(self.names, 0)
        if self.chained or len(depths) > MOST_NODES_FOR_ADVICE:
            return ""
        nodes, entries = cut_to_budget([*self.scopes, *self.laws], self.sizes, depths, self.budget)
        if len(nodes) > MOST_NODES_SHOWN or len(nodes) == len(depths) or entries > self.budget:
            return ""
        how = "observed (ppl.condition), or left out of marginalize=" if self.depths else "of another estimator"
        return f"; with {_join_names(nodes)} {how}, {entries:.3g} would do"


def _join_names(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(map(base_name, names)))
