"""List which estimators, plans and numbers of particles are compared where nobody names them.

Of estimators, one of each kind in the decision table and the registry, and some options that matter; of plans, the
decision table's and those that put other estimators first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ppl.arguments import MANY, integer
from ppl.compiler.plan.closed_form_variance import cost_roughness
from ppl.compiler.plan.decision_table import TABLE
from ppl.compiler.plan.plan import Plan
from ppl.errors import EstimatorError, OptionError
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
    by_default,
)
from ppl.estimators.base import Estimator, check_support
from ppl.graph.stochastic import RandomNode, StochasticGraph
from ppl.lang.carried import require_one_particle

PARTICLE_COUNTS = (1, 2, 4, 8, 16)

LEAVE_ONE_OUT = ScoreFunction("leave_one_out")

OPTIONS_BESIDE_TABLE: tuple[Estimator, ...] = (
    Enumerate(units=2, baseline="leave_one_out"),
    Combine(Enumerate(categories=2), LEAVE_ONE_OUT),
    Combine(Pathwise(), LEAVE_ONE_OUT),
)
"""Options that no row of the table has, and that are the best on some graphs of `benchmarks/results/regret.md`."""


def node_candidates(own: Estimator) -> list[Estimator]:
    """The estimators to try for a node that has the estimator `own`; those that it does not support are among them."""
    known = [*(row.estimator for row in TABLE), ScoreFunction(), *OPTIONS_BESIDE_TABLE]
    kinds = {type(e) for e in known}
    return list(dict.fromkeys([*known, *(e for e in by_default() if type(e) not in kinds), own]))


def particle_counts(asked: Any, own: int, trace: Any) -> tuple[int, ...]:
    """The numbers of particles to try, in order."""
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
    """Whether a cost lies downstream of both nodes."""
    return bool({c.name for c in graph[a].costs} & {c.name for c in graph[b].costs})


FirstEstimators = Mapping[str, Estimator]
"""Estimators that come before the table's, by node."""

LEAVE_ONE_OUT_BASELINE, MOVING_AVERAGE = ScoreFunction("leave_one_out"), ScoreFunction("moving_average")

INSTEAD_OF_NO_PATH: tuple[Estimator, ...] = (
    DisARM(),
    LEAVE_ONE_OUT_BASELINE,
    Rebar(),
    CategoricalDisARM(),
    MOVING_AVERAGE,
    MeasureValued(),
    ScoreFunction("optimal"),
)
"""Tried in place of one of them."""

ROUGH_COST = 1.5
"""Units of its own over which a cost moves, from which on `BESIDE` are tried in place of a path."""

INSTEAD_OF_ROUGH_PATH: tuple[Estimator, ...] = (
    Combine(Pathwise(), MOVING_AVERAGE),
    LEAVE_ONE_OUT_BASELINE,
    ScoreFunction("optimal"),
    MOVING_AVERAGE,
)

INSTEAD_OF_SMOOTH_PATH = BonnetPrice()
"""Tried in place of a path where the cost moves over less than `ROUGH` units of its own, and more than none."""

EXACT_FIRST = Analytic()
"""Tried first wherever it is admissible: it has no variance."""

TRIED_IF_MEASURED: tuple[Estimator, ...] = (
    *INSTEAD_OF_NO_PATH,
    *INSTEAD_OF_ROUGH_PATH[:1],
    INSTEAD_OF_SMOOTH_PATH,
    Enumerate(units=2, baseline="leave_one_out"),
    Enumerate(categories=2),
    Combine(Enumerate(categories=2), LEAVE_ONE_OUT_BASELINE),
    StickingTheLanding(),
    DoublyReparameterized(),
    Vimco(),
)
"""Tried where variances are measured, which asks for no closed form. A path or a pair combined with leave-one-out is
not: it was hardly better than with a moving average, or than the pair alone.
"""

MIXED_PLANS = 3
"""Best plans whose estimators are tried node by node."""


def uniform_plans(graph: StochasticGraph, plan: Plan, measured: bool) -> list[FirstEstimators]:
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
        if check_support(EXACT_FIRST, rn).ok:
            exact[name] = EXACT_FIRST
        for e in TRIED_IF_MEASURED if measured else _tried_by_closed_form(rn, choice.estimator):
            if check_support(e, rn).ok:
                tried.setdefault(e, {})[name] = e
                if not choice.estimator.follows_path:
                    apart.setdefault(e, {})[name] = e
    firsts = [*tried.values(), *(each for e, each in apart.items() if each != tried[e])]
    return [{}, exact, *firsts, *({**each, **exact} for each in firsts if exact)]


def _tried_by_closed_form(rn: RandomNode, taken: Estimator) -> Iterable[Estimator]:
    """What is tried in place of what the table takes, by closed forms."""
    if taken in INSTEAD_OF_NO_PATH:
        return INSTEAD_OF_NO_PATH
    if taken == Pathwise() and (rough := cost_roughness(rn)) > 0:
        return INSTEAD_OF_ROUGH_PATH if rough > ROUGH_COST else [INSTEAD_OF_SMOOTH_PATH]
    return ()


def mixed_plans(graph: StochasticGraph, ranked: Sequence[Plan]) -> list[FirstEstimators]:
    """The best plan with one node's estimator changed: to what the node has in the next best, or to an exact one."""
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
    """What another node keeps first beside a change; an exact one would leave no room for a second."""
    return None if estimator == EXACT_FIRST else estimator
