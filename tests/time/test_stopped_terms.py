"""`ppl.stop_gradient` in steps of a loop: the sum over all paths in NumPy, and the same model written out."""

import itertools

import numpy as np
import pytest

import ppl
from ppl import Bernoulli, Normal, stop_gradient
from ppl.errors import EstimatorError
from ppl.estimators import Enumerate, ScoreFunction
from tests.time.test_written_out import written_out

P = 0.3


def chain(cost, law=lambda x: Bernoulli(logits=x)):
    """Three steps of a chain whose carry is its last value; `cost(p, now, before)` is declared in each."""

    @ppl.model
    def model():
        p = ppl.param("p", P)

        def step(c, t):
            b = ppl.sample("b", law(p + 0.5 * c))
            for i, value in enumerate(cost(p, b, c)):
                ppl.cost(f"cost{i}", value)
            return 1.0 * b, None

        ppl.scan(step, 0.0, length=3)

    return model


def nested():
    """Stopped values in the steps of an inner loop, and of the loop around it."""

    @ppl.model
    def model():
        p = ppl.param("p", P)

        def outer(c, t):
            a = ppl.sample("a", Bernoulli(logits=p - 0.2 * c))

            def step(d, s):
                b = ppl.sample("b", Bernoulli(logits=p + 0.5 * d))
                ppl.cost("inside", b * d + a + 2.0 * stop_gradient(b) + stop_gradient(a * d))
                return 0.3 * b + 0.2 * d, None

            d, _ = ppl.scan(step, c, length=2, name="inner")
            ppl.cost("outside", d * stop_gradient(p) + stop_gradient(d))
            return d + a, None

        ppl.scan(outer, 0.1, length=2)

    return model


COSTS = {
    "a sum": (lambda p, b, c: [b * c + 2.0 * stop_gradient(b) + p * b],
              lambda p, b, c: b * c + p * b, lambda p, b, c: 2.0 * b),
    "a carry": (lambda p, b, c: [stop_gradient(c) ** 2, (c - 0.3 * b) ** 2],
                lambda p, b, c: (c - 0.3 * b) ** 2, lambda p, b, c: c**2),
    "both": (lambda p, b, c: [(c + 0.2) * p + stop_gradient(b) * p + 3.0 * stop_gradient(c) + b],
             lambda p, b, c: (c + 0.2) * p + b, lambda p, b, c: b * p + 3.0 * c),
}  # fmt: skip
"""What is declared; what moves with the law of the nodes; and what does not."""


def expected(cost, p, law):
    """The mean over all paths of the chain at the parameter `law` of a cost at the parameter `p`."""
    total = 0.0
    for path in itertools.product((0.0, 1.0), repeat=3):
        weight, before, found = 1.0, 0.0, 0.0
        for b in path:
            up = 1.0 / (1.0 + np.exp(-law - 0.5 * before))
            weight *= up if b else 1.0 - up
            found += cost(p, b, before)
            before = b
        total += weight * found
    return total


@pytest.mark.parametrize("name", COSTS)
def test_a_chain_moves_no_stopped_value(name):
    declared, moves, stays = COSTS[name]
    program, h = ppl.compile(chain(declared), estimators=Enumerate(), dtype="float64"), 1e-6
    assert program.prepare().working is program.prepare().graph
    loss, grad = program.value_and_grad(program.init(0), seed=0)
    assert loss == pytest.approx(expected(moves, P, P) + expected(stays, P, P), rel=1e-12)
    ends = [expected(moves, p, p) + expected(stays, p, P) for p in (P + h, P - h)]
    assert grad["p"] == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-8)


