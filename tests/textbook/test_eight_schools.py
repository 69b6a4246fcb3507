"""Eight schools beside the best normal guide, whose bound is in closed form, and the posterior by quadrature."""

import numpy as np
import pytest
from scipy.special import logsumexp

from tests.textbook.chains import chains, check_moments
from tests.textbook.normals import best_normal
from tests.textbook.runs import run

Y, E = np.array([28.0, 8, -3, 7, -1, 1, 18, 12]), np.array([15.0, 10, 16, 11, 9, 11, 10, 18])


def exact():
    """Mean and standard deviation of mu, tau and the effects, on a grid of tau: the others are normal given it."""
    tau = np.linspace(1e-4, 40, 20_001)
    v = E**2 + tau[:, None] ** 2
    precision = 1 / 25 + (1 / v).sum(1)
    mean = (Y / v).sum(1) / precision
    log = -0.5 * (np.log(v).sum(1) + (Y**2 / v).sum(1) + np.log(precision) - mean**2 * precision) - tau**2 / 50
    w = np.exp(log - logsumexp(log))
    share = tau[:, None] ** 2 / v
    theta = share * Y + (1 - share) * mean[:, None]
    variance = share * E**2 + (1 - share) ** 2 / precision[:, None]
    moments = [(w @ mean, w @ (mean**2 + 1 / precision)), (w @ tau, w @ tau**2), (w @ theta, w @ (theta**2 + variance))]
    return [(first, np.sqrt(second - first**2)) for first, second in moments]


def common(mean, covariance):
    """E log p of mu and tau, and E exp(2 u), E exp(-2 u) without their shifts, u = log tau."""
    return -(mean[0] ** 2 + covariance[0, 0]) / 50 - np.exp(2 * mean[1] + 2 * covariance[1, 1]) / 50 + mean[1]


def non_centred(mean, factor):
    """E log p under a normal of (mu, log tau, t)."""
    c, m, u, t = factor @ factor.T, mean[0], mean[1], mean[2:]
    product = np.exp(u + c[1, 1] / 2) * (t + c[1, 2:])
    across = np.exp(u + c[1, 1] / 2) * ((t + c[1, 2:]) * (m + c[0, 1]) + c[0, 2:])
    square = np.exp(2 * u + 2 * c[1, 1]) * ((t + 2 * c[1, 2:]) ** 2 + np.diag(c)[2:])
    left = (Y - m) ** 2 + c[0, 0] - 2 * Y * product + 2 * across + square
    return common(mean, c) - 0.5 * (t**2 + np.diag(c)[2:]).sum() - 0.5 * (left / E**2).sum()


def centred(mean, factor):
    """E log p under a normal of (mu, log tau, theta)."""
    c, u, d = factor @ factor.T, mean[1], mean[2:] - mean[0]
    variance = np.diag(c)[2:] + c[0, 0] - 2 * c[0, 2:]
    square = np.exp(-2 * u + 2 * c[1, 1]) * ((d - 2 * (c[1, 2:] - c[0, 1])) ** 2 + variance)
    left = (Y - mean[2:]) ** 2 + np.diag(c)[2:]
    return common(mean, c) - 8 * u - 0.5 * square.sum() - 0.5 * (left / E**2).sum()


@pytest.mark.slow
@pytest.mark.parametrize("which", [non_centred, centred])
def test_the_guide_is_the_best_of_its_family(which):
    start = np.concatenate([[4.0, 1.0], np.full(8, 4.0 if which is centred else 0.0)])
    mean, covariance = best_normal(which, start)
    z = np.random.default_rng(0).multivariate_normal(mean, covariance, size=200_000)
    tau = np.exp(z[:, 1])
    theta = z[:, 2:] if which is centred else z[:, :1] + tau[:, None] * z[:, 2:]
    found = run("eight_schools").drawn[which.__name__]
    for name, best in (("mu", z[:, 0]), ("tau", tau), ("theta", theta)):
        np.testing.assert_array_less(np.abs(found[name].mean(0) - best.mean(0)), 0.12 * best.std(0))
        np.testing.assert_allclose(found[name].std(0), best.std(0), rtol=0.08)


@pytest.mark.slow
def test_the_non_centred_guide_is_close_to_the_posterior():
    for name, (mean, spread) in zip(("mu", "tau", "theta"), exact(), strict=True):
        found = run("eight_schools").drawn["non_centred"][name]
        np.testing.assert_array_less(np.abs(found.mean(0) - mean), 0.2 * spread)
        np.testing.assert_allclose(found.std(0), spread, rtol=0.15)


@pytest.mark.slow
def test_chains_are_exact():
    pytest.importorskip("nutpie")
    found = chains(run("eight_schools").non_centred, Y, E)
    for name, (mean, spread) in zip(("mu", "tau", "theta"), exact(), strict=True):
        check_moments(np.asarray(found[name]), mean, spread)
