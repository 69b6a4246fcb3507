"""Guides in which latents depend on each other, against posteriors that are normal, and the eight schools."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import ppl
from ppl import Normal
from ppl.estimators import StickingTheLanding

RNG = np.random.default_rng(0)
X = RNG.normal(size=(9, 2))
GROUP = np.arange(9) % 3
Y = X @ [1.0, -0.5] + np.array([0.5, -1.0, 0.2])[GROUP] + 0.4 * RNG.normal(size=9)


@ppl.model
def regression(x, g, y):
    w = ppl.sample("w", Normal(np.zeros(2), 1.0))
    m = ppl.sample("m", Normal(0.2, 1.0))
    with ppl.plate("group", 3):
        a = ppl.sample("a", Normal(m, 0.7))
    a = ppl.collect(a, "group")
    with ppl.plate("data", x, g, y) as (x, g, y):
        ppl.sample("y", Normal(x @ w + a[g], 0.4), obs=y)


def regression_posterior():
    """Mean and covariance of (w, m, a), and minus the log-evidence."""
    prior_mean, prior = np.array([0, 0, 0.2, 0.2, 0.2, 0.2]), np.eye(6)
    prior[3:, 3:] = 1.0 + 0.49 * np.eye(3)
    prior[2, 3:] = prior[3:, 2] = 1.0
    design = np.hstack([X, np.zeros((9, 1)), np.eye(3)[GROUP]])
    precision = np.linalg.inv(prior) + design.T @ design / 0.16
    covariance = np.linalg.inv(precision)
    mean = covariance @ (np.linalg.solve(prior, prior_mean) + design.T @ Y / 0.16)
    marginal = stats.multivariate_normal(design @ prior_mean, design @ prior @ design.T + 0.16 * np.eye(9))
    return mean, covariance, -marginal.logpdf(Y)


DTYPES = {"float64": 1e-9, "float32": 3e-4}


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_full_normal_is_a_normal_posterior(dtype):
    mean, covariance, evidence = regression_posterior()
    program = ppl.compile(ppl.elbo(regression, ppl.autoguide(regression, "mvn")), dtype=dtype, data=(X, GROUP, Y))
    params = {"guide/loc": mean, "guide/scale_tril": np.linalg.cholesky(covariance)}
    state = program.init(0, params=params)
    losses = [program.value(state, X, GROUP, Y, seed=seed) for seed in range(5)]
    np.testing.assert_allclose(losses, evidence, rtol=0, atol=DTYPES[dtype])
    for drawn in (program.posterior(state, X, GROUP, Y, particles=2), program.sample(state, X, GROUP, Y)):
        assert "guide" not in drawn, "the guide's own reals are no latents of the model"
    reals = program.posterior(state, X, GROUP, Y, particles=2, sites=["guide"])["guide"]
    assert reals.shape == (2, len(mean))


def test_a_full_normal_is_found():
    mean, _, evidence = regression_posterior()
    program = ppl.compile(
        ppl.elbo(regression, ppl.autoguide(regression, "mvn")), dtype="float64", data=(X, GROUP, Y),
        estimators={"guide": StickingTheLanding()},
    )  # fmt: skip
    optimizer = ppl.optim.Adam(ppl.optim.cosine(0.05, 1e-4, 3000))
    state = ppl.fit(program, X, GROUP, Y, steps=3000, optimizer=optimizer, batch_size=None).state
    losses = [program.value(state, X, GROUP, Y, seed=seed) for seed in range(5)]
    np.testing.assert_allclose(losses, evidence, rtol=0, atol=1e-3)  # its gradient has no noise at the posterior
    np.testing.assert_allclose(state.params["guide/loc"], mean, atol=1e-3)


@ppl.model
def total(y):
    x = ppl.sample("x", Normal(np.zeros(3), 1.0))
    with ppl.plate("data", y) as y:
        ppl.sample("y", Normal(np.sum(x), 2.0), obs=y)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_low_rank_normal_is_a_posterior_of_that_form(dtype):
    """The covariance I - k 11^T is (1 - 3 k) I plus the products of three vectors of a plane, 120 degrees apart."""
    c = len(Y) / 4
    k = c / (1 + 3 * c)
    angles = 2 * np.pi * np.arange(3) / 3
    factor = np.sqrt(2 * k) * np.stack([np.cos(angles), np.sin(angles)], 1)
    mean = (np.eye(3) - k) @ np.full(3, Y.sum() / 4)
    evidence = -stats.multivariate_normal(np.zeros(9), 3.0 + 4 * np.eye(9)).logpdf(Y)
    program = ppl.compile(ppl.elbo(total, ppl.autoguide(total, "low_rank")), dtype=dtype, data=(Y,))
    params = {"guide/loc": mean, "guide/factor": factor, "guide/diagonal": np.full(3, 1 - 3 * k)}
    losses = [program.value(program.init(0, params=params), Y, seed=seed) for seed in range(5)]
    np.testing.assert_allclose(losses, evidence, rtol=0, atol=DTYPES[dtype])


@ppl.model
def hierarchy(y):
    m = ppl.sample("m", Normal(0.0, 2.0))
    with ppl.plate("data", y) as y:
        z = ppl.sample("z", Normal(m, 1.0))
        ppl.sample("y", Normal(z, 0.5), obs=y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("how", ["rows", "encoder"])
def test_structured_rows_are_a_hierarchical_posterior(how, dtype):
    precision = 1 / 4 + 9 / 1.25
    mean = Y.sum() / 1.25 / precision
    evidence = -stats.multivariate_normal(np.zeros(9), 4.0 + 1.25 * np.eye(9)).logpdf(Y)
    params = {"guide/loc": [mean], "guide/scale_tril": [[precision**-0.5]], "guide/z/slope": [[0.2]]}
    if how == "rows":
        guide = ppl.autoguide(hierarchy, "structured", rows={"data": 9})
        log_scale = np.full(9, 0.5 * np.log(0.2))
        params |= {"guide/z/loc": 0.2 * mean + 0.8 * Y, "guide/z/log_scale": log_scale}
    else:
        guide = ppl.autoguide(hierarchy, "structured", encoder=lambda y: (0.2 * mean + 0.8 * y, 0.5 * np.log(0.2)))
    program = ppl.compile(ppl.elbo(hierarchy, guide, kl="sampled"), dtype=dtype, data=(Y,))
    losses = [program.value(program.init(0, params=params), Y, seed=seed) for seed in range(5)]
    np.testing.assert_allclose(losses, evidence, rtol=0, atol=DTYPES[dtype])


@ppl.model
def all_supports(y):
    s = ppl.sample("s", ppl.Gamma(2.0, 1.5))
    d = ppl.sample("d", ppl.Dirichlet([2.0, 1.5, 3.0]))
    v = ppl.sample("v", ppl.VonMises(0.5, 1.5))
    factor = ppl.sample("f", ppl.LKJCholesky(2, 2.0))
    with ppl.plate("data", y) as y:
        ppl.sample("y", Normal(s * d[0] + np.cos(v) * factor[1, 0], 1.0), obs=y)


@pytest.mark.parametrize("kind", ["mvn", "low_rank", "structured", "flow"])
def test_joint_guides_cover_every_support(kind):
    """The mean of p / q is the evidence, here by draws from the prior of NumPy."""
    y, n, rng = np.array([0.7]), 200_000, np.random.default_rng(1)
    r = 2 * rng.beta(2.0, 2.0, n) - 1
    mean = rng.gamma(2.0, 1 / 1.5, n) * rng.dirichlet([2.0, 1.5, 3.0], n)[:, 0] + np.cos(rng.vonmises(0.5, 1.5, n)) * r
    prior = stats.norm.pdf(0.7, mean, 1.0)
    program = ppl.compile(ppl.elbo(all_supports, ppl.autoguide(all_supports, kind)), dtype="float64", data=(y,))
    wide = {"low_rank": {"guide/diagonal": np.full(5, 1.2)}, "flow": {"guide/scale": np.full(5, 1.1)}}
    state = program.init(0, params=wide.get(kind, {"guide/scale_tril": 1.1 * np.eye(5)}))
    if kind == "flow":  # layers that are not the identity
        layers = {k: 0.1 * rng.normal(size=v.shape) if "layer" in k else v for k, v in state.params.items()}
        state = state.replace(params=layers)
    weights = np.exp([-program.value(state, y, seed=seed) for seed in range(3000)])
    error = np.hypot(weights.std(ddof=1) / np.sqrt(3000), prior.std() / np.sqrt(n))
    assert abs(weights.mean() - prior.mean()) < 5 * error < 0.5 * prior.mean()


EFFECTS = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
ERRORS = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])


@ppl.model
def eight_schools(y, e):
    mu = ppl.sample("mu", Normal(0.0, 5.0))
    tau = ppl.sample("tau", ppl.HalfNormal(5.0))
    with ppl.plate("school", 8):
        t = ppl.sample("t", Normal(0.0, 1.0))
    t = ppl.collect(t, "school")
    ppl.sample("y", Normal(mu + tau * t, e), obs=y)


def schools_by_quadrature():
    """Posterior means and standard deviations of mu and of the schools' effects, on a grid of tau."""
    taus = np.linspace(1e-3, 30, 4000)
    variance = taus[:, None] ** 2 + ERRORS**2
    precision = 1 / 25 + (1 / variance).sum(1)
    mean = (EFFECTS / variance).sum(1) / precision
    log_p = -0.5 * (taus / 5) ** 2 - 0.5 * np.log(variance).sum(1) - 0.5 * np.log(precision)
    log_p += 0.5 * precision * mean**2 - 0.5 * (EFFECTS**2 / variance).sum(1)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    mu = (p * mean).sum()
    spread = np.sqrt((p * (1 / precision + mean**2)).sum() - mu**2)
    shrink = taus[:, None] ** 2 / variance
    effect = shrink * EFFECTS + (1 - shrink) * mean[:, None]
    within = shrink * ERRORS**2 + (1 - shrink) ** 2 / precision[:, None]
    theta = p @ effect
    return mu, spread, theta, np.sqrt(p @ (within + effect**2) - theta**2), (p * taus).sum()


