"""Gradient estimators, one per file, and the registry that law tests and the plan run over."""

from ppl.estimators.analytic import Analytic
from ppl.estimators.arm import ARM
from ppl.estimators.base import Estimator, Hyper, Support
from ppl.estimators.bonnet_price import BonnetPrice
from ppl.estimators.categorical_disarm import CategoricalDisARM
from ppl.estimators.combine import Combine
from ppl.estimators.disarm import DisARM
from ppl.estimators.doubly_reparameterized import DoublyReparameterized
from ppl.estimators.enumerate import Enumerate
from ppl.estimators.implicit import Implicit
from ppl.estimators.measure_valued import MeasureValued
from ppl.estimators.not_needed import NotNeeded
from ppl.estimators.pathwise import Pathwise
from ppl.estimators.rebar import Rebar
from ppl.estimators.relax import Relax
from ppl.estimators.relaxed import Relaxed
from ppl.estimators.score_function import ScoreFunction
from ppl.estimators.sticking_the_landing import StickingTheLanding
from ppl.estimators.straight_through import StraightThrough
from ppl.estimators.sum_components import SumComponents
from ppl.estimators.vimco import Vimco

REGISTRY: dict[str, type[Estimator]] = {
    e.__name__: e
    for e in (
        Enumerate,
        SumComponents,
        Analytic,
        Pathwise,
        StickingTheLanding,
        DoublyReparameterized,
        BonnetPrice,
        Implicit,
        DisARM,
        ARM,
        CategoricalDisARM,
        Rebar,
        Relax,
        MeasureValued,
        Vimco,
        ScoreFunction,
        Combine,
        Relaxed,
        StraightThrough,
    )
}


def by_default() -> list[Estimator]:
    """One estimator of every kind with its usual options, but for `Combine`, which has to be told its members."""
    return [kind() for kind in REGISTRY.values() if kind is not Combine]


__all__ = ["REGISTRY", "Hyper", "NotNeeded", "Support", *REGISTRY]
