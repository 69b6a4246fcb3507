"""Nodes whose distribution is a combinator: which estimator they get, and its mean against quadrature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import integrate, special, stats

import ppl
from ppl import Bernoulli, Exponential, Gamma, Laplace, Mixture, Normal, Poisson, Transformed, Truncated, Uniform
from ppl import bijectors as b
from ppl.errors import EstimatorError

ERRORS, SHARE = 5.0, 0.01


def cost(x):
    return np.sin(1.3 * x) + 0.3 * x**2


class Case(NamedTuple):
    """A distribution of named parameters, the estimator it gets, and the density (or the loss) written with scipy."""

    params: dict[str, Any]
    dist: Callable[..., Any]
    estimator: str
    pdf: Callable[..., Any] | None = None
    loss: Callable[..., float] | None = None
    cost: Callable[[Any], Any] = cost
    range: tuple[float, float] = (-25.0, 25.0)


def mixture_pdf(*laws):
    def pdf(x, logits, **params):
        w = special.softmax(logits)
        return sum(w[k] * law(x, **params) for k, law in enumerate(laws))

    return pdf


def normal(k):
    return lambda x, loc, scale: stats.norm(loc[k], scale[k]).pdf(x)


TWO = {"logits": np.array([0.2, -0.4]), "loc": np.array([-1.0, 1.5]), "scale": np.array([0.6, 0.9])}
CASES = {
    "normals": Case(
        TWO, lambda logits, loc, scale: Mixture(logits=logits, components=Normal(loc, scale)), "SumComponents()",
        mixture_pdf(normal(0), normal(1)),
    ),
    "families": Case(
        {"logits": np.array([0.2, -0.4]), "loc": np.array(0.5), "scale": np.array(0.8)},
        lambda logits, loc, scale: Mixture(logits=logits, components=[Normal(loc, scale), Laplace(-loc, 1.5)]),
        "SumComponents()",
        mixture_pdf(
            lambda x, loc, scale: stats.norm(loc, scale).pdf(x), lambda x, loc, scale: stats.laplace(-loc, 1.5).pdf(x)
        ),
    ),
    "disjoint uniforms": Case(
        {"logits": np.array([0.2, -0.4])},
        lambda logits: Mixture(logits=logits, components=Uniform([0.0, 2.0], [1.0, 5.0])), "SumComponents()",
        loss=lambda logits: special.softmax(logits) @ [
            integrate.quad(cost, 0, 1)[0], integrate.quad(cost, 2, 5)[0] / 3
        ],
    ),
    "counts": Case(
        {"logits": np.array([0.2, -0.4]), "rate": np.array([1.0, 4.0])},
        lambda logits, rate: Mixture(logits=logits, components=Poisson(rate)),
        "ScoreFunction(baseline='leave_one_out')",
        loss=lambda logits, rate: special.softmax(logits) @ [
            stats.poisson(r).pmf(np.arange(80)) @ cost(np.arange(80.0)) for r in rate
        ],
    ),
    "bits": Case(
        {"logits": np.array([0.2, -0.4]), "bits": np.array([1.0, -2.0])},
        lambda logits, bits: Mixture(logits=logits, components=Bernoulli(logits=bits)), "Enumerate()",
        loss=lambda logits, bits: cost(1.0) * (special.softmax(logits) @ special.expit(bits)),
    ),
    "diagonal normals": Case(
        {"logits": np.array([0.2, -0.4]), "loc": np.array([[-1.0, 0.4], [0.7, -0.2]]),
         "scale": np.array([[0.6, 0.9], [1.1, 0.5]])},
        lambda logits, loc, scale: Mixture(logits=logits, components=Normal(loc, scale), joint=1), "SumComponents()",
        loss=lambda logits, loc, scale: special.softmax(logits) @ (
            loc[:, 0] * loc[:, 1] + loc[:, 1] ** 2 + scale[:, 1] ** 2
            + np.sin(loc[:, 0]) * np.exp(-scale[:, 0] ** 2 / 2)
        ),
        cost=lambda x: x[0] * x[1] + x[1] ** 2 + np.sin(x[0]),
    ),
    "softplus of a normal": Case(
        {"loc": np.array(0.5), "scale": np.array(0.8), "shift": np.array(-1.0), "width": np.array(1.7)},
        lambda loc, scale, shift, width: Transformed(Normal(loc, scale), b.Softplus(), b.Affine(shift, width)),
        "Pathwise()",
        loss=lambda loc, scale, shift, width: integrate.quad(
            lambda z: stats.norm.pdf(z) * cost(shift + width * np.logaddexp(0, loc + scale * z)), -12, 12, limit=200
        )[0],
    ),
    "inverse gamma": Case(
        {"concentration": np.array(4.5), "rate": np.array(1.2)},
        lambda concentration, rate: Transformed(Gamma(concentration, rate), b.Power(-1.0)), "Pathwise()",
        lambda x, concentration, rate: stats.invgamma(concentration, scale=rate).pdf(x),
        cost=np.sin, range=(0.0, 200.0),
    ),
    "truncated normal": Case(
        {"loc": np.array(0.5), "scale": np.array(0.8), "low": np.array(-0.4)},
        lambda loc, scale, low: Truncated(Normal(loc, scale), low, 1.7), "Pathwise()",
        loss=lambda loc, scale, low: integrate.quad(
            lambda x: cost(x) * stats.norm(loc, scale).pdf(x), low, 1.7
        )[0] / (stats.norm(loc, scale).cdf(1.7) - stats.norm(loc, scale).cdf(low)),
    ),
    "upper exponential": Case(
        {"rate": np.array(0.9)}, lambda rate: Truncated(Exponential(rate), 1.5, 4.0), "Pathwise()",
        lambda x, rate: stats.expon(scale=1 / rate).pdf(x) / (np.exp(-1.5 * rate) - np.exp(-4 * rate)),
        range=(1.5, 4.0),
    ),
}  # fmt: skip
POSITIVE = ("scale", "rate", "width", "concentration")


def program_of(case, **options):
    @ppl.model
    def model():
        params = {
            k: ppl.param(k, v, shape=v.shape, constraint="positive" if k in POSITIVE else None)
            for k, v in case.params.items()
        }
        x = ppl.sample("x", case.dist(**params))
        ppl.cost("f", case.cost(x))

    return ppl.compile(model, particles=2, **options)


def exact_loss(case, **params):
    if case.loss is not None:
        return case.loss(**params)
    return integrate.quad(lambda x: case.cost(x) * case.pdf(x, **params), *case.range, limit=500, points=[0.0, 2.0])[0]


def exact_gradient(case):
    """By finite differences, with respect to the constrained parameters."""
    found = {}
    for key, value in case.params.items():
        grad = np.zeros(value.shape)
        for index in np.ndindex(value.shape):
            shift = np.zeros(value.shape)
            shift[index] = 1e-4
            high, low = (exact_loss(case, **{**case.params, key: value + s * shift}) for s in (1, -1))
            grad[index] = (high - low) / 2e-4
        found[key] = grad
    return found


def slopes(program, state):
    """d constrained / d unconstrained of every parameter, by finite differences of the package's own map."""
    here, found = program.params(state), {}
    for key, raw in state.params.items():
        moved = state.replace(params={**state.params, key: raw + np.float32(1e-2)})
        back = state.replace(params={**state.params, key: raw - np.float32(1e-2)})
        found[key] = (
            np.asarray(program.params(moved)[key], float) - np.asarray(program.params(back)[key], float)
        ) / 2e-2
        assert np.allclose(here[key], np.asarray(program.params(state)[key]))
    return found


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if i % 2 else ()) for i, n in enumerate(CASES)]
)
def test_chosen_estimator_is_unbiased(name):
    case = CASES[name]
    program = program_of(case)
    assert program.explain()["x"].estimator.label == case.estimator
    state = program.init(seed=1)
    exact, chain = exact_gradient(case), slopes(program, state)
    gradients, losses = [], []
    particles = 2 if case.estimator == "Enumerate()" else 200_000
    for seed in range(20):
        loss, grads = program.value_and_grad(state, seed=seed, particles=particles)
        losses.append(float(loss))
        gradients.append(np.concatenate([np.ravel(grads[k]) for k in case.params]))
    wanted = np.concatenate([np.ravel(exact[k] * chain[k]) for k in case.params])
    mean, error = np.mean(gradients, 0), np.std(gradients, 0, ddof=1) / np.sqrt(20)
    norm = np.linalg.norm(wanted)
    assert np.linalg.norm(error) <= SHARE * norm
    assert (np.abs(mean - wanted) <= ERRORS * error + 2e-4 * norm).all(), (mean, wanted, error)
    loss = exact_loss(case, **case.params)
    assert abs(np.mean(losses) - loss) <= ERRORS * np.std(losses, ddof=1) / np.sqrt(20) + 1e-4 * abs(loss)


