"""Which plans `particles="auto"` weighs: the decision table's, and those that put other estimators first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ppl.compiler.plan.expected import roughness
from ppl.compiler.plan.plan import Plan
from ppl.estimators import (
    Analytic,
    BonnetPrice,
    CategoricalDisARM,
    Combine,
    DisARM,
    DoublyReparameterized,
    Enumerate,
    MeasureValued,
    Pathwise,
    Rebar,
    ScoreFunction,
    StickingTheLanding,
    Vimco,
)
from ppl.estimators.base import Estimator
from ppl.graph.stochastic import RandomNode, StochasticGraph

First = Mapping[str, Estimator]
"""Estimators that come before the table's, by node."""
OTHERS, AVERAGE = ScoreFunction("leave_one_out"), ScoreFunction("moving_average")
WITHOUT_PATH: tuple[Estimator, ...] = (
    DisARM(),
    OTHERS,
    Rebar(),
    CategoricalDisARM(),
    AVERAGE,
    MeasureValued(),
    ScoreFunction("optimal"),
)
"""Tried in place of one of them."""
ROUGH = 1.5
"""Units of its own over which a cost moves, from which on `BESIDE` are tried in place of a path."""
BESIDE: tuple[Estimator, ...] = (Combine(Pathwise(), AVERAGE), OTHERS, ScoreFunction("optimal"), AVERAGE)
SMOOTH = BonnetPrice()
"""Tried in place of a path where the cost moves over less than `ROUGH` units of its own, and more than none."""
EXACT = Analytic()
"""Tried first wherever it is admissible: it has no variance."""
MEASURED: tuple[Estimator, ...] = (
    *WITHOUT_PATH,
    *BESIDE[:1],
    SMOOTH,
    Enumerate(units=2, baseline="leave_one_out"),
    Enumerate(categories=2),
    Combine(Enumerate(categories=2), OTHERS),
    StickingTheLanding(),
    DoublyReparameterized(),
    Vimco(),
)
"""Tried where variances are measured, which asks for no closed form. A path or a pair combined with leave-one-out is
not: it was hardly better than with a moving average, or than the pair alone.
"""
NEAR = 3
"""Best plans whose estimators are tried node by node."""


def alike(graph: StochasticGraph, plan: Plan, measured: bool) -> list[First]:
    """The table's choice, and others put first: for all nodes that take them, and for those where the table follows no
    path; without and with `EXACT` before.
    """
    tried: dict[Estimator, dict[str, Estimator]] = {}
    apart: dict[Estimator, dict[str, Estimator]] = {}
    exact = {}
    for name, choice in plan.items():
        rn = graph[name]
        if not rn.needs_gradient or choice.estimator.imposed:
            continue
        if EXACT.supports(rn).ok:
            exact[name] = EXACT
        for e in MEASURED if measured else _with_forms(rn, choice.estimator):
            if e.supports(rn).ok:
                tried.setdefault(e, {})[name] = e
                if not choice.estimator.follows_path:
                    apart.setdefault(e, {})[name] = e
    firsts = [*tried.values(), *(each for e, each in apart.items() if each != tried[e])]
    return [{}, exact, *firsts, *({**each, **exact} for each in firsts if exact)]


def _with_forms(rn: RandomNode, taken: Estimator) -> Iterable[Estimator]:
    """What is tried in place of what the table takes, by closed forms."""
    if taken in WITHOUT_PATH:
        return WITHOUT_PATH
    if taken == Pathwise() and (rough := roughness(rn)) > 0:
        return BESIDE if rough > ROUGH else [SMOOTH]
    return ()


def node_by_node(graph: StochasticGraph, ranked: Sequence[Plan]) -> list[First]:
    """The best plan with one node's estimator changed: to what the node has in the next best, or to an exact one."""
    best = ranked[0].estimators
    found: list[First] = []
    nodes = [n for n, e in best.items() if graph[n].needs_gradient and not e.imposed]
    if len(nodes) < 2:
        return []
    for name in nodes:
        others = [plan.estimators[name] for plan in ranked[1:NEAR]]
        others += [EXACT] if EXACT.supports(graph[name]).ok else []
        for e in dict.fromkeys(others):
            if e != best[name]:
                rest = {n: _freed(best[n]) for n in nodes if n != name}
                found.append({name: e, **{n: x for n, x in rest.items() if x is not None}})
    return found


def _freed(estimator: Estimator) -> Estimator | None:
    """What another node keeps first beside a change; an exact one would leave no room for a second."""
    return None if estimator == EXACT else estimator
