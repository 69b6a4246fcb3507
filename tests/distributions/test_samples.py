"""Samples of every registered distribution have its law, and their paths the implicit derivative."""

from __future__ import annotations

import numpy as np
import pytest
from distribution_laws import CASES, IDS, LAWS, build, noise_of, symbolic, value_of, values_of
from scipy import special, stats

from ppl.distributions import REGISTRY
from ppl.distributions.base import KEY
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.types import Axis, Kind

N = 20_000  # draws of the tests of moments
MANY = 100_000  # draws of the tests of fit
LEVEL = 1e-3  # of every goodness-of-fit test, at fixed seeds
each_case = pytest.mark.parametrize(("name", "case"), CASES, ids=IDS)


def draws(dist, n=N, seed=3):
    return value_of(ops.expand(dist.draw(*noise_of(dist, n)), (Axis("draws", Kind.PLATE, n),)), seed)


@each_case
def test_goodness_of_fit(name, case):
    dist = build(name, case)
    x = draws(dist, MANY)
    assert x.shape == (MANY, *dist.event_shape)
    if dist.dtype == "int" and hasattr(LAWS[name].reference(**case), "ppf"):
        law = LAWS[name].reference(**case)
        last = np.unique(law.ppf(np.linspace(0.01, 0.99, 20)))  # the last count of every class
        counts = np.histogram(x, [-np.inf, *(last + 0.5), np.inf])[0]
        wanted = np.diff([0.0, *law.cdf(last), 1.0]) * MANY
        assert (counts[wanted < 1e-9] == 0).all()
        keep = wanted >= 1e-9
        if keep.sum() > 1:
            assert stats.chisquare(counts[keep], wanted[keep] * MANY / wanted[keep].sum()).pvalue > LEVEL
    elif dist.unit_support() is not None:
        table = dist.support_table()
        wanted = np.exp(dist.log_prob(table)) * MANY
        counts = np.array([(x.reshape(MANY, -1) == row.reshape(-1)).all(-1).sum() for row in table])
        assert counts.sum() == MANY
        assert (counts[wanted < 1e-9] == 0).all()
        keep = wanted >= 1e-9
        if keep.sum() > 1:
            assert stats.chisquare(counts[keep], wanted[keep] * MANY / wanted[keep].sum()).pvalue > LEVEL
    elif name == "Dirichlet":  # its marginals are beta variables
        for i, c in enumerate(case["concentration"]):
            assert stats.kstest(x[:, i], stats.beta(c, case["concentration"].sum() - c).cdf).pvalue > LEVEL
    elif name == "MultivariateNormal":  # standardised, its entries are independent standard normals
        y = value_of(dist.standardized(ops.distribute(ops.const(x), Axis("rows", Kind.PLATE, MANY))))
        assert stats.kstest(y.ravel(), "norm").pvalue > LEVEL
        assert np.abs(np.corrcoef(y.T) - np.eye(3)).max() < 4 / np.sqrt(MANY)
    elif name == "Delta":
        assert (x == case["v"]).all()
    elif name in ("GaussianRandomWalk", "LowRankMultivariateNormal"):
        law = LAWS[name].reference(**case)
        y = np.linalg.solve(np.linalg.cholesky(law.cov()), (x - law.mean()).T).T
        assert stats.kstest(y.ravel(), "norm").pvalue > LEVEL
        assert np.abs(np.corrcoef(y.T) - np.eye(3)).max() < 4 / np.sqrt(MANY)
    elif name == "LKJCholesky":  # every correlation is a beta variable on (-1, 1)
        correlation, shape = x @ np.swapaxes(x, 1, 2), case["concentration"] + case["dim"] / 2 - 1
        for i, j in ((1, 0), (2, 0), (2, 1)):
            assert stats.kstest(correlation[:, i, j], stats.beta(shape, shape, -1, 2).cdf).pvalue > LEVEL
    elif dist.unit_rank:
        a = value_of(dist.logits)  # the ratio of two classes is a binary Concrete variable
        t = case["temperature"]
        for i, j in ((0, 1), (2, 1)):
            z = t * (np.log(x[:, i]) - np.log(x[:, j])) - (a[i] - a[j])
            assert stats.kstest(z, stats.logistic.cdf).pvalue > LEVEL
    else:
        assert stats.kstest(x, LAWS[name].reference(**case).cdf).pvalue > LEVEL


