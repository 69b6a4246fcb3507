"""Nodes of counts and orders: what the compiler chooses for them, and gradients against enumeration."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import stats

import ppl
from ppl.errors import EstimatorError
from ppl.estimators import Enumerate, Pathwise, ScoreFunction


class Case(NamedTuple):
    """A distribution of parameters (name → start), the cost of its sample, and the joint values to enumerate."""

    build: Any
    starts: dict[str, Any]
    states: Any
    chosen: type = ScoreFunction


def bump(z):
    return np.tanh(0.4 * z) + 0.1 * z


def first(z):
    return 1.0 * z[0] * z[1] + 0.3 * z[2]


ROWS = np.array([0.3, -0.4, 0.2])
CASES = {
    "binomial": Case(lambda p: ppl.Binomial(12, logits=p["a"]), {"a": -0.4}, range(13)),
    "binomial of few": Case(lambda p: ppl.Binomial(3, logits=p["a"]), {"a": -0.4}, range(4), Enumerate),
    "geometric": Case(lambda p: ppl.Geometric(logits=p["a"]), {"a": -0.3}, range(120)),
    "negative binomial": Case(
        lambda p: ppl.NegativeBinomial(np.exp(p["r"]), logits=p["a"]), {"r": 0.8, "a": -0.5}, range(200)
    ),
    "beta-binomial": Case(
        lambda p: ppl.BetaBinomial(np.exp(p["c"]), np.exp(p["d"]), 9), {"c": 0.3, "d": -0.2}, range(10)
    ),
    "zero-inflated": Case(
        lambda p: ppl.ZeroInflatedPoisson(gate_logits=p["g"], rate=np.exp(p["r"])), {"g": -0.5, "r": 0.9}, range(60)
    ),
    "multinomial": Case(
        lambda p: ppl.Multinomial(4, logits=p["a"]), {"a": ROWS}, ppl.Multinomial(4, np.ones(3) / 3).support_table()
    ),
    "orders": Case(
        lambda p: ppl.PlackettLuce(logits=p["a"]), {"a": ROWS}, ppl.PlackettLuce(np.ones(3) / 3).support_table()
    ),
}


def make(case, **options):
    @ppl.model
    def model():
        params = {name: ppl.param(name, start) for name, start in case.starts.items()}
        z = ppl.sample("z", case.build(params))
        ppl.cost("loss", first(z) if np.ndim(next(iter(case.starts.values()))) else bump(z))

    return ppl.compile(model, dtype="float64", **options)


def expected(case, point):
    """The expected cost by enumeration, with parameters as arrays."""
    states = np.array(list(case.states))
    rows = states.ndim > 1
    cost = states[:, 0] * states[:, 1] + 0.3 * states[:, 2] if rows else bump(states)
    return (np.exp(case.build(point).log_prob(states)) * cost).sum()


def exact(case):
    """The gradient of the expected cost by central differences of the enumerated sum."""
    out, h = {}, 1e-5
    for name, start in case.starts.items():
        slope = np.zeros(np.shape(start))
        for i in np.ndindex(np.shape(start)):
            step = np.zeros(np.shape(start))
            step[i] = h
            high, low = (expected(case, {**case.starts, name: start + s * step}) for s in (1, -1))
            slope[i] = (high - low) / (2 * h)
        out[name] = slope
    return out


def flat(grads):
    return np.concatenate([np.ravel(grads[name]) for name in sorted(grads)])


@pytest.mark.parametrize("name", CASES)
def test_the_choice_and_its_gradient(name):
    case = CASES[name]
    program = make(case)
    assert isinstance(program.explain()["z"].estimator, case.chosen)
    wanted, state = flat(exact(case)), program.init(seed=0)
    if case.chosen is Enumerate:
        np.testing.assert_allclose(flat(program.value_and_grad(state)[1]), wanted, rtol=1e-7)
        return
    many = make(case, estimators=ScoreFunction("leave_one_out"), particles=4000)
    state = many.init(seed=0)
    draws = np.array([flat(many.value_and_grad(state, seed=s)[1]) for s in range(24)])
    error = draws.std(0, ddof=1) / math.sqrt(len(draws))
    assert (np.abs(draws.mean(0) - wanted) <= 5 * error).all(), (draws.mean(0), wanted, error)
    assert np.linalg.norm(error) <= 0.03 * np.linalg.norm(wanted)


@pytest.mark.parametrize("name", ["binomial", "beta-binomial", "multinomial", "orders"])
def test_enumeration_is_exact(name):
    program = make(CASES[name], estimators=Enumerate())
    grads = program.value_and_grad(program.init(seed=0))[1]
    np.testing.assert_allclose(flat(grads), flat(exact(CASES[name])), rtol=1e-6, atol=1e-9)


def test_a_sure_value_takes_its_path():
    @ppl.model
    def model():
        z = ppl.sample("z", ppl.Delta(ppl.param("v", 0.7)))
        ppl.cost("loss", np.sin(z))

    program = ppl.compile(model, dtype="float64")
    assert isinstance(program.explain()["z"].estimator, Pathwise)
    loss, grads = program.value_and_grad(program.init(seed=0))
    assert loss == pytest.approx(np.sin(0.7)) and grads["v"] == pytest.approx(np.cos(0.7))
    with pytest.raises(EstimatorError, match="v"):
        ppl.compile(model, estimators=ScoreFunction()).explain()


def test_a_sure_guide_is_a_maximum_a_posteriori_fit():
    @ppl.model
    def model(x):
        z = ppl.sample("z", ppl.Gamma(2.0, 1.0))
        with ppl.plate("data", x) as x:
            ppl.sample("x", ppl.Poisson(z), obs=x)

    @ppl.model
    def guide(x):
        ppl.sample("z", ppl.Delta(ppl.param("v", 1.0, constraint="positive")))

    x = np.array([3, 5, 4, 2])
    program = ppl.compile(ppl.elbo(model, guide), data=x, dtype="float64")
    state = program.init(seed=0)
    grads = program.value_and_grad(state, x)[1]
    assert grads["v"] == pytest.approx(-(2.0 - 1 - 1.0 + x.sum() - 4.0))  # in log v at v = 1


def test_uniform_whole_numbers_are_enumerated_below_a_parameter():
    @ppl.model
    def model():
        k = ppl.sample("k", ppl.DiscreteUniform(0, 2))
        z = ppl.sample("z", ppl.Bernoulli(logits=ppl.param("a", 0.2) * (k + 1.0)))
        ppl.cost("loss", z * (1.0 * k))

    program = ppl.compile(model, dtype="float64", estimators={"k": Enumerate(), "z": Enumerate()})
    loss, grads = program.value_and_grad(program.init(seed=0))
    p = stats.logistic.cdf(0.2 * np.arange(1, 4))
    assert loss == pytest.approx((p * np.arange(3)).mean())
    assert grads["a"] == pytest.approx((p * (1 - p) * np.arange(3) * np.arange(1, 4)).mean())


def test_observed_counts_have_the_score_of_their_law():
    counts, trials = np.array([3, 0, 7, 5]), np.array([5, 4, 9, 6])

    @ppl.model
    def model(x, n):
        a = ppl.param("a", 0.3)
        with ppl.plate("data", x, n) as (x, n):
            ppl.sample("x", ppl.Binomial(n, logits=a), obs=x)

    program = ppl.compile(ppl.likelihood(model), data=(counts, trials))
    loss, grads = program.value_and_grad(program.init(seed=0), counts, trials)
    p = 1 / (1 + np.exp(-0.3))
    assert loss == pytest.approx(-stats.binom(trials, p).logpmf(counts).sum(), rel=1e-5)
    assert grads["a"] == pytest.approx(-(counts - trials * p).sum(), rel=1e-5)


def test_draws_of_a_row_do_not_depend_on_the_batch():
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            ppl.sample("b", ppl.Binomial(40, logits=x))
            ppl.sample("m", ppl.Multinomial(9, [0.2, 0.3, 0.1, 0.4]))
            ppl.sample("o", ppl.PlackettLuce(logits=[0.1, 0.2, 0.3]))
            ppl.sample("d", ppl.Delta(x))
            ppl.sample("n", ppl.NegativeBinomial(2.0, logits=x))
            ppl.cost("none", 0.0 * x)

    x = np.linspace(-1, 2, 30)
    program = ppl.compile(model, data=x, dtype="float64")
    whole = program.sample(program.init(seed=3), x)
    assert (whole["m"].sum(-1) == 9).all() and (np.sort(whole["o"], -1) == np.arange(3)).all()
    np.testing.assert_allclose(whole["d"], x)
    part = program.sample(program.init(seed=3), x[:7])
    for name in whole:
        np.testing.assert_array_equal(whole[name][:7], part[name])
    assert abs((whole["b"] - 40 / (1 + np.exp(-x))).mean()) < 5 * np.sqrt(10 / 30)
