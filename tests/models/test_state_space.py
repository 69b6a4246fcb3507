"""The linear-Gaussian chain: the filter and smoother against the joint Gaussian, the model, both guides' bounds."""

import json

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import ppl
from ppl.models import state_space
from tests.helpers.needs import needs

pytestmark = needs("matplotlib")
A, Q, R = 0.8, 0.7, 0.9


def _joint(steps):
    """The covariances of z, and of z and y."""
    z = np.zeros((steps, steps))
    variance = state_space.START**2
    for t in range(steps):
        z[t, t:] = variance * A ** np.arange(steps - t)
        z[t:, t] = z[t, t:]
        variance = A**2 * variance + Q**2
    return z, z + R**2 * np.eye(steps)


def test_filter_and_smoother_are_those_of_the_joint_gaussian():
    y = state_space.series(3, 6)
    z, seen = _joint(6)
    log_prob, means, variances = state_space.kalman(y, A, Q, R)
    assert log_prob == pytest.approx(multivariate_normal(np.zeros(6), seen).logpdf(y).sum(), rel=1e-12)
    smoothed, spread = state_space.smoother(y, A, Q, R)
    gain = z @ np.linalg.inv(seen)
    np.testing.assert_allclose(smoothed, y @ gain.T, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(spread, np.diag(z - gain @ z), rtol=1e-9)
    np.testing.assert_allclose(means[:, -1], smoothed[:, -1])
    np.testing.assert_allclose(variances[-1], spread[-1])


def test_the_exact_model_is_the_filter_with_its_slope():
    """Slopes are in log q and log r, as the parameters are stored."""
    y = state_space.series(5, 12)
    program = ppl.compile(ppl.likelihood(state_space.exact), data=y, dtype="float64")

    def state(a, q, r):
        return program.init(0, y, params={"a": a, "q": q, "r": r})

    value, grads = program.value_and_grad(state(A, Q, R), y)
    assert value == pytest.approx(-state_space.kalman(y, A, Q, R)[0], rel=1e-12)
    for i, name in enumerate("aqr"):
        up, down = ((A + h * (i == 0), Q * np.exp(h * (i == 1)), R * np.exp(h * (i == 2))) for h in (1e-5, -1e-5))
        slope = (state_space.kalman(y, *down)[0] - state_space.kalman(y, *up)[0]) / 2e-5
        assert grads[name] == pytest.approx(slope, rel=1e-6, abs=1e-7)


def test_the_smoothing_bound_is_the_likelihood_at_the_exact_posterior():
    """Gains from the backward information filter: every draw of the states then has the weight p(y)."""
    steps = 8
    y = state_space.series(4, steps)
    given = {"a": A, "q": Q, "r": R, **_posterior_gains(steps)}
    model, guide = state_space.linear, state_space.smoothing.bind(steps=steps)
    program = ppl.compile(ppl.elbo(model, guide, kl="sampled"), data=y, dtype="float64")
    state = program.init(0, y, params=given)
    for seed in range(5):
        assert program.value(state, y, seed=seed) == pytest.approx(-state_space.kalman(y, A, Q, R)[0], rel=1e-9)


def _posterior_gains(steps):
    """p(z_t | z_{t-1}, y_t …) ∝ N(z_t; a z_{t-1}, q²) exp(-Λ_t z_t² / 2 + η_t z_t), η_t = b_t / r²."""
    out = {name: np.zeros(steps) for name in ("kept", "fresh", "scale", "decay")}
    ahead = 0.0
    for t in range(steps - 1, -1, -1):
        shrink = 1 / (1 + Q**2 * ahead)
        information = 1 / R**2 + A**2 * ahead * shrink
        prior = 1 / (state_space.START if t == 0 else Q) ** 2
        variance = 1 / (prior + information)
        out["decay"][t] = A * shrink
        out["kept"][t], out["fresh"][t], out["scale"][t] = A * prior * variance, variance / R**2, np.sqrt(variance)
        ahead = information
    return out


def test_main_reaches_the_likelihood_but_for_the_filtering_guide(tmp_path):
    assert state_space.main(["--epochs", "600", "--lr", "0.05", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "state_space.metrics.json").read_text())["metrics"]
    best = found["negative log-likelihood, maximum by Nelder and Mead"]
    bound = {n: found[f"negative log-likelihood or bound, {n}"] for n in ("exact", "filtering", "smoothing")}
    assert bound["exact"] == pytest.approx(best, rel=1e-6)
    assert best < bound["smoothing"] < best + 0.01 < best + 0.02 < bound["filtering"]
    assert (tmp_path / "state_space.png").stat().st_size > 10_000
