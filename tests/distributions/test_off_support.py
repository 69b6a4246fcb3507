"""`log_prob` off the support: -inf, and a `DataError` where such a value is observed.

The values are listed by hand, not read off the declared supports.
"""

from __future__ import annotations

import numpy as np
import pytest

import ppl
from ppl.distributions import REGISTRY
from ppl.errors import DataError, ModelError
from ppl.lang import trace_model

INF, NAN = np.inf, np.nan
E3, TWO = np.full(3, 1 / 3), np.array([0.5, 0.5])
REAL = [INF, -INF]
POSITIVE = [-0.1, -1e-300, *REAL]
COUNTS = [0.5, -1, 1e-9, *REAL]
UNIT = [-0.1, 1.1, 1 + 1e-12, *REAL]
UPTO3 = [*COUNTS, 4, 2.5]
BITS = [0.5, -1, 2, 1e-9, 1 - 1e-9, *REAL]
ONE_HOT = [E3, [1, 1, 0], [0.5, 0.5, 0], [0, 0, 0], [2, -1, 0], [-1, 1, 1], [INF, 0, 0], [1 + 1e-7, 0, 0], [1, 1e-9, 0]]
SIMPLEX = [[0.5, 0.6, 0.1], [-0.1, 0.6, 0.5], [0.2, 0.2, 0.2], [INF, 0, 0], [0.5, 0.5, INF]]
COUNTS_OF_3 = [[1, 1, 0], [1, 1, 2], [0.5, 0.5, 2], [-1, 2, 2], [INF, 0, 0], [1.5, 1.5, 0], [4, -1, 0]]
ORDERS = [[0, 0, 1], [0, 1, 3], [1, 2, 3], [0, 0.5, 1], [-1, 0, 1], [0, 1, INF]]
FACTORS = [[[1, 0], [0.5, 0.5]], [[1, 0.1], [0, 1]], [[2, 0], [0, 1]], [[1, 0], [0, -1]], [[1, 0], [0.6, -0.8]]]

