"""Chains against posteriors that are known by quadrature, enumeration or another sampler; bounds in standard errors."""

import itertools
import os
import signal
import threading
import time
import warnings

import numba
import numpy as np
import pytest

import ppl
from ppl import Normal
from ppl.errors import SimulatorError
from ppl.models import bayes_logistic
from tests.sampling import models
from tests.sampling.models import within

pytestmark = pytest.mark.slow

arviz = pytest.importorskip("arviz")

pytest.importorskip("nutpie")


@ppl.model
def schools(y, e, *, centred):
    mu = ppl.sample("mu", Normal(0.0, 5.0))
    tau = ppl.sample("tau", ppl.HalfNormal(5.0))
    with ppl.plate("school", y, e) as (y, e):
        if centred:
            effect = ppl.sample("effect", Normal(mu, tau))
        else:
            effect = ppl.deterministic("effect", mu + tau * ppl.sample("t", Normal(0.0, 1.0)))
        ppl.sample("y", Normal(effect, e), obs=y)


def schools_posterior():
    """Means of mu, tau and tau² by quadrature."""
    mu, tau = np.linspace(-25, 35, 1501)[:, None], np.linspace(1e-4, 40, 2000)
    logs = -(mu**2) / 50 - tau**2 / 50
    for y, e in zip(models.EFFECTS, models.ERRORS, strict=True):
        spread = e**2 + tau**2
        logs = logs - 0.5 * (y - mu) ** 2 / spread - 0.5 * np.log(spread)
    w = np.exp(logs - logs.max())
    w /= w.sum()
    return (w * mu).sum(), (w * tau).sum(), (w * tau**2).sum()


def test_eight_schools():
    mu, tau, square = schools_posterior()
    found = ppl.mcmc(schools.bind(centred=False), models.EFFECTS, models.ERRORS, draws=10_000, target_accept=0.9)
    posterior = found.posterior
    assert within(posterior.mu.values, mu)
    assert within(posterior.tau.values, tau) and within(posterior.tau.values**2, square)
    assert posterior.effect.dims == ("chain", "draw", "school") and found.attrs["sampling_time"] > 0


def test_the_funnel_of_centred_effects_is_warned_of():
    with pytest.warns(UserWarning, match="diverged.*target_accept"):
        found = ppl.mcmc(schools.bind(centred=True), models.EFFECTS, models.ERRORS, draws=2000)
    assert found.sample_stats.diverging.values.sum() > 0


def metropolis(x, y, chains=192, steps=6000, warmup=1500):
    """Means and squares of w and their standard errors, by Metropolis steps of the Laplace approximation's shape."""
    rng, d = np.random.default_rng(0), x.shape[1]
    sign = 2 * y - 1

    def log_density(w):
        return -np.logaddexp(0.0, -(w @ x.T) * sign).sum(1) - 0.5 * (w**2).sum(1)

    mode = np.zeros(d)
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ mode))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + np.eye(d)
        mode = mode + np.linalg.solve(hessian, x.T @ (y - p) - mode)
    factor = np.linalg.cholesky(np.linalg.inv(hessian))
    w = mode + rng.normal(size=(chains, d)) @ factor.T
    here, sums, squares = log_density(w), np.zeros((chains, d)), np.zeros((chains, d))
    for step in range(warmup + steps):
        there = w + 2.38 / np.sqrt(d) * rng.normal(size=(chains, d)) @ factor.T
        value = log_density(there)
        taken = np.log(rng.random(chains)) < value - here
        w, here = np.where(taken[:, None], there, w), np.where(taken, value, here)
        if step >= warmup:
            sums, squares = sums + w, squares + w**2
    return [(m.mean(0), m.std(0, ddof=1) / np.sqrt(chains)) for m in (sums / steps, squares / steps)]


def test_logistic_regression_of_the_zoo():
    x, y, _, _ = bayes_logistic.rows()
    draws = ppl.mcmc(bayes_logistic.generative, x, y, draws=2000).posterior.w.values
    for (mean, error), found in zip(metropolis(x, y), (draws, draws**2), strict=True):
        ess = np.array([float(arviz.ess(found[:, :, i], method="mean")) for i in range(found.shape[2])])
        both = np.sqrt(error**2 + found.var((0, 1)) / ess)
        assert np.all(np.abs(found.mean((0, 1)) - mean) < 4.5 * both)


