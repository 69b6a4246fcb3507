"""The hidden Markov model beside the forward and backward recursions, EM and powers of the matrix in NumPy."""

import numpy as np
import pytest
from scipy import stats

from tests.textbook.runs import run


def smoothing(start, table, likelihood):
    """The probabilities of every step given all data, and the log-likelihood."""
    forward, backward = np.empty_like(likelihood), np.ones_like(likelihood)
    sizes = np.empty(len(likelihood))
    for t in range(len(likelihood)):
        ahead = start if t == 0 else forward[t - 1] @ table
        forward[t] = ahead * likelihood[t]
        sizes[t] = forward[t].sum()
        forward[t] /= sizes[t]
    for t in range(len(likelihood) - 2, -1, -1):
        backward[t] = table @ (likelihood[t + 1] * backward[t + 1]) / sizes[t + 1]
    return forward * backward, np.log(sizes).sum(), forward, backward, sizes


def em(y, rounds=1500):
    """The maximum of the likelihood that is reached from the start of the script."""
    start, table, mean, scale = np.full(3, 1 / 3), 0.7 * np.eye(3) + 0.1, np.array([-1.0, 0.0, 1.0]), 1.0
    for _ in range(rounds):
        likelihood = stats.norm.pdf(y[:, None], mean, scale)
        both, log, forward, backward, sizes = smoothing(start, table, likelihood)
        after = likelihood[1:] * backward[1:] / sizes[1:, None]
        moves = table * (forward[:-1].T @ after)
        start, table = both[0], moves / moves.sum(1, keepdims=True)
        mean = both.T @ y / both.sum(0)
        scale = np.sqrt((both * (y[:, None] - mean) ** 2).sum() / len(y))
    return log


def test_smoothing_forecasts_and_likelihood():
    script = run("hidden_markov")
    p, seen = script.fit.params, script.seen
    likelihood = np.ones((220, 3))
    likelihood[seen] = stats.norm.pdf(script.y[seen, None], p["mean"], p["scale"])
    exact, log, *_ = smoothing(p["start"], p["table"], likelihood)
    np.testing.assert_allclose(script.smoothed, exact, atol=1e-9)
    np.testing.assert_allclose(script.program.value(script.fit.state, script.y, seen), -log, rtol=1e-9)
    drawn, n = script.forecast["y"][:, 200:], len(script.forecast["y"])
    mean = exact[200:] @ p["mean"]
    variance = exact[200:] @ p["mean"] ** 2 - mean**2 + p["scale"] ** 2
    assert np.abs((drawn.mean(0) - mean) / np.sqrt(variance / n)).max() < 4.5
    np.testing.assert_allclose(drawn.var(0), variance, rtol=5 * np.sqrt(2 / n))


@pytest.mark.slow
def test_the_likelihood_is_that_of_em():
    script = run("hidden_markov")
    loss = script.program.value(script.fit.state, script.y, script.seen)
    assert loss == pytest.approx(-em(script.y[script.seen]), abs=0.02)
