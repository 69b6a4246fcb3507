"""List which estimators, plans and numbers of particles are compared where nobody names them.

Of estimators, those of the decision table, and one of each other kind in the registry; of plans, the decision table's
and those that put other estimators first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ppl.arguments import MANY, integer
from ppl.compiler.plan.closed_form_variance import cost_roughness
from ppl.compiler.plan.decision_table import TABLE, estimators_tried
from ppl.compiler.plan.plan import Plan
from ppl.errors import EstimatorError, OptionError
from ppl.estimators import Pathwise, by_default
from ppl.estimators.base import Estimator, check_support
from ppl.graph.stochastic import RandomNode, StochasticGraph
from ppl.lang.carried import require_one_particle

PARTICLE_COUNTS = (1, 2, 4, 8, 16)


def node_candidates(own: Estimator) -> list[Estimator]:
    """Return the estimators to try for a node that has the estimator `own`, also those that do not support it."""
    known = [row.estimator for row in TABLE]
    kinds = {type(e) for e in known}
    return list(dict.fromkeys([*known, *(e for e in by_default() if type(e) not in kinds), own]))


def particle_counts(asked: Any, own: int, trace: Any) -> tuple[int, ...]:
    """Return the numbers of particles to try, in order."""
    given = (*PARTICLE_COUNTS, own) if asked is None else asked if isinstance(asked, (tuple, list)) else (asked,)
    counts = sorted({integer("tune: particles", p, 1, MANY) for p in given})
    if not counts:
        raise OptionError("tune: particles: there is no number to try")
    if asked is not None:
        for p in counts:
            require_one_particle(trace, p)
        return tuple(counts)
    return (1,) if _only_one_particle(lambda: require_one_particle(trace, 2)) else tuple(counts)


def _only_one_particle(check: Callable[[], None]) -> bool:
    try:
        check()
    except EstimatorError:
        return True
    return False


def share_a_cost(graph: Any, a: str, b: str) -> bool:
    """Return whether a cost lies downstream of both nodes."""
    return bool({c.name for c in graph[a].costs} & {c.name for c in graph[b].costs})


FirstEstimators = Mapping[str, Estimator]
"""Estimators that come before the table's, by node."""

ROUGH_COST = 1.5
"""Units of its own over which a cost moves, from which on other estimators are tried in place of a path to it."""

(EXACT_FIRST,) = estimators_tried("exact")
"""Tried first wherever it is admissible: it has no variance."""

MIXED_PLANS = 3
"""Best plans whose estimators are tried node by node."""


def uniform_plans(graph: StochasticGraph, plan: Plan, measured: bool) -> list[FirstEstimators]:
    """Return the table's choice, and others put first: for all nodes that take them, and for those where the table
    follows no path; without and with the exact estimator before.
    """
    tried: dict[Estimator, dict[str, Estimator]] = {}
    apart: dict[Estimator, dict[str, Estimator]] = {}
    exact = {}
    for name, choice in plan.items():
        rn = graph[name]
        if not rn.needs_gradient or choice.estimator.imposed:
            continue
        if check_support(EXACT_FIRST, rn).ok:
            exact[name] = EXACT_FIRST
        for e in estimators_tried("measured") if measured else _tried_by_closed_form(rn, choice.estimator):
            if check_support(e, rn).ok:
                tried.setdefault(e, {})[name] = e
                if not choice.estimator.follows_path:
                    apart.setdefault(e, {})[name] = e
    firsts = [*tried.values(), *(each for e, each in apart.items() if each != tried[e])]
    return [{}, exact, *firsts, *({**each, **exact} for each in firsts if exact)]


def _tried_by_closed_form(rn: RandomNode, taken: Estimator) -> Iterable[Estimator]:
    """Return what is tried in place of what the table takes, by closed forms."""
    if taken in (others := estimators_tried("no path")):
        return others
    if taken == Pathwise() and (rough := cost_roughness(rn)) > 0:
        return estimators_tried("rough path" if rough > ROUGH_COST else "smooth path")
    return ()


def mixed_plans(graph: StochasticGraph, ranked: Sequence[Plan]) -> list[FirstEstimators]:
    """Return the best plan with one node's estimator changed: to that in the next best, or to an exact one."""
    best = ranked[0].estimators
    found: list[FirstEstimators] = []
    nodes = [n for n, e in best.items() if graph[n].needs_gradient and not e.imposed]
    if len(nodes) < 2:
        return []
    for name in nodes:
        others = [plan.estimators[name] for plan in ranked[1:MIXED_PLANS]]
        others += [EXACT_FIRST] if check_support(EXACT_FIRST, graph[name]).ok else []
        for e in dict.fromkeys(others):
            if e != best[name]:
                rest = {n: _unless_exact(best[n]) for n in nodes if n != name}
                found.append({name: e, **{n: x for n, x in rest.items() if x is not None}})
    return found


def _unless_exact(estimator: Estimator) -> Estimator | None:
    """Return what another node keeps first beside a change; an exact one would leave no room for a second."""
    return None if estimator == EXACT_FIRST else estimator
