"""The mixture beside expectation-maximisation in NumPy, and responsibilities by Bayes' rule."""

import numpy as np
from scipy import stats
from scipy.special import logsumexp

from tests.textbook.runs import run


def weighed(x, weights, means, scale):
    """log weights + log densities, shape (rows, 3)."""
    return np.log(weights) + stats.norm.logpdf(x[:, None], means, scale).sum(-1)


def em(x, rounds=2000):
    """The maximum of the likelihood that is reached from the start of the script."""
    weights, means, scale = np.full(3, 1 / 3), np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.ones(2)
    for _ in range(rounds):
        log = weighed(x, weights, means, scale)
        share = np.exp(log - logsumexp(log, axis=1, keepdims=True))
        weights, means = share.mean(0), share.T @ x / share.sum(0)[:, None]
        scale = np.sqrt((share[..., None] * (x[:, None] - means) ** 2).sum((0, 1)) / len(x))
    return weights, means, scale


def test_parameters_are_those_of_em_and_responsibilities_follow_bayes():
    script = run("mixture")
    found = [script.fit.params[k] for k in ("weights", "means", "scale")]
    best = em(script.x)
    for mine, other in zip(found, best, strict=True):
        np.testing.assert_allclose(mine, other, atol=2e-3)
    likelihoods = [logsumexp(weighed(script.x, *p), axis=1).sum() for p in (found, best)]
    assert 0 <= likelihoods[1] - likelihoods[0] < 1e-3
    log = weighed(script.x, *found)
    exact = np.exp(log - logsumexp(log, axis=1, keepdims=True))
    np.testing.assert_allclose(script.responsibility, exact, rtol=1e-8, atol=1e-12)
