"""Closed KL divergences against quadrature and enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from distribution_laws import leaf, value_of, values_of
from scipy import integrate, special

from ppl.distributions import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Cauchy,
    Chi2,
    Dirichlet,
    Exponential,
    Gamma,
    Geometric,
    Gumbel,
    HalfCauchy,
    HalfNormal,
    InverseGamma,
    Laplace,
    LogNormal,
    LowRankMultivariateNormal,
    Multinomial,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    OneHotCategorical,
    Pareto,
    Poisson,
    Uniform,
    VonMises,
    Weibull,
    kl,
    kl_divergence,
)
from ppl.distributions.divergences import KL_PAIRS
from ppl.distributions.families.family import FAMILIES
from ppl.errors import ModelError, ShapeError
from ppl.ir.differentiate import gradient

TRIL = np.array([[0.6, 0.3], [0.3, 1.2]])

LOW_RANK = LowRankMultivariateNormal(np.array([0.1, -0.3]), [[0.5], [-0.7]], [0.4, 0.6])

GAUSSIANS = (
    MultivariateNormal(np.array([0.5, -1.0]), scale_tril=[[0.6, 0.0], [-0.4, 1.2]]),
    LOW_RANK,
    Normal(np.array([0.0, 0.3]), np.array([1.0, 0.8])),
    MultivariateNormal(np.array([0.2, 0.2]), scale_diag=np.array([0.9, 0.5])),
)

PAIRS = [
    (Normal(0.3, 0.7), Normal(-1.0, 2.0), (-12.0, 12.0)),
    (Normal(0.3, 3.0), Normal(1.0, 0.5), (-40.0, 40.0)),
    (LogNormal(0.3, 0.7), LogNormal(-0.2, 1.1), (1e-9, 400.0)),
    (Exponential(0.5), Exponential(3.0), (0.0, 200.0)),
    (Gamma(2.5, 0.5), Gamma(1.2, 3.0), (1e-9, 200.0)),
    (Beta(2.5, 1.7), Beta(1.2, 3.0), (0.0, 1.0)),
    (VonMises(0.3, 2.5), VonMises(-2.0, 0.4), (-np.pi, np.pi)),
    (VonMises(0.3, 40.0), VonMises(0.4, 90.0), (-np.pi, np.pi)),
    (Dirichlet([2.5, 1.7, 3.1]), Dirichlet([1.2, 3.0, 0.8]), "simplex"),
    (MultivariateNormal([0.5, -1.0], scale_tril=[[0.6, 0.0], [-0.4, 1.2]]), Normal([0.0, 0.3], [1.0, 0.8]), "plane"),
    *((p, q, "plane") for p, q in itertools.permutations(GAUSSIANS, 2)),
    (MultivariateNormal(np.zeros(2), TRIL), MultivariateNormal(np.ones(2), np.eye(2)), "plane"),
    (LOW_RANK, LowRankMultivariateNormal(np.ones(2), [[0.3], [0.8]], [0.5, 0.9]), "plane"),
    (Exponential(0.5), Gamma(1.7, 0.9), "quantiles"),
    (Gamma(1.7, 0.9), Exponential(0.5), "quantiles"),
    (Laplace(0.3, 0.7), Laplace(-1.0, 2.0), "quantiles"),
    (Uniform(0.2, 1.0), Uniform(-1.0, 1.0), "quantiles"),
    (Gumbel(0.3, 0.7), Gumbel(-1.0, 2.0), "quantiles"),
    (Cauchy(0.3, 0.7), Cauchy(-1.0, 2.0), "quantiles"),
    (HalfCauchy(0.7), HalfCauchy(2.0), "quantiles"),
    (Weibull(1.5, 0.7), Weibull(0.8, 2.0), "quantiles"),
    (Pareto(2.0, 3.0), Pareto(1.5, 0.8), "quantiles"),
    (InverseGamma(2.5, 0.7), InverseGamma(1.2, 2.0), "quantiles"),
    (Chi2(3.3), Chi2(7.0), "quantiles"),
    (HalfNormal(0.7), HalfNormal(2.0), "quantiles"),
    (Poisson(3.0), Poisson(2.0), "counts"),
    (Geometric(0.3), Geometric(logits=0.9), "counts"),
    (Geometric(1.0), Geometric(0.4), "counts"),
    (NegativeBinomial(2.5, 0.3), NegativeBinomial(2.5, logits=0.5), "counts"),
    (NegativeBinomial(2.5, 0.0), NegativeBinomial(2.5, 0.5), "counts"),
    (Binomial(7, 0.2), Binomial(7, logits=0.5), None),
    (Binomial(7, 1.0), Binomial(7, 0.4), None),
    (Multinomial(4, [0.2, 0.5, 0.3]), Multinomial(4, logits=[0.1, 0.3, 0.6]), None),
    (Multinomial(4, [0.2, 0.0, 0.8]), Multinomial(4, [0.1, 0.3, 0.6]), None),
    (Bernoulli(0.2), Bernoulli(0.7), None),
    (Bernoulli(logits=1.3), Bernoulli(0.4), None),
    (Bernoulli(probs=1.0), Bernoulli(logits=0.4), None),
    (Categorical([0.2, 0.5, 0.3]), Categorical(logits=[0.0, 1.0, -2.0]), None),
    (Categorical([0.2, 0.0, 0.8]), Categorical([0.1, 0.3, 0.6]), None),
    (OneHotCategorical(logits=[0.0, -np.inf, 3.0]), OneHotCategorical([0.1, 0.3, 0.6]), None),
]


def by_definition(p, q, ends):
    def integrand(x):
        gap = p.log_prob(x) - q.log_prob(x)
        weight = np.exp(p.log_prob(x))
        return np.where(weight > 0, weight * np.where(weight > 0, gap, 0.0), 0.0)

    if ends is None:
        with np.errstate(invalid="ignore"):
            return integrand(p.support_table()).sum()
    if ends == "simplex":
        t = np.linspace(-22, 22, 401)
        y = np.stack([*np.meshgrid(t, t, indexing="ij"), np.zeros((401, 401))], -1)
        x = special.softmax(y, -1)
        x /= x.sum(-1, keepdims=True)
        return (integrand(x) * x.prod(-1)).sum() * (t[1] - t[0]) ** 2
    if ends == "counts":
        return integrand(np.arange(200.0)).sum()
    if ends == "quantiles":  # E_p by its quantile function, in log-odds
        y = np.linspace(-34.0, 34.0, 200001)
        with np.errstate(all="ignore"):
            x = p.icdf(special.expit(y))
            gaps = np.where(np.isfinite(x), p.log_prob(x) - q.log_prob(x), 0.0)
        return integrate.simpson(gaps * special.expit(y) * special.expit(-y), x=y)
    if ends == "plane":
        t = np.linspace(-12, 12, 801)
        x = np.stack(np.meshgrid(t, t, indexing="ij"), -1)
        return (np.exp(p.log_prob(x)) * (p.log_prob(x) - q.log_prob(x))).sum() * (t[1] - t[0]) ** 2
    if isinstance(p, Gamma):  # in log x
        return integrate.quad(lambda y: integrand(np.exp(y)) * np.exp(y), -25, 6, limit=400)[0]
    if isinstance(p, LogNormal):  # in log x
        return integrate.quad(lambda y: integrand(np.exp(y)) * np.exp(y), -15, 8, limit=400)[0]
    return integrate.quad(integrand, *ends, limit=400, points=(0.3,))[0]


@pytest.mark.parametrize(("p", "q", "ends"), PAIRS, ids=[f"{type(p).__name__}{i}" for i, (p, *_) in enumerate(PAIRS)])
def test_against_the_definition(p, q, ends):
    assert kl(p, q) == pytest.approx(by_definition(p, q, ends), rel=1e-7)
    if type(p) is type(q):
        assert kl(p, p) == pytest.approx(0.0, abs=1e-14)


def test_every_pair_is_tested():
    assert {(type(p), type(q)) for p, q, _ in PAIRS} == set(KL_PAIRS) | {(c, c) for c in FAMILIES}


def test_tails():
    assert kl(Bernoulli(logits=1e4), Bernoulli(logits=-1e4)) == pytest.approx(1e4)
    assert kl(Bernoulli(0.5), Bernoulli(1.0)) == np.inf
    assert kl(Categorical([0.5, 0.5]), Categorical([1.0, 0.0])) == np.inf
    assert kl(Categorical([0.0, 1.0]), Categorical([0.0, 1.0])) == 0.0
    assert kl(Normal(0.0, 1e-8), Normal(0.0, 1.0)) == pytest.approx(-np.log(1e-8) - 0.5)


def test_sums_over_units_and_respects_masks():
    p, q = Normal(np.array([0.0, 1.0, 2.0]), 1.0), Normal(0.0, 1.0).expand((3,))
    assert kl(p, q) == pytest.approx(2.5)
    mask = np.array([True, False, True])
    assert kl(p.mask(mask), q.mask(mask)) == pytest.approx(2.0)
    assert kl_divergence(p.mask(mask), q) is None
    with pytest.raises(ModelError, match="no closed form"):
        kl(p.mask(mask), q)


def test_refusals():
    assert kl_divergence(Normal(0, 1), Gumbel(0, 1)) is None
    with pytest.raises(ModelError, match="Gumbel"):
        kl(Normal(0, 1), Gumbel(0, 1))
    with pytest.raises(ShapeError, match="event shapes differ"):
        kl(Normal(0, 1), Normal(np.zeros(2), 1))
    with pytest.raises(ShapeError, match="3 and 2 classes"):
        kl(Categorical(np.ones(3) / 3), Categorical([0.5, 0.5]))


def test_symbolic_value_and_gradient():
    loc, scale = leaf("loc", (2,)), leaf("scale", (2,))
    node = kl_divergence(Normal(loc, scale), Normal(np.zeros(2), 1.0))
    at = {"loc": np.array([0.5, -1.0]), "scale": np.array([0.3, 2.0])}
    assert value_of(node, **at) == pytest.approx(kl(Normal(at["loc"], at["scale"]), Normal(np.zeros(2), 1.0)))
    d_loc, d_scale = values_of(gradient(node, [loc, scale]), **at)
    np.testing.assert_allclose(d_loc, at["loc"])
    np.testing.assert_allclose(d_scale, at["scale"] - 1 / at["scale"])
    shown = kl(Normal(loc, scale), Normal(np.zeros(2), 1.0))
    assert shown.__ppl_node__ is node
