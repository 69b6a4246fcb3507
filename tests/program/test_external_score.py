"""Simulators that return their score beside their result, against exact expectations.

The total of three exponential waiting times of a rate r, weighed by w, is Gamma(3, r) times w:
E[total²] = 12 w²/r², E[total] = 3w/r."""

import numba
import numpy as np
import pytest

import ppl
import ppl.random
from ppl import Bernoulli, Normal
from ppl.errors import EstimatorError, ModelError
from ppl.estimators import Enumerate, Pathwise, Rebar, ScoreFunction
from ppl.ir.reference.interpret import evaluate
from ppl.runtime.call import Call, bind_call

X = np.array([0.5, 1.0, 2.0])


@numba.njit
def waiting(key, rate, weights, count):
    total, score = 0.0, 0.0
    for i in range(count):
        x = -np.log(ppl.random.uniform(key, i)) / rate
        total += x
        score += 1 / rate - x
    return total * weights[0] + weights[1], score, np.zeros(2), 0


@ppl.model
def queue(x):
    with ppl.plate("data", x) as x:
        rate = ppl.param("rate", 1.5)
        total = ppl.external(waiting, rate * x, np.array([1.0, 0.0]), 3, score=True, name="total")
        ppl.cost("c", total**2)


SLOPE = -24 / 1.5**3 * np.sum(1 / X**2)
"""Of Σ 12 / (rate x)² at rate 1.5."""