@ppl.model
def mixed(y, x, group, *, groups):
    """Intercepts and slopes of groups, correlated by an LKJ law."""
    beta = ppl.sample("beta", Normal(np.zeros(2), 5.0))
    scales = ppl.sample("scales", ppl.HalfNormal(np.full(2, 2.0)))
    factor = ppl.sample("factor", ppl.LKJCholesky(2, 2.0))
    with ppl.plate("groups", groups):
        u = ppl.sample("u", Normal(np.zeros(2), 1.0))
        b = ppl.deterministic("b", beta + np.reshape(scales, (2, 1)) * factor @ u)
    effects = ppl.collect(b, "groups")
    with ppl.plate("data", y, x, group) as (y, x, group):
        own = effects[group]
        ppl.sample("y", Normal(own[0] + own[1] * x, 0.5), obs=y)


def mixed_posterior(y, x, group, groups, nodes=60):
    """Means of scales and correlation: fixed and random effects are normal given these, which go over a grid."""
    a, b = np.linspace(0, 5, nodes + 1)[1:] - 2.5 / nodes, np.linspace(-1, 1, nodes + 1)[1:] - 1 / nodes
    parts = [(y[group == g], np.stack([np.ones((group == g).sum()), x[group == g]], 1)) for g in range(groups)]
    total, sums = 0.0, np.zeros(3)
    logs, points = [], []
    for s0, s1, rho in itertools.product(a, a, b):
        cov = np.array([[s0**2, rho * s0 * s1], [rho * s0 * s1, s1**2]])
        log, precision, shift = -(s0**2 + s1**2) / 8 + np.log(1 - rho**2), np.eye(2) / 25, np.zeros(2)
        for yg, xg in parts:
            spread = xg @ cov @ xg.T + 0.25 * np.eye(len(yg))
            inverse = np.linalg.inv(spread)
            log += -0.5 * np.linalg.slogdet(spread)[1] - 0.5 * yg @ inverse @ yg
            precision, shift = precision + xg.T @ inverse @ xg, shift + xg.T @ inverse @ yg
        logs.append(log - 0.5 * np.linalg.slogdet(precision)[1] + 0.5 * shift @ np.linalg.solve(precision, shift))
        points.append((s0, s1, rho))
    w = np.exp(np.array(logs) - max(logs))
    total, sums = w.sum(), w @ np.array(points)
    return sums / total


def test_a_linear_mixed_model_with_correlated_effects():
    """The density of a Cholesky factor under LKJ(2) gives the correlation a density proportional to 1 - rho²."""
    rng = np.random.default_rng(1)
    group, x = np.repeat(np.arange(5), 6), rng.normal(size=30)
    effects = rng.multivariate_normal([1.0, -0.5], [[1.0, 0.5], [0.5, 0.6]], size=5)
    y = effects[group, 0] + effects[group, 1] * x + 0.5 * rng.normal(size=30)
    found = ppl.mcmc(mixed.bind(groups=5), y, x, group, draws=5000, target_accept=0.95).posterior
    s0, s1, rho = mixed_posterior(y, x, group, 5, 40)
    assert within(found.scales.values, [s0, s1]) and within(found.factor.values[:, :, 1, 0], rho)
    assert found.b.dims[:3] == ("chain", "draw", "groups")


def test_a_mixture_with_latents_given_the_component():
    x = np.array([-2.1, 0.3, 1.7, 0.9, -0.4, 2.2])
    w, square, z = models.mixture_posterior(x)
    found = ppl.mcmc(models.mixture, x, marginalize="k", draws=5000, target_accept=0.95)
    posterior = found.posterior
    assert list(posterior.data_vars) == ["w", "z"]
    assert within(posterior.w.values, w) and within(posterior.w.values**2, square) and within(posterior.z.values, z)


@ppl.model
def hidden(y):
    stay = ppl.sample("stay", ppl.Beta(4.0, 2.0))
    level = ppl.sample("level", Normal(1.0, 1.0))

    def step(z, value):
        z = ppl.sample("z", ppl.Bernoulli(probs=np.where(z > 0, stay, 1.0 - stay)))
        ppl.sample("y", Normal(level * z, 0.7), obs=value)
        return z, None

    ppl.scan(step, 1.0, y)