@each_case
def test_moments(name, case):
    dist = build(name, case)
    x = draws(dist, seed=5)
    if "mean" in LAWS[name].closed:
        gap = x - dist.mean
        gap = np.angle(np.exp(1j * gap)) if dist.angular else gap
        error = gap.std(0) / np.sqrt(N)
        assert (np.abs(gap.mean(0)) <= 5 * error + 1e-12).all()
    if "entropy" in LAWS[name].closed:
        surprise = -dist.log_prob(x)
        assert abs(surprise.mean() - dist.entropy()) <= 5 * surprise.std() / np.sqrt(N) + 1e-12
    if hasattr(LAWS[name].reference(**case), "var") and not LAWS[name].heavy(**case):
        wanted = LAWS[name].reference(**case).var()
        deviation = (x - x.mean()) ** 2
        assert abs(deviation.mean() - wanted) <= 6 * deviation.std() / np.sqrt(N) + 1e-12


@each_case
def test_path_has_the_implicit_derivative(name, case):
    """dx/dtheta = -(dF/dtheta) / p, in one dimension, for every parameter."""
    dist = build(name, case)
    if not dist.reparameterized or dist.unit_rank or dist.implicit or not dist.uniforms():
        return  # implicit paths: below; Delta has no noise
    n = 64
    dist, leaves, at = symbolic(dist.expand((n,)))
    u = (np.arange(n) + 0.5) / n
    x = dist.draw(ops.const(u))
    fixed = ops.const(value_of(x, **at))
    wrt = list(leaves.values())
    path = values_of(gradient(ops.reduce_sum(x), wrt), **at)
    slope_of_cdf = values_of(gradient(ops.reduce_sum(dist.node_cdf(fixed)), wrt), **at)
    density = np.exp(value_of(dist.unit_log_prob(fixed), **at))
    inside = (u > 0.02) & (u < 0.98)
    for key, dx, df in zip(leaves, path, slope_of_cdf, strict=True):
        np.testing.assert_allclose(dx[inside], (-df / density)[inside], rtol=1e-6, atol=1e-9, err_msg=key)


def test_relaxed_one_hot_path_of_two_classes_is_the_binary_one():
    u = np.array([[0.3, 0.8], [0.9, 0.05]])
    rows, leaves, at = symbolic(REGISTRY["RelaxedOneHotCategorical"](0.7, logits=np.array([0.4, -0.2])))
    first = ops.reduce_sum(ops.mul(rows.draw(ops.const(u)), np.array([1.0, 0.0])))
    temperature, logits = values_of(gradient(first, list(leaves.values())), **at)
    gumbels = -np.log(-np.log(u))
    z = (0.6 + gumbels[:, 0] - gumbels[:, 1]) / 0.7
    slope = special.expit(z) * special.expit(-z)
    np.testing.assert_allclose(logits, [slope.sum() / 0.7, -slope.sum() / 0.7], rtol=1e-12)
    assert temperature.sum() == pytest.approx((-z * slope).sum() / 0.7, rel=1e-12)


def test_samples_follow_the_inverse_cdf_into_the_tails():
    u = np.array([2.0**-53, 1e-12, 0.5, 1 - 1e-12])
    for name, law in LAWS.items():
        dist = build(name, law.cases[0])
        if dist.reparameterized and KEY not in dist.uniforms() and not dist.unit_rank and "cdf" in law.closed:
            x = value_of(dist.draw(ops.const(u)))
            assert np.isfinite(x).all(), name
            wanted = law.reference(**law.cases[0])
            if hasattr(wanted, "ppf"):
                np.testing.assert_allclose(x, wanted.ppf(u), rtol=1e-8, atol=1e-14, err_msg=name)
