"""The autoregressive process beside its posterior by quadrature over the noise; the rest is normal given it."""

import numpy as np
import pytest
from scipy.special import logsumexp

from tests.textbook.runs import run


def exact(y):
    """Weights of a grid of sigma, and mean and covariance of (c, a1, a2) at each."""
    past = np.concatenate([[2.0, 2.0], y])
    x = np.stack([np.ones(len(y)), past[1:-1], past[:-2]], 1)
    prior = np.diag([1 / 4.0, 1.0, 1.0])
    sigma, logs, means, covariances = np.linspace(0.3, 0.9, 601), [], [], []
    for s in sigma:
        precision = prior + x.T @ x / s**2
        mean = np.linalg.solve(precision, x.T @ y / s**2)
        means.append(mean)
        covariances.append(np.linalg.inv(precision))
        rest = y @ y / s**2 - mean @ precision @ mean
        logs.append(-len(y) * np.log(s) - rest / 2 - np.linalg.slogdet(precision)[1] / 2 - s**2 / 2)
    weights = np.exp(np.array(logs) - logsumexp(logs))
    return sigma, weights, np.array(means), np.array(covariances)


@pytest.mark.slow
def test_posterior_and_forecasts():
    script = run("autoregression")
    sigma, w, means, covariances = exact(script.y)
    drawn = np.column_stack([script.drawn["c"], script.drawn["a"]])
    mean = w @ means
    spread = np.sqrt(np.diag(np.einsum("s,sij->ij", w, covariances + np.einsum("si,sj->sij", means, means))) - mean**2)
    np.testing.assert_array_less(np.abs(drawn.mean(0) - mean), 0.1 * spread)
    np.testing.assert_allclose(drawn.std(0), spread, rtol=0.08)
    centre = w @ sigma
    width = np.sqrt(w @ sigma**2 - centre**2)
    assert abs(script.drawn["sigma"].mean() - centre) < 0.1 * width
    assert script.drawn["sigma"].std() == pytest.approx(width, rel=0.08)
    rng, n = np.random.default_rng(0), 40_000
    picked = rng.choice(len(w), size=n, p=w)
    c, one, two = (means[picked] + np.einsum("nij,nj->ni", np.linalg.cholesky(covariances)[picked],
                                             rng.normal(size=(n, 3)))).T  # fmt: skip
    last, before = np.full(n, script.y[-1]), np.full(n, script.y[-2])
    for t in range(30):
        last, before = c + one * last + two * before + sigma[picked] * rng.normal(size=n), last
        found = script.drawn["later"][:, t]
        assert abs(found.mean() - last.mean()) < 5 * last.std() / np.sqrt(4000)
        assert found.std() == pytest.approx(last.std(), rel=0.08)