CASES = {
    "Bernoulli": (ppl.Bernoulli(0.5), BITS),
    "Bernoulli-logits": (ppl.Bernoulli(logits=0.5), BITS),
    "Bernoulli-row": (ppl.Bernoulli(TWO), [[0.5, 0], [0, 2], [INF, 0]]),
    "Beta": (ppl.Beta(2.0, 2.0), UNIT),
    "Beta-flat": (ppl.Beta(1.0, 1.0), UNIT),
    "Beta-poles": (ppl.Beta(0.5, 0.5), UNIT),
    "BetaBinomial": (ppl.BetaBinomial(1.0, 2.0, 3), UPTO3),
    "Binomial": (ppl.Binomial(3, 0.5), UPTO3),
    "Binomial-logits": (ppl.Binomial(3, logits=0.5), UPTO3),
    "Categorical": (ppl.Categorical(E3), [*COUNTS, 3, 1e30]),
    "Categorical-logits": (ppl.Categorical(logits=np.zeros(3)), [*COUNTS, 3]),
    "Cauchy": (ppl.Cauchy(0.0, 1.0), REAL),
    "Chi2": (ppl.Chi2(3.0), POSITIVE),
    "Delta": (ppl.Delta(1.0), [0.0, 1.1, *REAL]),
    "Dirichlet": (ppl.Dirichlet(np.full(3, 2.0)), SIMPLEX),
    "Dirichlet-flat": (ppl.Dirichlet(np.ones(3)), SIMPLEX),
    "DiscreteUniform": (ppl.DiscreteUniform(0, 3), UPTO3),
    "Exponential": (ppl.Exponential(1.0), POSITIVE),
    "Gamma": (ppl.Gamma(2.0, 1.0), POSITIVE),
    "Gamma-exponential": (ppl.Gamma(1.0, 1.0), POSITIVE),
    "Gamma-pole": (ppl.Gamma(0.5, 1.0), POSITIVE),
    "GaussianRandomWalk": (ppl.GaussianRandomWalk(1.0, 3), [[INF, 0, 0], [0, -INF, 1]]),
    "Geometric": (ppl.Geometric(0.5), COUNTS),
    "Geometric-logits": (ppl.Geometric(logits=0.5), COUNTS),
    "Gumbel": (ppl.Gumbel(0.0, 1.0), REAL),
    "HalfCauchy": (ppl.HalfCauchy(1.0), POSITIVE),
    "HalfNormal": (ppl.HalfNormal(1.0), POSITIVE),
    "InverseGamma": (ppl.InverseGamma(2.0, 1.0), [0.0, *POSITIVE]),
    "Kumaraswamy": (ppl.Kumaraswamy(2.0, 2.0), UNIT),
    "LKJCholesky": (ppl.LKJCholesky(2, 1.0), FACTORS),
    "Laplace": (ppl.Laplace(0.0, 1.0), REAL),
    "LogNormal": (ppl.LogNormal(0.0, 1.0), [0.0, *POSITIVE]),
    "Logistic": (ppl.Logistic(0.0, 1.0), REAL),
    "LowRankMultivariateNormal": (
        ppl.LowRankMultivariateNormal(np.zeros(3), np.ones((3, 1)), np.ones(3)), [[INF, 0, 0], [INF, -INF, 0]],
    ),
    "Multinomial": (ppl.Multinomial(3, E3), COUNTS_OF_3),
    "MultivariateNormal": (ppl.MultivariateNormal(np.zeros(2), scale_tril=np.eye(2)), [[INF, 0], [0, -INF]]),
    "NegativeBinomial": (ppl.NegativeBinomial(3.0, 0.5), COUNTS),
    "NegativeBinomial-logits": (ppl.NegativeBinomial(3.0, logits=0.5), COUNTS),
    "Normal": (ppl.Normal(0.0, 1.0), REAL),
    "OneHotCategorical": (ppl.OneHotCategorical(E3), ONE_HOT),
    "OneHotCategorical-logits": (ppl.OneHotCategorical(logits=np.zeros(3)), ONE_HOT),
    "Pareto": (ppl.Pareto(1.0, 1.0), [0.9, 0.0, *POSITIVE]),
    "PlackettLuce": (ppl.PlackettLuce(E3), ORDERS),
    "Poisson": (ppl.Poisson(1.0), COUNTS),
    "RelaxedBernoulli": (ppl.RelaxedBernoulli(0.5, 0.5), [0, 1, *UNIT]),
    "RelaxedOneHotCategorical": (ppl.RelaxedOneHotCategorical(0.5, E3), [[1, 0, 0], *SIMPLEX]),
    "StudentT": (ppl.StudentT(3.0, 0.0, 1.0), REAL),
    "TruncatedNormal": (ppl.TruncatedNormal(0.0, 1.0, 0.0, 2.0), [-0.1, 2.1, *REAL]),
    "Uniform": (ppl.Uniform(0.0, 1.0), UNIT),
    "VonMises": (ppl.VonMises(0.0, 1.0), REAL),  # its density has a period, so that all other numbers are angles
    "Weibull": (ppl.Weibull(2.0, 1.0), POSITIVE),
    "Weibull-pole": (ppl.Weibull(0.5, 1.0), POSITIVE),
    "ZeroInflatedPoisson": (ppl.ZeroInflatedPoisson(0.5, 1.0), COUNTS),
    "ZeroInflatedPoisson-logits": (ppl.ZeroInflatedPoisson(rate=1.0, gate_logits=0.5), COUNTS),
    "Mixture-Normal": (ppl.Mixture(TWO, ppl.Normal(np.zeros(2), 1.0)), REAL),
    "Mixture-Gamma": (ppl.Mixture(TWO, ppl.Gamma(TWO, 1.0)), POSITIVE),
    "Mixture-Poisson": (ppl.Mixture(TWO, ppl.Poisson(TWO)), COUNTS),
    "Mixture-Bernoulli": (ppl.Mixture(TWO, ppl.Bernoulli(TWO)), BITS),
    "Mixture-Bernoulli-joint": (ppl.Mixture(TWO, ppl.Bernoulli(np.full((2, 2), 0.2)), joint=1), [[0, 0.5], [2, 1]]),
    "Mixture-Categorical": (ppl.Mixture(TWO, ppl.Categorical(np.full((2, 3), 1 / 3))), [*COUNTS, 3]),
    "Mixture-OneHot": (ppl.Mixture(TWO, ppl.OneHotCategorical(np.full((2, 3), 1 / 3))), ONE_HOT),
    "Mixture-listed": (ppl.Mixture(TWO, [ppl.Gamma(2.0, 1.0), ppl.Exponential(1.0)]), POSITIVE),
    "Transformed-Exp": (ppl.Transformed(ppl.Normal(0.0, 1.0), ppl.bijectors.Exp()), [0.0, *POSITIVE]),
    "Transformed-Sigmoid": (ppl.Transformed(ppl.Normal(0.0, 1.0), ppl.bijectors.Sigmoid()), [0, 1, *UNIT]),
    "Transformed-Affine": (ppl.Transformed(ppl.Gamma(2.0, 1.0), ppl.bijectors.Affine(1.0, 2.0)), [0.9, *REAL]),
    "Truncated-Normal": (ppl.Truncated(ppl.Normal(0.0, 1.0), 0.0, 2.0), [-0.1, 2.1, *REAL]),
    "Truncated-Gamma": (ppl.Truncated(ppl.Gamma(2.0, 1.0), 0.5, 2.0), [-0.1, 0.4, 2.1, *REAL]),
    "Truncated-Gamma-below": (ppl.Truncated(ppl.Gamma(2.0, 1.0), -1.0, 2.0), [-0.5, -1.5, 2.1, *REAL]),
    "Truncated-Gamma-above": (ppl.Truncated(ppl.Gamma(2.0, 1.0), 0.5), [0.4, *REAL]),
    "Truncated-Poisson": (ppl.Truncated(ppl.Poisson(2.0), 1.0, 5.0), [0, 6, 1.5, *REAL]),
    "Truncated-Poisson-above": (ppl.Truncated(ppl.Poisson(2.0), 1.0), [0, 1.5, *REAL]),
    "Truncated-Poisson-far": (ppl.Truncated(ppl.Poisson(2.0), 1.0, 500.0), [0, 501, 1.5, *REAL]),
    "Truncated-Binomial": (ppl.Truncated(ppl.Binomial(9, 0.5), 1.0, 5.0), [0, 6, 1.5, *REAL]),
    "Truncated-Categorical": (ppl.Truncated(ppl.Categorical(E3), 1.0, 2.0), [0, 3, 1.5, *REAL]),
    "Truncated-Bernoulli": (ppl.Truncated(ppl.Bernoulli(0.5), 0.0, 1.0), BITS),
    "Truncated-DiscreteUniform": (ppl.Truncated(ppl.DiscreteUniform(0, 9), 2.0, 5.0), [1, 6, 2.5, *REAL]),
}  # fmt: skip


