"""Compiled gradients replay the interpreter noise for noise: loss, costs, gradients and auxiliaries.

Float64 agrees to 1e-9 of the scale; float32 runs on the same float32 uniforms and agrees to rounding.
"""

import numpy as np
import pytest

import ppl
from ppl.compiler.surrogate.variants import build_value
from ppl.estimators import (
    ARM,
    Analytic,
    BonnetPrice,
    CategoricalDisARM,
    Combine,
    DisARM,
    DoublyReparameterized,
    Enumerate,
    Implicit,
    MeasureValued,
    Pathwise,
    Rebar,
    Relax,
    Relaxed,
    ScoreFunction,
    StickingTheLanding,
    StraightThrough,
    SumComponents,
    Vimco,
)  # fmt: skip
from tests.helpers.replay import Case, interpreted, program_of, replay, state_of

LEAVE_ONE_OUT, MOVING_AVERAGE = ScoreFunction("leave_one_out"), ScoreFunction("moving_average")


CASES = {
    "rebar": Case("toy", Rebar(temperature=ppl.hyper("tau", 1.0)), {"b/eta": 0.7, "b/eta.count": 3.0},
    hyper={"tau": 0.4}),
    "constant baseline": Case("rows", ScoreFunction(ppl.hyper("c", 0.3)), particles=2, hyper={"c": -0.8}),
    "leave-one-out": Case("layer", LEAVE_ONE_OUT, particles=3),
    "two rebar layers": Case("two_layers", Rebar(), {"b1/eta": 0.6, "b2/eta": 1.2}, 2),
    "rebar, moving average, enumerate": Case(
        "three_layers", {"b1": Rebar(), "b2": MOVING_AVERAGE, "b3": Enumerate()}, {"b2/baseline": 0.3}
    ),
    "one-hot rebar": Case("one_hot", Rebar(temperature=0.4)),
    "lookup": Case("categorical", MOVING_AVERAGE, {"k/baseline": 0.2}, 2),
    "bernoulli, normal, bernoulli": Case(
        "normal_between", {"b": Rebar(), "z": Pathwise(), "c": LEAVE_ONE_OUT}, particles=2
    ),
    "global and rows": Case("global_bernoulli_and_rows", {"g": LEAVE_ONE_OUT, "b": Rebar()}, particles=2),
    "nested plates": Case("nested", {"g": Rebar(), "b": ScoreFunction()}),
    "enumerated global": Case("costs_in_and_between", {"g": Enumerate(), "b": Relaxed(hard=True)}),
    "coupled rows": Case("coupled_rows", Rebar()),
    "straight-through": Case("binary_units_normal", StraightThrough()),
    "belief network": Case("elbo_sbn", LEAVE_ONE_OUT, particles=2),
    "normal bound": Case("elbo_normal_sampled", hyper={"beta": 0.7}),
    "marginal mixture": Case("likelihood_mixture", {"g": MOVING_AVERAGE}),
    "gamma": Case("gamma", particles=3),
    "gamma rows": Case("gamma_rows", {"g": Pathwise(), "z": Implicit()}, particles=2),
    "gamma score": Case("gamma_rows", {"g": MOVING_AVERAGE, "z": LEAVE_ONE_OUT}, {"g/baseline": 0.2}, 2),
    "beta": Case("beta", Implicit()),
    "dirichlet": Case("dirichlet", particles=2),
    "student": Case("studentt"),
    "von mises": Case("von_mises", particles=2),
    "von mises score": Case("von_mises_cut", MOVING_AVERAGE, {"x/baseline": 0.2}, 2),
    "vector": Case("multivariate_normal", particles=2),
    "vector score": Case("multivariate_normal", MOVING_AVERAGE, {"x/baseline": 0.2}),
    "poisson": Case("poisson", MOVING_AVERAGE, {"z/baseline": 0.3}, 2),
    "normal by its cdf": Case("normal", Implicit()),
    "rebar, trained temperature": Case("two_layers", Rebar(adapt_temperature=True), {"b1/log_temperature": -0.3}, 2),
    "relax": Case("toy", Relax(width=3, adapt_temperature=True), {"b/network.output": 0.3}),
    "relax in rows": Case("rows", Relax(width=4), {"b/network.output": 0.3}, 2),
    "relax of a black box": Case("black_box", Relax(width=4), {"b/network.output": -0.2}),
    "relax of one-hot pairs": Case("one_hot_pair", {"x": Relax(width=5)}, {"x/network.output": 0.2}),
    "learned baselines": Case(
        "elbo_sbn", ScoreFunction("learned", width=4), {"h/network.output": 0.3, "h/baseline": 0.5}, 2
    ),
    "learned baseline, global": Case("layer", ScoreFunction("learned", width=2), {"b/network.output": 0.3}),
    "optimal baseline": Case("normal_chain", ScoreFunction("optimal"), particles=3),
    "curvature": Case("normal", BonnetPrice()),
    "curvature in rows": Case("normal_vector", BonnetPrice(), particles=2),
    "curvature of vectors": Case("multivariate_normal", BonnetPrice(), particles=2),
    "mixture": Case("mixture_rows", SumComponents(), particles=2),
    "mixture by its cdf": Case("mixture_rows", Pathwise()),
    "analytic": Case("layer", Analytic()),
    "analytic vectors": Case("multivariate_normal", Analytic()),
    "analytic classes": Case("one_hot", Analytic(), particles=2),
    "analytic coupled rows": Case("coupled_rows", Analytic()),
    "analytic below rebar": Case("two_layers", {"b1": Rebar(), "b2": Analytic()}, {"b1/eta": 0.6}, 2),
    "analytic rows below a score": Case("global_bernoulli_and_rows", {"g": LEAVE_ONE_OUT, "b": Analytic()}, {}, 2),
    "sticking the landing": Case("elbo_normal_deep", StickingTheLanding(), particles=2),
    "sticking the landing, weighted": Case("elbo_normal_sampled", StickingTheLanding(), hyper={"beta": 0.7}),
    "relaxed and uniform": Case("uniform", particles=3),
    "vimco": Case("iwae_bernoulli", Vimco(), particles=2),
    "doubly reparameterized": Case("iwae_normal", DoublyReparameterized()),
    "doubly reparameterized below vimco": Case("iwae_mixed", {"b": Vimco(), "z": DoublyReparameterized()}),
    "global bound": Case("iwae_global", particles=2),
    "doubly reparameterized elbo": Case("elbo_normal_deep", DoublyReparameterized(), particles=2),
    "disarm": Case("layer", DisARM(), particles=2),
    "disarm of a belief network": Case("elbo_sbn", DisARM()),
    "disarm of saturating units": Case("binary_units_uniform", DisARM()),
    "two disarm layers": Case("two_layers", DisARM(), particles=2),
    "rebar above arm": Case("two_layers", {"b1": Rebar(), "b2": ARM()}, {"b1/eta": 0.6}),
    "arm of probabilities": Case("bernoulli_probs", ARM()),
    "one-hot disarm": Case("one_hot_pair", {"x": CategoricalDisARM(), "b": DisARM()}, particles=2),
    "lookup disarm": Case("categorical", CategoricalDisARM()),
    "measure-valued normal": Case("normal_chain", MeasureValued()),
    "measure-valued exponential": Case("exponential", MeasureValued(), particles=2),
    "measure-valued gamma": Case("gamma_rates", MeasureValued(), particles=2),
    "measure-valued poisson": Case("poisson", MeasureValued(), particles=2),
    "measure-valued classes": Case("one_hot_pair", MeasureValued()),
    "measure-valued lookup": Case("categorical", MeasureValued()),
    "disarm and leave-one-out": Case(
        "two_layers", Combine(DisARM(), LEAVE_ONE_OUT), {"b1/2.weight.logits": 0.4, "b2/2.weight.logits": 0.2}, 2
    ),
    "path and score": Case(
        "normal_chain", Combine(Pathwise(), MOVING_AVERAGE, per="entry"), {"z1/2.weight.*": 0.4, "z1/2.baseline": 0.3}
    ),
    "some units": Case("elbo_sbn", Enumerate(units=1), {"h/baseline": 0.4}, 2),
    "some one-hot units": Case("one_hot_pair", {"x": Enumerate(units=1)}),
    "some classes": Case("categorical", Enumerate(categories=2), particles=2),
    "measure-valued mixture": Case("normal_between", {"b": DisARM(), "z": MeasureValued(), "c": MeasureValued()}),
}  # fmt: skip
SINGLE = ["rebar", "bernoulli, normal, bernoulli", "belief network", "disarm of a belief network", "one-hot disarm"]
VALUES = ["two rebar layers", "global and rows", "enumerated global", "two disarm layers", "one-hot disarm"]
SINGLE += [
    "vimco",
    "doubly reparameterized",
    "gamma",
    "gamma rows",
    "beta",
    "dirichlet",
    "student",
    "poisson",
    "von mises",
]
SINGLE += [
    "disarm and leave-one-out",
    "some units",
    "some classes",
    "mixture",
    "analytic below rebar",
    "analytic vectors",
    "analytic rows below a score",
]
VALUES += ["mixture", "analytic", "analytic below rebar", "analytic rows below a score"]