def test_a_hidden_markov_model():
    """By enumeration of all paths, and quadrature over both parameters."""
    y = np.array([1.2, 0.8, -0.1, 0.2, 1.4])
    stay, level = np.linspace(0, 1, 302)[1:-1, None], np.linspace(-4, 6, 300)
    total = 0.0
    for path in itertools.product((0, 1), repeat=5):
        before, p = 1, 1.0
        for z, value in zip(path, y, strict=True):
            p = p * np.where(z == before, stay, 1 - stay) * np.exp(-0.5 * ((value - level * z) / 0.7) ** 2)
            before = z
        total = total + p
    w = total * stay**3 * (1 - stay) * np.exp(-0.5 * (level - 1.0) ** 2)
    w = w / w.sum()
    found = ppl.mcmc(hidden, y, marginalize=["z"], draws=5000, predictive=True)
    assert within(found.posterior.stay.values, (w * stay).sum())
    assert within(found.posterior.level.values, (w * level).sum())
    assert found.posterior_predictive.y.dims == ("chain", "draw", "time")


@ppl.model
def random_walk(y):
    def step(c, value):
        c = ppl.sample("c", Normal(c, 0.5))
        ppl.sample("y", Normal(c, 0.3), obs=value)
        return c, None

    ppl.scan(step, 0.0, y)


def test_a_latent_walk_is_smoothed_in_closed_form():
    y = np.random.default_rng(0).normal(size=8).cumsum() * 0.5
    steps = np.eye(8) - np.eye(8, k=-1)
    precision = steps.T @ steps / 0.25 + np.eye(8) / 0.09
    found = ppl.mcmc(random_walk, y, draws=3000).posterior.c
    mean = np.linalg.solve(precision, y / 0.09)
    assert found.dims == ("chain", "draw", "time")
    assert within(found.values, mean) and within((found.values - mean) ** 2, np.diag(np.linalg.inv(precision)))


@ppl.model
def nested(y):
    with ppl.plate("outer", y) as y:
        a = ppl.sample("a", Normal(0.0, 1.0))
        with ppl.plate("inner", y) as y:
            ppl.sample("b", Normal(a, np.ones(2)))
            ppl.sample("y", Normal(a, 1.0), obs=y)


def test_nested_plates_and_one_row():
    y = np.array([[0.5, 1.0, 2.0]], np.float32)
    found = ppl.mcmc(nested, y, draws=3000).posterior
    assert found.b.dims[:4] == ("chain", "draw", "outer", "inner") and found.b.shape[2:] == (1, 3, 2)
    assert within(found.a.values, y.sum() / 4) and within(found.b.values, y.sum() / 4)


def test_jumps_are_no_obstacle():
    """A density with a jump inside: the latent's law is cut at 0, which weighs its two halves differently."""

    @ppl.model
    def jump():
        z = ppl.sample("z", Normal(0.0, 1.0))
        ppl.factor("more", np.where(z > 0.0, np.log(3.0), 0.0))

    found = ppl.mcmc(jump, draws=5000).posterior.z.values
    assert within((found > 0).astype(float), 0.75)


def test_an_exception_of_a_users_function_reaches_the_caller():
    @numba.njit
    def cubed(x):
        if x > 0.5:
            raise ValueError("too far")
        return x**3

    @numba.njit
    def slope(x, g):
        return g * 3 * x**2

    @ppl.model
    def model():
        z = ppl.sample("z", Normal(0.0, 1.0))
        ppl.factor("f", ppl.external(cubed, z, gradient=slope))

    with pytest.raises(SimulatorError, match="too far"):
        ppl.mcmc(model, draws=200, progress=False)


def test_interrupted_chains_return_what_there_is():
    pid, began = os.getpid(), threading.Event()

    def interrupt():
        began.wait(600)
        time.sleep(1.5)
        os.kill(pid, signal.SIGINT)

    from ppl.chains import nuts

    kept = nuts._wait_for

    def awaited(*given):
        began.set()
        return kept(*given)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    nuts._wait_for = awaited
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = ppl.mcmc(
                schools.bind(centred=False), models.EFFECTS, models.ERRORS, draws=3_000_000, warmup=200, chains=2
            )
    finally:
        nuts._wait_for = kept
    assert 0 < found.posterior.sizes["draw"] < 3_000_000
    assert np.isfinite(found.posterior.mu.values).all()
    assert any("interrupted" in str(w.message) for w in caught)