def test_every_distribution_is_listed():
    assert {name.split("-")[0] for name in CASES} == {*REGISTRY, "Mixture", "Transformed", "Truncated"}


@pytest.mark.parametrize("name", CASES)
def test_minus_infinity(name):
    dist, values = CASES[name]
    for value in values:
        found = dist.log_prob(np.asarray(value, float))
        assert found == -INF, (value, found)
    np.testing.assert_array_equal(dist.log_prob(np.array(values, float)), np.full(len(values), -INF))


@pytest.mark.parametrize("name", CASES)
def test_nan_has_no_finite_density(name):
    dist, values = CASES[name]
    assert not np.isfinite(dist.log_prob(np.full(np.shape(values[0]), NAN)))


def test_entries_under_a_mask_do_not_count():
    dist = ppl.Bernoulli(np.array([0.2, 0.5])).mask(np.array([True, False]))
    assert dist.log_prob([1.0, 0.5]) == pytest.approx(np.log(0.2))
    assert dist.log_prob([0.5, 1.0]) == -INF


def test_constants_of_a_model():
    """The same for numbers handed to `log_prob` of a law that a model computes."""

    @ppl.model
    def model():
        p = ppl.param("p", 0.3)
        for n, value in enumerate((0.0, 1.0, 0.5, 2.0)):
            ppl.deterministic(f"d{n}", ppl.Bernoulli(p).log_prob(value))
        row = ppl.OneHotCategorical(logits=p * np.arange(2.0))
        ppl.deterministic("rows", np.stack([row.log_prob([0.5, 0.5]), row.log_prob([1.0, 0.0])]))
        ppl.deterministic("count", ppl.Poisson(p).log_prob(np.inf))
        ppl.cost("c", ppl.sample("z", ppl.Normal(p, 1.0)))

    program = ppl.compile(model, dtype="float64")
    found = program.sample(program.init(seed=0), seed=0, nonfinite="keep")
    np.testing.assert_allclose([found[f"d{n}"] for n in range(4)], [np.log(0.7), np.log(0.3), -INF, -INF])
    np.testing.assert_allclose(found["rows"], [-INF, -np.log1p(np.exp(0.3))])
    assert found["count"] == -INF


SOFT = ("Bernoulli", "OneHotCategorical", "Mixture-Bernoulli", "Mixture-OneHot", "Truncated-Bernoulli")


def is_soft(name, value):
    """Whether an observation is a target between the classes, whose cross-entropy the density is extended to."""
    x = np.asarray(value, float)
    rows = ("OneHot" in name and abs(x.sum() - 1) < 1e-6) or "OneHot" not in name
    return name.startswith(SOFT) and rows and (x >= 0).all() and (x < 1 + 1e-6).all()


@pytest.mark.parametrize("name", [n for n in CASES if n != "LKJCholesky"])
def test_observed(name):
    dist, values = CASES[name]
    for value in values:
        if is_soft(name, value):
            continue

        def model(value=value):
            ppl.sample("x", dist, obs=np.asarray(value, float))

        with pytest.raises((DataError, ModelError), match="observes"):
            trace_model(model, {})


@pytest.mark.parametrize("value", FACTORS)
def test_observed_factors(value):
    """A matrix that is no Cholesky factor has an infinite loss, which is an error."""

    @ppl.model
    def model():
        ppl.sample("x", ppl.LKJCholesky(2, np.exp(ppl.param("a", 0.3))), obs=np.array(value, float))

    with pytest.raises((DataError, ppl.errors.NonFiniteError)):
        program = ppl.compile(ppl.likelihood(model))
        program.value(program.init(seed=0))