def _marks(i, label):
    """A share of the cases, and one of them in the tiny tests, is run always."""
    if label == "bernoulli, normal, bernoulli":
        return [pytest.mark.tiny]
    return [pytest.mark.slow] if i % 3 else []


@pytest.mark.parametrize("label", [pytest.param(k, marks=_marks(i, k)) for i, k in enumerate(CASES)])
def test_float64_replays_the_interpreter(label):
    replay(CASES[label], "float64", 1e-9)


@pytest.mark.parametrize(
    "label", [pytest.param(k, marks=pytest.mark.slow if i % 2 else ()) for i, k in enumerate(SINGLE)]
)
def test_float32_replays_the_interpreter(label):
    replay(CASES[label], "float32", 2e-5)


@pytest.mark.parametrize("label", VALUES)
def test_value_replays_the_interpreter(label):
    case = CASES[label]
    graph, program = program_of(case, "float64")
    state = state_of(program, graph, case, 4, 3)
    expected = interpreted(program, graph, case, build_value, "float64", 4, 3)
    value = program.value(state, *graph.data, total_rows=graph.total_rows)
    np.testing.assert_allclose(value, expected["loss"], rtol=1e-10, atol=1e-12)
    loss, _ = program.value_and_grad(state, *graph.data, total_rows=graph.total_rows)
    np.testing.assert_allclose(value, loss, rtol=1e-10, atol=1e-12)


def test_every_registered_estimator_is_replayed():
    used = set()
    for case in CASES.values():
        used |= {type(e).__name__ for e in program_of(case, "float64")[1].explain().estimators.values()}
    assert used >= set(ppl.estimators.REGISTRY)