@pytest.mark.parametrize("kind", ["normal", "mvn"])
def test_eight_schools(kind):
    """Means up to 0.15 posterior standard deviations: the posterior is no normal, and draws have an error of 0.02."""
    program = ppl.compile(
        ppl.elbo(eight_schools, ppl.autoguide(eight_schools, kind)),
        dtype="float64",
        data=(EFFECTS, ERRORS),
        particles=8,
    )
    optimizer = ppl.optim.Adam(ppl.optim.cosine(0.05, 5e-4, 2500))
    state = ppl.fit(program, EFFECTS, ERRORS, steps=2500, optimizer=optimizer, batch_size=None).state
    drawn = program.posterior(state, EFFECTS, ERRORS, particles=5000)
    mu, spread, theta, spreads, tau = schools_by_quadrature()
    effects = drawn["mu"][:, None] + drawn["tau"][:, None] * drawn["t"]
    assert abs(drawn["mu"].mean() - mu) < 0.15 * spread
    np.testing.assert_array_less(np.abs(effects.mean(0) - theta), 0.15 * spreads)
    np.testing.assert_allclose(effects.std(0), spreads, rtol=0.2)
    assert drawn["tau"].mean() == pytest.approx(tau, rel=0.2)


@ppl.model
def banana(y):
    a = ppl.sample("a", Normal(0.0, 1.0))
    b = ppl.sample("b", Normal(0.0, 1.0))
    with ppl.plate("data", y) as y:
        ppl.sample("y", Normal(b + a * a, 0.3), obs=y)


def test_a_flow_bends():
    """Against the evidence by quadrature, which a full normal misses by more than twice as much."""
    y = np.array([0.9, 1.1])
    grid = np.linspace(-5, 5, 1201)
    a, b = np.meshgrid(grid, grid)
    joint = stats.norm.logpdf(a) + stats.norm.logpdf(b) + sum(stats.norm.logpdf(v, b + a * a, 0.3) for v in y)
    evidence = -np.log(np.exp(joint).sum() * (grid[1] - grid[0]) ** 2)
    losses = {}
    for kind in ("mvn", "flow"):
        program = ppl.compile(ppl.elbo(banana, ppl.autoguide(banana, kind)), dtype="float64", data=(y,), particles=16)
        optimizer = ppl.optim.Adam(ppl.optim.cosine(0.02, 2e-4, 4000))
        state = ppl.fit(program, y, steps=4000, optimizer=optimizer, batch_size=None, seed=1).state
        each = np.array([program.value(state, y, seed=seed) for seed in range(400)])
        losses[kind] = each.mean() - evidence
        assert losses[kind] > -5 * each.std() / 20  # a bound
    assert 2 * losses["flow"] < losses["mvn"]
