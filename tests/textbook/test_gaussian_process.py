"""The Gaussian process beside the best normal guide of its three numbers, and predictions by formula."""

import numpy as np
import pytest

from tests.textbook.normals import best_normal, hermite
from tests.textbook.runs import run


def kernel(a, b, amplitude, length):
    square = (a[:, None] - b) ** 2
    return amplitude[:, None, None] ** 2 * np.exp(-square / (2 * length[:, None, None] ** 2))


def log_density(script, z):
    """The joint log-density at z, the logs of amplitude, length and noise, shape (points, 3)."""
    amplitude, length, noise = np.exp(z).T
    k = kernel(script.x, script.x, amplitude, length) + noise[:, None, None] ** 2 * np.eye(30)
    factor = np.linalg.cholesky(k)
    half = np.linalg.solve(factor, np.broadcast_to(script.y[:, None], (len(z), 30, 1)))[..., 0]
    log = -0.5 * (half**2).sum(1) - np.log(np.einsum("pii->pi", factor)).sum(1)
    return log - 0.5 * (z[:, 0] ** 2 + z[:, 1] ** 2 + (z[:, 2] + 1) ** 2)


@pytest.mark.slow
def test_the_guide_is_the_best_normal():
    script = run("gaussian_process")
    points, weights = hermite(3, 7)
    mean, covariance = best_normal(
        lambda m, f: weights @ log_density(script, m + points @ f.T), np.log([0.7, 0.9, 0.3])
    )
    drawn = np.log(np.column_stack([script.drawn[k] for k in ("amplitude", "length", "noise")]))
    spread = np.sqrt(np.diag(covariance))
    np.testing.assert_array_less(np.abs(drawn.mean(0) - mean), 0.12 * spread)
    np.testing.assert_allclose(drawn.std(0), spread, rtol=0.08)


@pytest.mark.slow
def test_predictions_are_those_of_the_formula():
    """Given the numbers that were drawn, f at a new point is normal: draws are standardised by mean and variance."""
    script = run("gaussian_process")
    amplitude, length, noise = (script.drawn[k] for k in ("amplitude", "length", "noise"))
    k = kernel(script.x, script.x, amplitude, length) + noise[:, None, None] ** 2 * np.eye(30)
    across = kernel(script.x, script.new, amplitude, length)
    weights = np.linalg.solve(k, across)
    mean = np.einsum("i,pij->pj", script.y, weights)
    variance = amplitude[:, None] ** 2 + 1e-6 - np.einsum("pij,pij->pj", across, weights)
    z = (script.drawn["f"] - mean) / np.sqrt(variance)
    n = len(z)
    assert np.abs(z.mean(0)).max() < 4.5 / np.sqrt(n)
    np.testing.assert_allclose((z**2).mean(0), 1.0, atol=5 * np.sqrt(2 / n))
