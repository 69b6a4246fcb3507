"""What the additions of docs/extending.md must do; `tests/test_extending.py` runs this in a copy of the tree."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

import ppl
from ppl import cli, estimators
from ppl.distributions import REGISTRY, Rayleigh
from ppl.distributions.cardioid import Cardioid
from ppl.estimators.forward_difference import ForwardDifference
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.node import make, topological
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.rewrites.simplify import simplify
from tests.distributions.distribution_laws import noise_of, value_of

N = 20_000

K, SCALE, LOGIT = 0.6, 0.7, -0.4

LAWS = {
    "Rayleigh": (lambda: Rayleigh(SCALE), (0, np.inf), stats.rayleigh(scale=SCALE).cdf),
    "Cardioid": (lambda: Cardioid(K), (-np.pi, np.pi), lambda x: 0.5 + (x + K * np.sin(x)) / (2 * np.pi)),
}


@pytest.mark.parametrize("name", LAWS)
def test_a_density_integrates_to_one(name):
    build, ends, _ = LAWS[name]
    assert integrate.quad(lambda x: math.exp(build().log_prob(x)), *ends)[0] == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("name", LAWS)
def test_samples_have_the_law(name):
    """Kolmogorov and Smirnov's test at level 0.001."""
    build, (low, high), cdf = LAWS[name]
    x = value_of(build().draw(*noise_of(build(), N)), seed=3)
    assert x.shape == (N,) and low < x.min() and x.max() < high
    assert stats.kstest(x, cdf).pvalue > 1e-3


def test_the_distribution_and_the_estimator_are_registered():
    assert REGISTRY["Rayleigh"] is Rayleigh
    assert estimators.REGISTRY["ForwardDifference"] is ForwardDifference


def test_the_op_is_interpreted_and_differentiated():
    at = np.array([-1e6, -2.0, 0.0, 1e-9, 0.3, 40.0])
    x = make("param", name="x", shape=at.shape)
    y = ops.asinh(x)
    (slope,) = gradient(ops.reduce_sum(y), [x])
    value, slope = evaluate([y, slope], Env(params={"x": at}))
    np.testing.assert_allclose(value, np.arcsinh(at), rtol=1e-15)
    np.testing.assert_allclose(slope, 1 / np.sqrt(1 + at**2), rtol=1e-14)


def test_the_rewrite_fires():
    x = make("input", name="x", axes=(), shape=(3,), dtype="float")
    (after,) = simplify([ops.add(ops.asinh(ops.neg(x)), 1.0)])
    assert after is simplify([ops.sub(1.0, ops.asinh(x))])[0]
    assert [n.op for n in topological([after])].count("asinh") == 1


@ppl.model
def additions(x):
    """Every row: the op of a Rayleigh and of a cardioid sample, and a cost of one binary unit."""
    scale = ppl.param("scale", SCALE, constraint="positive")
    k, logit = ppl.param("k", K), ppl.param("logit", LOGIT)
    b = ppl.sample("b", ppl.Bernoulli(logits=logit))
    ppl.cost("of b", (b - 0.3) ** 2)
    with ppl.plate("rows", x) as x:
        r = ppl.sample("r", Rayleigh(scale))
        c = ppl.sample("c", Cardioid(k))
        ppl.cost("of r", np.arcsinh(r) + 0.0 * x)
        ppl.cost("of c", np.arcsinh(2.0 * c) ** 2)


def test_the_compiled_program_has_the_exact_gradient():
    """Rows within 5 standard errors, which come from quadrature; the gradient of one unit exactly."""
    rows = np.zeros(N)
    program = ppl.compile(additions, estimators={"b": ForwardDifference()}, data=rows, dtype="float64")
    plan = program.explain()
    assert {name: plan[name].estimator.label for name in "rcb"} == {
        "r": "Pathwise()",
        "c": "Pathwise()",
        "b": "ForwardDifference()",
    }
    _, grads, _ = program.step(program.init(0, rows), rows)
    p = 1 / (1 + math.exp(-LOGIT))
    assert grads["logit"] == pytest.approx((0.7**2 - 0.3**2) * p * (1 - p), rel=1e-6)

    def moments(slope, density, low, high):
        return [integrate.quad(lambda x, n=n: slope(x) ** n * density(x), low, high)[0] for n in (1, 2)]

    law = stats.rayleigh(scale=SCALE).pdf
    first, second = moments(lambda r: r / math.sqrt(1 + r * r), law, 0, 20)  # in log scale
    assert abs(grads["scale"] / N - first) < 5 * math.sqrt((second - first**2) / N)
    slope = lambda c: -math.sin(c) / (1 + K * math.cos(c)) * 4 * math.asinh(2 * c) / math.sqrt(1 + 4 * c * c)  # noqa: E731
    first, second = moments(slope, lambda c: (1 + K * math.cos(c)) / (2 * math.pi), -math.pi, math.pi)
    moved = integrate.quad(lambda c: math.asinh(2 * c) ** 2 * math.cos(c) / (2 * math.pi), -math.pi, math.pi)[0]
    assert first == pytest.approx(moved, rel=1e-9)  # the path's mean is the derivative of the mean
    assert abs(grads["k"] / N - first) < 5 * math.sqrt((second - first**2) / N)


def test_the_model_runs(capsys):
    assert "waves" in [entry.name for entry in cli.runnable()]
    assert cli.run_model("waves", []) == 0
    fitted, closed = (float(word.strip(",")) for word in capsys.readouterr().out.split() if word[0].isdigit())
    heights = np.random.default_rng(0).rayleigh(2.0, 500)
    assert closed == pytest.approx(math.sqrt(np.mean(heights**2) / 2), abs=1e-3)
    assert fitted == pytest.approx(closed, rel=1e-2)