BASELINES = {
    "none": (None, 1),
    "constant": (6.0, 1),
    "moving average": ("moving_average", 1),
    "leave one out": ("leave_one_out", 2),
    "learned": ("learned", 1),
    "optimal": ("optimal", 3),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", BASELINES)
def test_the_gradient_is_unbiased_with_every_baseline(case, dtype):
    baseline, particles = BASELINES[case]
    program = ppl.compile(queue, ScoreFunction(baseline), particles=particles, dtype=dtype, data=X)
    state = program.init(0)
    for _ in range(100):
        _, _, state = program.step(state, X)
    rows = np.tile(X, 2000)
    copies = 40
    found = np.array([program.value_and_grad(state, rows, seed=s)[1]["rate"] for s in range(copies)]) / 2000
    error = found.std(ddof=1) / np.sqrt(copies)
    assert error < 0.06 * abs(SLOPE)
    assert abs(found.mean() - SLOPE) < 5 * error


def test_single_samples_are_the_cost_times_the_score():
    """By hand: NumPy draws the same numbers from the same keys."""
    seen = []

    @numba.njit
    def with_key(key, rate):
        u = ppl.random.uniform(key, 0)
        x = -np.log(u) / rate
        return x, 1 / rate - x

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            t = ppl.external(with_key, ppl.param("rate", 2.0) * x, score=True)
            ppl.deterministic("t", t)
            ppl.cost("c", np.sin(t))

    program = ppl.compile(model, ScoreFunction(0.25), dtype="float64", data=X)
    state = program.init(0)
    for seed in range(5):
        drawn = program.sample(state, X, seed=seed)
        loss, grads = program.value_and_grad(state, X, seed=seed)
        t = drawn["t"]
        np.testing.assert_array_equal(drawn["with_key"], t)
        assert loss == pytest.approx(np.sin(t).sum(), rel=1e-12)
        assert grads["rate"] == pytest.approx(np.sum((np.sin(t) - 0.25) * (1 / (2 * X) - t) * X), rel=1e-10)
        seen.append(loss)
    assert len(set(seen)) == 5


def test_interpreted_and_compiled_agree():
    program = ppl.compile(queue, ScoreFunction("learned"), dtype="float64", data=X)
    state = program.init(0)
    variant = program.prepare(X).variant("gradient", (), 1)
    wanted = evaluate(
        [variant.scalars["loss"], *variant.grads.values()], bind_call(program, Call(state, (X,))).environment()
    )
    loss, grads = program.value_and_grad(state, X)
    np.testing.assert_allclose([loss, *grads.values()], wanted, rtol=1e-12)


def test_cost_and_score_come_from_one_call():
    program = ppl.compile(queue, dtype="float64", data=X)
    assert program.prepare().executable("gradient").source.count("attempt(waiting") == 1


def test_the_plan_shows_it_and_only_the_score_function_is_admitted():
    plan = ppl.compile(queue, data=X).explain()
    assert plan["total"].estimator == ScoreFunction("moving_average") and "Simulator" in str(plan)
    assert {type(c.estimator) for c in plan["total"].candidates if c.admissible} == {ScoreFunction}
    for other in (Pathwise(), Enumerate(), Rebar()):
        with pytest.raises(EstimatorError, match="cannot be used for node 'total'"):
            ppl.compile(queue, other, data=X)


def test_it_joins_other_nodes_up_and_down():
    """A Bernoulli chooses the rate, the total shifts a Normal: all three gradients against their expectations."""

    @numba.njit
    def one(key, rate):
        x = -np.log(ppl.random.uniform(key, 0)) / rate
        return x, 1 / rate - x

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            b = ppl.sample("b", Bernoulli(probs=ppl.param("p", 0.3)))
            t = ppl.external(one, ppl.param("rate", 2.0) * (1.0 + b), score=True, name="t")
            z = ppl.sample("z", Normal(t + ppl.param("shift", 0.2), 0.5))
            ppl.cost("c", z**2)

    # E[z²] = E[2/r²] + 2 s E[1/r] + s² + 0.25 with r = rate (1 + b)
    p, rate, shift = 0.3, 2.0, 0.2
    one_, two = 2 / rate**2 + 2 * shift / rate, 2 / (2 * rate) ** 2 + 2 * shift / (2 * rate)
    first, second = -4 / rate**3 - 2 * shift / rate**2, -4 / (4 * rate**3) - 2 * shift / (2 * rate**2)
    wanted = {
        "p": two - one_,
        "rate": (1 - p) * first + p * second,
        "shift": 2 * ((1 - p) / rate + p / (2 * rate)) + 2 * shift,
    }
    rows, copies = np.zeros(4000), 40
    for estimators in ("auto", {"b": ScoreFunction(0.5)}):
        program = ppl.compile(model, estimators, dtype="float64", data=rows)
        state = program.init(0)
        for _ in range(100):
            _, _, state = program.step(state, rows)
        found = [program.value_and_grad(state, rows, seed=s)[1] for s in range(copies)]
        for name, exact in wanted.items():
            draws = np.array([g[name] for g in found]) / len(rows)
            error = draws.std(ddof=1) / np.sqrt(copies)
            assert abs(draws.mean() - exact) < 5 * error < 0.3, (name, estimators)


def test_what_needs_the_density_is_refused():
    def guide(x):
        with ppl.plate("data", x) as x:
            ppl.external(waiting, 1.0, np.zeros(2), 3, score=True, name="total")

    with pytest.raises(ModelError, match="a guide or a noise distribution needs densities"):
        ppl.compile(ppl.elbo(queue, ppl.model(guide)), data=X)
    program = ppl.compile(queue, dtype="float64", data=X)
    with pytest.raises(EstimatorError, match=r"hvp: the score that 'total' .* returns has no derivative"):
        program.hvp(program.init(0), {"rate": 1.0}, X)


@numba.njit
def few(key, rate, other):
    return rate, rate


@numba.njit
def misshapen(key, rate, other):
    return rate, rate, np.zeros(3)


@pytest.mark.parametrize(
    ("fn", "values", "text"),
    [
        (few, (1.0, 2.0), "returns 2 results, 3 are declared"),
        (misshapen, (1.0, np.zeros(2)), r"result 2 has shape \(3,\), declared is \(2,\)"),
        (few, (1.0,), "does not take its 2 arguments"),
    ],
)
def test_scores_that_do_not_fit_are_refused(fn, values, text):
    @ppl.model
    def model():
        t = ppl.external(fn, *values, score=True)
        ppl.cost("c", t * ppl.param("a", 1.0))

    with pytest.raises(ModelError, match=rf"{text}[\s\S]*at test_external_score"):
        ppl.compile(model)


def test_two_simulators_of_one_function_are_two_nodes():
    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x, ppl.scope("a/b"):
            rate = ppl.param("rate", 1.5)
            first = ppl.external(waiting, rate, np.array([1.0, 0.0]), 1, score=True)
            second = ppl.external(waiting, rate, np.array([1.0, 0.0]), 1, score=True)
            ppl.cost("c", first - second)

    program = ppl.compile(model, data=X)
    drawn = program.sample(program.init(0), X)
    assert list(drawn) == ["a/b/waiting", "a/b/waiting_1"]
    assert not np.isin(drawn["a/b/waiting"], drawn["a/b/waiting_1"]).any()
