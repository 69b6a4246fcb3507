"""Which estimators and numbers of particles are tried where nobody says.

Of estimators, one of each kind in the decision table and the registry, and some options that matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl.arguments import MANY, integer
from ppl.compiler.plan.choice import TABLE
from ppl.errors import EstimatorError, OptionError
from ppl.estimators import Combine, Enumerate, Pathwise, ScoreFunction, by_default
from ppl.estimators.base import Estimator
from ppl.lang.carried import require_one_particle

PARTICLES = (1, 2, 4, 8, 16)
OTHERS = ScoreFunction("leave_one_out")
BESIDE_TABLE: tuple[Estimator, ...] = (
    Enumerate(units=2, baseline="leave_one_out"),
    Combine(Enumerate(categories=2), OTHERS),
    Combine(Pathwise(), OTHERS),
)
"""Options that no row of the table has, and that are the best on some graphs of `benchmarks/results/regret.md`."""


def candidates_of(own: Estimator) -> list[Estimator]:
    """The estimators to try for a node that has the estimator `own`; those that it does not support are among them."""
    known = [*(row.estimator for row in TABLE), ScoreFunction(), *BESIDE_TABLE]
    kinds = {type(e) for e in known}
    return list(dict.fromkeys([*known, *(e for e in by_default() if type(e) not in kinds), own]))


def counts_of(asked: Any, own: int, trace: Any) -> tuple[int, ...]:
    """The numbers of particles to try, in order."""
    given = (*PARTICLES, own) if asked is None else asked if isinstance(asked, (tuple, list)) else (asked,)
    counts = sorted({integer("tune: particles", p, 1, MANY) for p in given})
    if not counts:
        raise OptionError("tune: particles: there is no number to try")
    if asked is not None:
        for p in counts:
            require_one_particle(trace, p)
        return tuple(counts)
    return (1,) if _one_only(lambda: require_one_particle(trace, 2)) else tuple(counts)


def _one_only(check: Callable[[], None]) -> bool:
    try:
        check()
    except EstimatorError:
        return True
    return False


def share_a_cost(graph: Any, a: str, b: str) -> bool:
    """Whether a cost lies downstream of both nodes."""
    return bool({c.name for c in graph[a].costs} & {c.name for c in graph[b].costs})
