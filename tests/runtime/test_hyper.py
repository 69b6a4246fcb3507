"""`ppl.hyper`: run-time scalars in costs, KL weights and estimators, as values or schedules, without recompiling."""

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Normal
from ppl.errors import DataError, ModelError

X = np.random.default_rng(0).normal(size=(8, 2))


@ppl.model
def generative(x):
    with ppl.plate("data", x) as x:
        z = ppl.sample("z", Normal(np.zeros(2), 1.0))
        ppl.sample("x", Normal(ppl.dense("dec", z, 2), 1.0), obs=x)


@ppl.model
def guide(x):
    with ppl.plate("data", x) as x:
        ppl.sample("z", Normal(ppl.dense("enc", x, 2), 0.5))


@pytest.fixture(scope="module")
def annealed():
    weight = ppl.hyper("beta", 1.0)
    return ppl.compile(ppl.elbo(generative, guide, kl_weight=weight), dtype="float64", data=X)


def test_the_kl_weight_enters_linearly(annealed):
    state = annealed.init(0)
    at = {b: annealed.value_and_grad(state, X, hyper={"beta": b}) for b in (0.0, 0.5, 1.0)}
    assert at[0.5][0] == pytest.approx((at[0.0][0] + at[1.0][0]) / 2, rel=1e-12)
    for name in at[1.0][1]:
        middle = (at[0.0][1][name] + at[1.0][1][name]) / 2
        np.testing.assert_allclose(at[0.5][1][name], middle, rtol=1e-10, atol=1e-12)
    assert annealed.value_and_grad(state, X)[0] == at[1.0][0]
    kl = 0.5 * np.sum((X @ state.params["enc.weight"]) ** 2 + 0.25 - 1 - np.log(0.25))
    assert at[1.0][0] - at[0.0][0] == pytest.approx(kl, rel=1e-10)


def test_a_schedule_is_read_at_the_step(annealed):
    state = annealed.init(0).replace(step=7)
    for call in (annealed.value, lambda *a, **k: annealed.value_and_grad(*a, **k)[0]):
        assert call(state, X, hyper={"beta": lambda step: step / 10}) == call(state, X, hyper={"beta": 0.7})
    ramp = ppl.optim.linear(0.0, 1.0, 10)
    assert annealed.value(state, X, hyper={"beta": ramp}) == pytest.approx(
        annealed.value(state, X, hyper={"beta": 0.7}), rel=1e-12
    )


def test_fit_anneals_as_a_loop_of_updates_does(annealed):
    schedule = ppl.optim.linear(0.0, 1.0, 5)
    optimizer = ppl.optim.Adam(1e-2)
    fit = ppl.fit(annealed, X, steps=5, optimizer=optimizer, hyper={"beta": schedule}, seed=1, progress=False)
    state = annealed.init(1)
    for step in range(5):
        state, loss = annealed.update(state, X, optimizer=optimizer, hyper={"beta": schedule(step)})
    assert fit.history["loss"][-1] == loss
    assert all(np.array_equal(fit.state.params[k], v) for k, v in state.params.items())
    assert fit.history["cost KL(z)"][0] == 0.0


def test_nothing_recompiles(annealed):
    state = annealed.init(0)
    annealed.value_and_grad(state, X)
    annealed.value(state, X)
    compiled = annealed.prepare()
    before = set(compiled._executables)
    for beta in (0.1, 0.2, lambda step: 0.3):
        annealed.value_and_grad(state, X, hyper={"beta": beta})
        annealed.value(state, X, hyper={"beta": beta})
    assert set(compiled._executables) == before and len(annealed._compiled) == 1


def test_a_temperature_is_a_hyper_of_the_estimator():
    @ppl.model
    def soft():
        b = ppl.sample("b", Bernoulli(logits=ppl.param("a", 0.3)))
        ppl.cost("c", ppl.hyper("weight", 2.0) * b)

    relaxed = ppl.estimators.Relaxed(temperature=ppl.hyper("tau", 1.0))
    program = ppl.compile(soft, relaxed, dtype="float64")
    state = program.init(0)
    losses = {t: program.value_and_grad(state, hyper={"tau": t})[0] for t in (1e-3, 0.5, 1.0)}
    b = program.sample(state)["b"]
    assert losses[1e-3] == pytest.approx(2 * b, abs=1e-6) and 0 < losses[0.5] < 2 and losses[0.5] != losses[1.0]
    assert program.value_and_grad(state)[0] == losses[1.0]
    assert program.value_and_grad(state, hyper={"weight": 4.0})[0] == pytest.approx(2 * losses[1.0], rel=1e-12)
    assert len(program.prepare()._executables) == 2


def test_unknown_or_contradicting_hypers_are_named(annealed):
    with pytest.raises(DataError, match=r"no hyper parameter named \['gamma'\]; the program has \['beta'\]"):
        annealed.value(annealed.init(0), X, hyper={"gamma": 1.0})

    @ppl.model
    def twice():
        ppl.cost("c", ppl.hyper("k", 1.0) * ppl.hyper("k", 2.0) * ppl.param("w", 1.0))

    with pytest.raises(ModelError, match=r"hyper 'k' has two defaults, 1.0 and 2.0\n  at test_hyper.py"):
        ppl.compile(twice)


def test_a_baseline_set_at_run_time_may_be_negative_and_a_temperature_may_not():
    @ppl.model
    def model():
        b = ppl.sample("b", ppl.Bernoulli(logits=ppl.param("t", 0.3)))
        ppl.cost("c", b)

    def program(estimator):
        return ppl.compile(model, estimators=estimator)

    score = program(ppl.estimators.ScoreFunction(ppl.hyper("base", 0.0)))
    assert np.isfinite(score.value_and_grad(score.init(0), hyper={"base": -0.8})[0])
    relaxed = program(ppl.estimators.Relaxed(temperature=ppl.hyper("tau", 1.0)))
    with pytest.raises(ppl.errors.PplError, match="hyper 'tau'"):
        relaxed.value_and_grad(relaxed.init(0), hyper={"tau": -0.8})
