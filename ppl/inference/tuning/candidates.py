"""Which estimators are tried for a node where nobody says: one of each kind in the decision table and the registry."""

from __future__ import annotations

from ppl.compiler.plan.choice import TABLE
from ppl.estimators import REGISTRY
from ppl.estimators.base import Estimator
from ppl.estimators.score_function import ScoreFunction


def candidates_of(own: Estimator) -> list[Estimator]:
    """The estimators to try for a node that has the estimator `own`; those that it does not support are among them."""
    known = [*(row.estimator for row in TABLE), ScoreFunction()]
    kinds = {type(e) for e in known}
    return list(dict.fromkeys([*known, *(e() for e in REGISTRY.values() if e not in kinds), own]))