@pytest.mark.parametrize("estimator", [ScoreFunction(), ScoreFunction("moving_average")])
@pytest.mark.parametrize("name", [*COSTS, "normal", "nested"])
def test_scores_weigh_no_stopped_value(name, estimator, monkeypatch):
    laws = {"normal": lambda mean: Normal(mean, 1.0)}
    declared = COSTS[name if name in COSTS else "a sum"][0]
    model = nested() if name == "nested" else chain(declared, laws.get(name, lambda x: Bernoulli(logits=x)))
    looped = ppl.compile(model, estimators=estimator, dtype="float64")
    flat = written_out(monkeypatch, model, (), {"estimators": estimator})
    for seed in range(4):
        (loss, grad), (other, wanted) = (p.value_and_grad(p.init(0), seed=seed) for p in (looped, flat))
        assert loss == pytest.approx(other, rel=1e-10)
        assert grad["p"] == pytest.approx(wanted["p"], rel=1e-8, abs=1e-10)


def test_a_score_of_results_that_are_partly_stopped():
    """Terms of results are seen through the loop; the mean of the score is that of the sum over all states."""

    @ppl.model
    def model():
        p = ppl.param("p", P)

        def step(c, t):
            b = ppl.sample("b", Bernoulli(logits=p + 0.5 * c))
            return 0.3 * b + 0.1 * c, p * b - stop_gradient(b) * 3.0

        c, ys = ppl.scan(step, 0.0, length=3)
        ppl.cost("end", np.sum(ys * np.array([1.0, 2.0, 3.0])) + c)

    def gradient(estimator, particles, seeds):
        program = ppl.compile(model, estimators=estimator, particles=particles, dtype="float64")
        state = program.init(0)
        return np.array([float(program.value_and_grad(state, seed=s)[1]["p"]) for s in range(seeds)])

    (exact,), found = gradient(Enumerate(), 1, 1), gradient(ScoreFunction(), 20_000, 20)
    assert abs(found.mean() - exact) < 4 * found.std(ddof=1) / np.sqrt(len(found))
    assert found.std() < 0.05


@pytest.mark.parametrize("estimator", [ScoreFunction(), Enumerate()])
@pytest.mark.parametrize("cost", [lambda p, b, c: [b * stop_gradient(b)], lambda p, b, c: [c * stop_gradient(b) + b]])
def test_products_with_a_stopped_value_are_refused(cost, estimator):
    with pytest.raises(EstimatorError, match=r"both directly and through ppl\.stop_gradient, and is no sum of terms"):
        ppl.compile(chain(cost), estimators=estimator)


def marginals(p, sign):
    """E of each step of a chain whose log-odds are p + sign * 0.5 * (the step before)."""
    found, now = [], 0.0
    for _ in range(3):
        rates = [1.0 / (1.0 + np.exp(-p - 0.5 * sign * before)) for before in (0.0, 1.0)]
        now = (1.0 - now) * rates[0] + now * rates[1]
        found.append(now)
    return np.array(found)


def test_two_chains_of_which_a_cost_stops_one_are_written_out():
    """Their states have joint probabilities, which would move with both."""

    @ppl.model
    def model():
        p = ppl.param("p", P)

        def step(c, t):
            a = ppl.sample("a", Bernoulli(logits=p + 0.5 * c[0]))
            b = ppl.sample("b", Bernoulli(logits=p - 0.5 * c[1]))
            ppl.cost("in", a * stop_gradient(c[1]))
            ppl.cost("more", b)
            return (1.0 * a, 1.0 * b), None

        ppl.scan(step, (0.0, 0.0), length=3)

    def cost(p):
        return marginals(p, 1.0)[1:] @ marginals(P, -1.0)[:-1] + np.sum(marginals(p, -1.0))

    program, h = ppl.compile(model, estimators=Enumerate(), dtype="float64"), 1e-6
    assert program.prepare().working is not program.prepare().graph
    loss, grad = program.value_and_grad(program.init(0), seed=0)
    assert loss == pytest.approx(cost(P), rel=1e-12)
    assert grad["p"] == pytest.approx((cost(P + h) - cost(P - h)) / (2 * h), rel=1e-8)
