"""Every unbiased estimator that a node may be given, with its options away from where they start."""

from __future__ import annotations

from typing import Any, NamedTuple

from ppl.estimators import (
    ARM,
    Analytic,
    BonnetPrice,
    CategoricalDisARM,
    DisARM,
    DoublyReparameterized,
    Enumerate,
    Implicit,
    MeasureValued,
    Pathwise,
    Rebar,
    Relax,
    ScoreFunction,
    StickingTheLanding,
    SumComponents,
    Vimco,
)


class Choice(NamedTuple):
    """An estimator as source text and as an object, auxiliary values by suffix, and the particles it needs."""

    text: str
    estimator: Any
    aux: dict[str, float]
    particles: int = 1


def _choice(estimator: Any, text: str, particles: int = 1, **aux: float) -> Choice:
    return Choice(f"ppl.estimators.{text}", estimator, {k.replace("__", "."): v for k, v in aux.items()}, particles)


CHOICES: dict[str, Choice] = {
    "enumerate": _choice(Enumerate(), "Enumerate()"),
    "sum-components": _choice(SumComponents(), "SumComponents()"),
    "analytic": _choice(Analytic(), "Analytic()"),
    "pathwise": _choice(Pathwise(), "Pathwise()"),
    "implicit": _choice(Implicit(), "Implicit()"),
    "rebar": _choice(Rebar(), "Rebar()", eta=0.6),
    "rebar-sharp": _choice(
        Rebar(temperature=0.35, eta=0.8, adapt_eta=False), "Rebar(temperature=0.35, eta=0.8, adapt_eta=False)"
    ),
    "relax": _choice(Relax(width=3), "Relax(width=3)", network__output=0.3),
    "disarm": _choice(DisARM(), "DisARM()"),
    "arm": _choice(ARM(), "ARM()"),
    "categorical-disarm": _choice(CategoricalDisARM(), "CategoricalDisARM()"),
    "measure-valued": _choice(MeasureValued(), "MeasureValued()"),
    "sticking-the-landing": _choice(StickingTheLanding(), "StickingTheLanding()"),
    "doubly-reparameterized": _choice(DoublyReparameterized(), "DoublyReparameterized()"),
    "vimco": _choice(Vimco(), "Vimco()"),
    "bonnet-price": _choice(BonnetPrice(), "BonnetPrice()"),
    "score": _choice(ScoreFunction(), "ScoreFunction()"),
    "score-moving-average": _choice(ScoreFunction("moving_average"), "ScoreFunction('moving_average')", baseline=0.37),
    "score-learned": _choice(
        ScoreFunction("learned", width=3), "ScoreFunction('learned', width=3)", network__output=0.4, baseline=0.2
    ),
    "score-leave-one-out": _choice(ScoreFunction("leave_one_out"), "ScoreFunction('leave_one_out')", 2),
    "score-optimal": _choice(ScoreFunction("optimal"), "ScoreFunction('optimal')", 4),
}
EXACT = ("enumerate", "analytic")
