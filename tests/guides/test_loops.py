"""Guides of latents in loops over time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import ppl
from ppl import Normal
from ppl.errors import ModelError

RNG = np.random.default_rng(0)
T = 5
Y = np.cumsum(RNG.normal(size=T)) + 0.5 * RNG.normal(size=T)


@ppl.model
def walk(y):
    drift = ppl.sample("drift", Normal(0.0, 0.5))

    def step(x, seen):
        x = ppl.sample("x", Normal(x + drift, 1.0))
        ppl.sample("y", Normal(x, 0.5), obs=seen)
        return x, x

    ppl.scan(step, 0.0, y)


def walk_posterior():
    """Mean and covariance of (drift, x), and minus the log-evidence."""
    sums = np.tril(np.ones((T, T)))
    lift = np.vstack([np.zeros(T), sums])  # of the increments' noises
    lift = np.hstack([np.append(1.0, sums @ np.ones(T))[:, None], lift])
    prior = lift @ np.diag([0.25, *np.ones(T)]) @ lift.T
    design = np.hstack([np.zeros((T, 1)), np.eye(T)])
    gain = prior @ design.T @ np.linalg.inv(design @ prior @ design.T + 0.25 * np.eye(T))
    marginal = stats.multivariate_normal(np.zeros(T), design @ prior @ design.T + 0.25 * np.eye(T))
    return gain @ Y, prior - gain @ design @ prior, -marginal.logpdf(Y)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_chain_in_a_full_normal(dtype):
    mean, covariance, evidence = walk_posterior()
    program = ppl.compile(ppl.elbo(walk, ppl.autoguide(walk, "mvn")), dtype=dtype, data=(Y,))
    state = program.init(0, params={"guide/loc": mean, "guide/scale_tril": np.linalg.cholesky(covariance)})
    losses = [program.value(state, Y, seed=seed) for seed in range(4)]
    np.testing.assert_allclose(losses, evidence, rtol=0, atol=1e-9 if dtype == "float64" else 1e-4)


def test_vectors_matrices_and_positive_numbers_in_loops():
    """The mean of p / q is 1 where nothing is observed."""

    @ppl.model
    def model(x):
        with ppl.plate("data", x):

            def step(x, t):
                s = ppl.sample("s", ppl.Gamma(2.0, np.exp(0.3 * x)))
                p = ppl.sample("p", ppl.Dirichlet([2.0, 1.5, 3.0]))
                factor = ppl.sample("f", ppl.LKJCholesky(2, 2.0))
                return s * p[0] + factor[1, 0] ** 2, None

            ppl.scan(step, 1.0, length=3)

    rows = 3000
    x = np.zeros(rows)
    guide = ppl.autoguide(model, rows={"data": rows})
    program = ppl.compile(ppl.elbo(model, guide), dtype="float64", data=(x,))
    state = program.init(0)
    wide = {k: np.zeros(v.shape) for k, v in state.params.items() if k.endswith("log_scale")}
    assert state.params["guide/f/loc"].shape == (rows, 3, 1) and state.params["guide/p/loc"].shape == (rows, 3, 2)
    weights = np.exp(-program.value(program.init(0, params=wide), x, seed=1, per_row=True))
    assert abs(weights.mean() - 1) < 5 * weights.std(ddof=1) / np.sqrt(rows) < 0.5


def test_ends_that_change_with_the_steps_are_refused():
    @ppl.model
    def model():
        def step(x, t):
            return ppl.sample("x", ppl.Uniform(x, x + 1.0)), None

        ppl.scan(step, 0.0, length=3)

    with pytest.raises(ModelError, match="a support that changes with the steps of a loop"):
        ppl.compile(ppl.elbo(model, ppl.autoguide(model)))
