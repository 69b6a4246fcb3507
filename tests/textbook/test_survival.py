"""The survival model beside quadrature, and beside the best normal guide; redrawn lifetimes by their quantiles."""

import numpy as np
import pytest
from scipy.special import logsumexp

from tests.textbook.normals import best_normal, hermite
from tests.textbook.runs import run


def log_density(script, z):
    """The joint log-density at z = (log shape, w_0, w_1), shape (points, 3); constants are left out."""
    shape, scale = np.exp(z[:, :1]), np.exp(z[:, 1:2] + z[:, 2:] * script.dose)
    hours = np.where(script.lost, 1.0, script.hours)
    power = (hours / scale) ** shape
    seen = np.log(shape) - np.log(scale) + (shape - 1) * np.log(hours / scale) - power
    each = np.where(script.lost, 0.0, np.where(script.alive, -power, seen))
    return each.sum(1) - z[:, 0] ** 2 / 2 - (z[:, 1:] ** 2).sum(1) / 8


def moments(z, w):
    mean = w @ z
    return mean, np.sqrt(w @ z**2 - mean**2)


@pytest.mark.slow
def test_the_guide_is_the_best_normal_and_close_to_the_posterior():
    script = run("survival")
    drawn = np.column_stack([np.log(script.drawn["shape"]), script.drawn["w"]])
    points, weights = hermite(3, 9)
    mean, covariance = best_normal(
        lambda m, f: weights @ log_density(script, m + points @ f.T), np.array([0.6, 1.5, 0.5])
    )
    axes = [np.linspace(m - 5 * s, m + 5 * s, 41) for m, s in zip(mean, np.sqrt(np.diag(covariance)), strict=True)]
    z = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    log = np.concatenate([log_density(script, part) for part in np.array_split(z, 50)])
    w = np.exp(log - logsumexp(log))
    for (centre, spread), wide in (((mean, np.sqrt(np.diag(covariance))), 0.08), (moments(z, w), 0.1)):
        np.testing.assert_array_less(np.abs(drawn.mean(0) - centre), 1.5 * wide * spread)
        np.testing.assert_allclose(drawn.std(0), spread, rtol=wide)


@pytest.mark.slow
def test_redrawn_lifetimes_follow_the_law():
    """Their quantiles, lost ones from the start and others from eight hours on, are uniform."""
    script = run("survival")
    w, shape = script.drawn["w"], script.drawn["shape"][:, None]
    scale = np.exp(w[:, :1] + w[:, 1:] * script.dose)
    assert (script.drawn["beyond"] >= 8.0).all()
    left = [np.exp(-((script.drawn["hours"] / scale) ** shape)),
            np.exp((8.0 / scale) ** shape - (script.drawn["beyond"] / scale) ** shape)]  # fmt: skip
    for u in left:
        assert abs(u.mean() - 0.5) < 5 / np.sqrt(12 * u.size)
        assert np.abs(np.quantile(u, [0.1, 0.5, 0.9]) - [0.1, 0.5, 0.9]).max() < 0.005