def test_reasons_and_refusals():
    plan = program_of(CASES["disjoint uniforms"]).explain()["x"]
    refused = {c.estimator.label: c.verdict for c in plan.candidates}
    assert "no component covers the others" in refused["Pathwise()"]
    moving = CASES["truncated normal"]
    with pytest.raises(EstimatorError, match="support moves with the learnable low"):
        program_of(moving, estimators=ppl.estimators.ScoreFunction())


def test_bound_of_a_mixture_guide():
    """elbo with a mixture guide: log q of the own sample has no jump, so paths inside the components are admitted."""

    @ppl.model
    def generative():
        z = ppl.sample("z", Normal(0.0, 1.0))
        ppl.sample("x", Normal(z**2, 0.5), obs=np.array(1.0))

    @ppl.model
    def guide():
        logits = ppl.param("logits", np.array([0.3, 0.0]))
        ppl.sample("z", Mixture(logits=logits, components=Normal(np.array([-1.0, 1.0]), 0.4)))

    program = ppl.compile(ppl.elbo(generative, guide), particles=2)
    assert program.explain()["z"].estimator.label == "SumComponents()"
    state = program.init(seed=0)

    def bound(logits):
        w = special.softmax(logits)

        def integrand(z):
            q = w @ [stats.norm(m, 0.4).pdf(z) for m in (-1.0, 1.0)]
            return q * (np.log(q) - stats.norm.logpdf(z) - stats.norm(z**2, 0.5).logpdf(1.0))

        return integrate.quad(integrand, -6, 6, limit=300)[0]

    h = np.array([1e-4, 0.0])
    slope = (bound(np.array([0.3, 0.0]) + h) - bound(np.array([0.3, 0.0]) - h)) / 2e-4
    found = [program.value_and_grad(state, seed=s, particles=100_000)[1]["logits"][0] for s in range(20)]
    assert abs(np.mean(found) - slope) <= ERRORS * np.std(found, ddof=1) / np.sqrt(20) + 1e-5
