"""Which estimators are tried for a node where nobody says: one of each kind in the decision table and the registry,
and some options that matter."""

from __future__ import annotations

from ppl.compiler.plan.choice import TABLE
from ppl.estimators import REGISTRY, Combine, Enumerate, Pathwise, ScoreFunction
from ppl.estimators.base import Estimator

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
    return list(dict.fromkeys([*known, *(e() for e in REGISTRY.values() if e not in kinds), own]))
