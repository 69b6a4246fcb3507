"""Probabilities of exactly 0 and 1: the derivative that the weight has, and nothing from states that nothing reaches.

At p = 1 the derivative of E f(b) is f(1) - f(0). Exact answers are one-sided or written out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

import ppl
from ppl import Bernoulli, Binomial, Categorical, Mixture, Multinomial, Normal, OneHotCategorical, Poisson
from ppl.compiler.surrogate.second_order import HVP_VECTOR, build_hvp
from ppl.compiler.surrogate.variants import build_gradient, build_value
from ppl.errors import FitError, ParameterError
from ppl.estimators import (
    ARM,
    Analytic,
    CategoricalDisARM,
    DisARM,
    Enumerate,
    MeasureValued,
    Rebar,
    Relax,
    Relaxed,
    ScoreFunction,
    StraightThrough,
)
from tests.estimators.test_plate_sums import evaluated

DRAWS_ONLY = [ScoreFunction(), ScoreFunction("moving_average"), DisARM(), ARM(), Rebar(), Relax()]


def gradient(model: Any, params: dict[str, Any], estimators: Any = "auto", data: tuple = (), **more: Any) -> Any:
    """(loss, gradients) of one interpreted step in float64; the value program gives the same loss."""
    program = ppl.compile(model, estimators=estimators, dtype="float64", data=data, max_copies=64)
    found = evaluated(program, build_gradient, params, data, **more)
    return found["loss"], {k: found[f"grad {k}"] for k in params}


def coin(cost: Any) -> Any:
    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(ppl.param("p", 1.0)))
        ppl.cost("c", cost(b))

    return model


QUADRATIC = coin(lambda b: (b + 0.5) ** 2)


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("estimator", [Enumerate(), MeasureValued(), Analytic(), "auto"])
def test_a_sure_coin_has_the_slope_of_the_other_side(p, estimator):
    loss, grads = gradient(QUADRATIC, {"p": p}, estimator)
    assert loss == (p + 0.5) ** 2
    np.testing.assert_allclose(grads["p"], 2.0)


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("estimator", DRAWS_ONLY)
def test_estimators_that_see_draws_only_refuse_a_probability_that_moves_from_its_edge(p, estimator):
    program = ppl.compile(QUADRATIC, estimators=estimator, dtype="float64")
    assert np.isnan(evaluated(program, build_gradient, {"p": p})["loss"])
    assert evaluated(program, build_value, {"p": p})["loss"] == (p + 0.5) ** 2
    assert np.isfinite(evaluated(program, build_gradient, {"p": 0.5})["loss"])


def test_the_refusal_names_node_parameter_and_estimator():
    @ppl.model
    def model(x):
        p = ppl.param("p", 1.0)
        with ppl.plate("data", x) as x:
            b = ppl.sample("b", Bernoulli(p))
            ppl.cost("c", x * b)

    x = np.ones(3)
    program = ppl.compile(model, estimators=ScoreFunction())
    state = program.init(0, x)
    with pytest.raises(
        ParameterError, match=r"node 'b': probs of Bernoulli is 1 in row 0 .* ScoreFunction.* .*\n  at .*test_weight"
    ):
        program.value_and_grad(state, x)
    with pytest.raises(FitError, match="probs of Bernoulli is 1"):
        ppl.fit(program, x, steps=3, optimizer=ppl.optim.SGD(0.1), progress=False)
    with pytest.raises(ParameterError, match="probs of Bernoulli is 1"):
        program.hvp(state, {"p": 1.0}, x)


@pytest.mark.parametrize("estimator", [*DRAWS_ONLY, MeasureValued(), StraightThrough(), Relaxed()])
def test_units_that_a_mask_keeps_at_their_edge_are_no_edge(estimator):
    """p m with m = 0, and clipped beyond 1: no parameter moves these; the derivatives are those of the rest alone."""

    @ppl.model
    def model():
        p, q = ppl.param("p", 0.4), ppl.param("q", 1.5)
        probs = np.stack([p * 0.0, p, np.minimum(q, 1.0)])
        b = ppl.sample("b", Bernoulli(probs))
        ppl.cost("c", np.sum(b * np.array([1.0, 2.0, 3.0])))

    loss, grads = gradient(model, {"p": 0.4, "q": 1.5}, estimator)
    assert np.isfinite(loss)
    assert np.isfinite(grads["p"])
    assert grads["q"] == 0.0


@pytest.mark.parametrize("estimator", [ScoreFunction("learned"), Relax()])
def test_networks_of_baselines_read_logits_of_categories_that_cannot_happen(estimator):
    """The mean gradient is p (cost - mean cost) = (0.1, 0, -0.1)."""

    @ppl.model
    def model():
        k = ppl.sample("k", OneHotCategorical(logits=ppl.param("w", np.zeros(3)) + np.array([0.0, -np.inf, 0.0])))
        ppl.cost("c", k @ np.array([1.0, 9.0, 0.6]))

    program = ppl.compile(model, estimator, dtype="float64")
    state = program.init(0)
    for _ in range(30):
        state = program.step(state)[2]
    found = program.diagnose(state, repeats=4000, timing=False)["w"]
    assert np.all(np.abs(found.mean - [0.1, 0.0, -0.1]) <= 5 * found.standard_error + 1e-12)


def test_probabilities_that_move_in_opposite_ways_do_not_cancel():
    @ppl.model
    def model(x):
        t = ppl.param("t", 1.0)
        with ppl.plate("data", x) as x:
            b = ppl.sample("b", Bernoulli(0.5 * (1 + t * x)), estimator=ScoreFunction())
            ppl.cost("c", b)

    assert np.isnan(gradient(model, {"t": 1.0}, data=(np.array([-1.0, 1.0]),))[0])


@pytest.mark.parametrize("estimator", [Enumerate(), MeasureValued(), "auto"])
@pytest.mark.parametrize("law", [Categorical, OneHotCategorical])
def test_classes_without_probability(law, estimator):
    """d/dp_k E f = f(k) - E f, for symbolic probabilities are normalised."""

    @ppl.model
    def model():
        k = ppl.sample("k", law(ppl.param("p", np.array([0.0, 1.0, 0.0]))))
        values = ppl.constant(np.array([2.0, 3.0, 7.0]))
        ppl.cost("c", values[k] if law is Categorical else np.sum(k * values))

    loss, grads = gradient(model, {"p": [0.0, 1.0, 0.0]}, estimator)
    assert loss == 3.0
    np.testing.assert_allclose(grads["p"], [-1.0, 0.0, 4.0])


@pytest.mark.parametrize("estimator", [ScoreFunction(), CategoricalDisARM(), Rebar(), Relax()])
def test_classes_that_are_never_drawn_are_refused_only_where_they_move(estimator):
    def model(mask):
        @ppl.model
        def model():
            p = ppl.param("p", np.array([0.5, 0.5, 0.0])) * np.array(mask)
            k = ppl.sample("k", OneHotCategorical(p))
            ppl.cost("c", np.sum(k * np.array([2.0, 3.0, 7.0])))

        return model

    params = {"p": [0.5, 0.5, 0.0]}
    assert np.isnan(gradient(model([1.0, 1.0, 1.0]), params, estimator)[0])
    loss, grads = gradient(model([1.0, 1.0, 0.0]), params, estimator)
    assert np.isfinite(loss)
    assert np.all(np.isfinite(grads["p"]))
    assert grads["p"][2] == 0.0


def test_logits_of_minus_infinity():
    @ppl.model
    def model():
        t = ppl.param("t", np.zeros(2))
        k = ppl.sample("k", Categorical(logits=np.concatenate([t, np.array([-np.inf])])), estimator=Enumerate())
        ppl.cost("c", np.log(2.0 - k) * t[0] + 1.0 * k)

    loss, grads = gradient(model, {"t": [0.3, -0.1]})
    p = np.exp([0.3, -0.1]) / np.exp([0.3, -0.1]).sum()
    np.testing.assert_allclose(loss, p[0] * np.log(2) * 0.3 + p[1])
    gap = p[0] * p[1] * (np.log(2) * 0.3 - 1)
    np.testing.assert_allclose(grads["t"], [gap + p[0] * np.log(2), -gap])


def test_counts_at_a_sure_outcome():
    """d/dp E f(k) = n (f(n) - f(n - 1)) at p = 1, and n (f(e_j) - ...) for a class without probability."""

    @ppl.model
    def binomial():
        k = ppl.sample("k", Binomial(3, ppl.param("p", 1.0)))
        ppl.cost("c", 1.0 * k**3)

    assert gradient(binomial, {"p": 1.0}, Enumerate())[1]["p"] == 3 * (27 - 8)
    assert gradient(binomial, {"p": 0.0}, Enumerate())[1]["p"] == 3.0
    assert np.isnan(gradient(binomial, {"p": 1.0}, ScoreFunction())[0])
    program = ppl.compile(binomial, estimators=Enumerate(), dtype="float64")
    found = evaluated(program, build_hvp, {"p": 1.0}, **{HVP_VECTOR + "p": np.array(1.0)})
    np.testing.assert_allclose(found["grad p"], 72.0)  # E k^3 = 3 p + 18 p^2 + 6 p^3

    @ppl.model
    def multinomial():
        x = ppl.sample("x", Multinomial(2, ppl.param("p", np.array([1.0, 0.0]))))
        ppl.cost("c", 1.0 * x[1] * x[1])

    np.testing.assert_allclose(gradient(multinomial, {"p": [1.0, 0.0]}, Enumerate())[1]["p"], [0.0, 2.0])


@pytest.mark.parametrize("p", [1.0, np.float32(1.0) - np.float32(2.0) ** -24])
def test_what_only_an_impossible_state_computes_does_not_count(p):
    """Roots, poles, logarithms, weights and scales that are infinite or no number in the state b = 0."""

    @ppl.model
    def model():
        t = ppl.param("t", 0.3)
        b = ppl.sample("b", Bernoulli(ppl.param("p", 1.0)), estimator=Enumerate())
        e = ppl.sample("e", Bernoulli(t / b), estimator=Enumerate())
        ppl.cost("child", e * (1 + b))
        ppl.cost("root", np.sqrt(b * t))
        ppl.cost("pole", t / b + np.log(b) * t)

    if p == 1.0:
        loss, grads = gradient(model, {"t": 0.3, "p": 1.0})
        np.testing.assert_allclose(loss, 2 * 0.3 + np.sqrt(0.3) + 0.3)
        np.testing.assert_allclose(grads["t"], 2 + 0.5 / np.sqrt(0.3) + 1)
        np.testing.assert_allclose(grads["p"], 2 * 0.3 + np.sqrt(0.3) + 0.3)  # f(0) is 0 for the root, else infinite
    else:
        assert not np.isfinite(gradient(model, {"t": 0.3, "p": p})[0])


def test_parameters_in_states_that_nothing_reaches_are_not_checked():
    """A scale of 0 in the state of weight 0; it is refused as soon as the state can be reached."""

    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(ppl.param("p", 1.0)), estimator=Enumerate())
        z = ppl.sample("z", Normal(0.5, 2.0 * b))
        ppl.cost("c", z + b)

    program = ppl.compile(model)
    loss, grads = program.value_and_grad(program.init(0))
    assert np.isfinite(loss)
    np.testing.assert_allclose(grads["p"], loss - 0.5, rtol=1e-5)  # z = loc where the scale is 0
    with pytest.raises(ParameterError, match="scale of Normal must be positive"):
        program.value_and_grad(program.init(0, params={"p": 0.5}))


@pytest.mark.parametrize("above", [Enumerate(), MeasureValued()])
@pytest.mark.parametrize("estimator", ["auto", ScoreFunction()])
@pytest.mark.parametrize(
    "law",
    [lambda r: Binomial(3, logits=np.tanh(r - r)), lambda r: Poisson(r), lambda r: Categorical(np.stack([0.5, r]))],
)
def test_counts_drawn_from_no_number_are_none(law, estimator, above):
    """In the state b = 0 the parameter is infinite or NaN: what is drawn there is a number, but no value of f."""

    @ppl.model
    def model():
        b = ppl.sample("b", Bernoulli(ppl.param("p", 1.0)), estimator=above)
        k = ppl.sample("k", law(0.7 / b))
        ppl.cost("c", 1.0 + k * k)

    program = ppl.compile(model, estimators={"k": estimator} if estimator != "auto" else "auto", dtype="float64")
    found = evaluated(program, build_gradient, {"p": 1.0})
    assert found["grad p"] == found["loss"] >= 1.0


def test_moments_below_an_impossible_state():
    @ppl.model
    def model():
        t = ppl.param("t", 2.0)
        b = ppl.sample("b", Bernoulli(ppl.param("p", 1.0)), estimator=Enumerate())
        z = ppl.sample("z", Normal(t, 3.0), estimator=Analytic())
        ppl.cost("c", z * z * (2 - b))

    loss, grads = gradient(model, {"t": 2.0, "p": 1.0})
    assert (loss, grads["t"], grads["p"]) == (13.0, 4.0, -13.0)


X = np.array([0.3, 1.0])


@pytest.mark.parametrize("way", ["marginalize", "mixture"])
@pytest.mark.parametrize("scale", [0.5, 0.0])
def test_a_component_without_weight(way, scale):
    """-log p(x) and its derivative: -f_2 / f_1 + 1 in the normalised weight of a component of density f_2."""

    @ppl.model
    def model(x):
        w, t = ppl.param("w", np.array([1.0, 0.0])), ppl.param("t", 2.0)
        with ppl.plate("data", x) as x:
            if way == "mixture":
                ppl.sample("x", Mixture(w, [Normal(0.0, t), Normal(3.0, 0.5)]), obs=x)
            else:
                k = ppl.sample("k", Categorical(w))
                ppl.sample("x", Normal(3.0 * k, t * (1 - k) + scale * k), obs=x)

    if way == "mixture" and scale == 0.0:
        pytest.skip("the parameters of a component are the mixture's own")
    objective = ppl.likelihood(model, "k" if way == "marginalize" else ())
    program = ppl.compile(objective, dtype="float64", data=(X,))
    state = program.init(0, X)
    loss, grads = program.value_and_grad(state, X)
    first = stats.norm.logpdf(X, 0, 2)
    np.testing.assert_allclose(loss, -first.sum())
    np.testing.assert_allclose(grads["t"], (1 / 2 - X**2 / 8).sum())
    if scale:
        ratio = np.exp(stats.norm.logpdf(X, 3, 0.5) - first)
        np.testing.assert_allclose(grads["w"], [0.0, (1 - ratio).sum()], atol=1e-12)
    else:
        assert np.isfinite(grads["w"]).all()


def test_nested_impossible_states_under_marginalisation():
    @ppl.model
    def model():
        p = ppl.param("p", 1.0)
        a = ppl.sample("a", Bernoulli(p))
        b = ppl.sample("b", Bernoulli(0.25 / a))
        ppl.sample("x", Normal(a + b, 1.0), obs=0.3)

    loss, grads = gradient(ppl.likelihood(model, ("a", "b")), {"p": 1.0})
    f = 0.75 * stats.norm.pdf(0.3, 1) + 0.25 * stats.norm.pdf(0.3, 2)
    np.testing.assert_allclose(loss, -np.log(f))
    np.testing.assert_allclose(grads["p"], -1.0)  # the law of b given a = 0 is none, so f(0) counts as 0


def test_an_observation_without_probability_costs_infinity():
    @ppl.model
    def model():
        p = ppl.param("p", 1.0)
        ppl.sample("x", Bernoulli(p), obs=0.0)

    program = ppl.compile(ppl.likelihood(model), dtype="float64")
    assert evaluated(program, build_value, {"p": 1.0})["loss"] == np.inf


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_programs_agree(dtype):
    @ppl.model
    def model(x):
        p, t = ppl.param("p", np.array([1.0, 0.0, 0.5])), ppl.param("t", 0.7)
        with ppl.plate("data", x) as x:
            b = ppl.sample("b", Bernoulli(p), estimator=Enumerate())
            ppl.cost("c", np.sqrt(np.sum(b) * t) + x * b[0] * b[1])

    x = np.array([0.5, 2.0], dtype)
    program = ppl.compile(model, dtype=dtype, data=(x,))
    loss, grads = program.value_and_grad(program.init(0, x), x)
    r = np.sqrt(np.arange(4) * 0.7)
    np.testing.assert_allclose(loss, r[1] + r[2], rtol=1e-6)
    np.testing.assert_allclose(
        grads["p"], [r[1] + r[2] - r[0] - r[1], r[2] + r[3] - r[1] - r[2] + 2.5, 2 * (r[2] - r[1])], rtol=1e-5
    )
    np.testing.assert_allclose(grads["t"], (r[1] + r[2]) / 2 / 0.7, rtol=1e-5)


ADVICE = {
    "bernoulli": (lambda p: Bernoulli(p), 1.0, "name Enumerate() or MeasureValued() for this node, or keep"),
    "binomial": (lambda p: Binomial(3, p), 1.0, "name Enumerate() for this node, or keep"),
    "geometric": (lambda p: ppl.Geometric(p), 1.0, "the derivative; keep probs inside its range"),
    "negative binomial": (lambda p: ppl.NegativeBinomial(3.0, p), 0.0, "the derivative; keep probs inside its range"),
    "mixture": (lambda p: Mixture(p, Normal(np.array([-1.0, 1.0]), 1.0)), np.array([1.0, 0.0]),
                "name SumComponents() for this node, or keep weights"),
}  # fmt: skip


@pytest.mark.parametrize("label", ADVICE)
def test_the_advice_names_only_estimators_that_admit_the_node(label):
    dist, start, advice = ADVICE[label]

    @ppl.model
    def model():
        ppl.cost("c", np.cos(1.0 * ppl.sample("x", dist(ppl.param("p", start)))))

    program = ppl.compile(model, estimators=ScoreFunction())
    with pytest.raises(ParameterError, match="is never drawn") as caught:
        program.step(program.init(seed=0))
    assert advice in str(caught.value)
