"""Guides reach every support: the mean of p / q over draws of a guide q is 1 for a density p."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

import ppl
from ppl import Normal
from ppl import bijectors as b
from ppl.distributions import REGISTRY
from ppl.errors import ModelError
from ppl.inference.guides.latents import bijectors_of

ROWS = 4000

X = np.zeros(ROWS)

LAWS = {
    "reals": lambda: {"n": Normal([0.3, 1.0], 0.8), "t": ppl.StudentT(5.0, 1.0, 0.5), "l": ppl.Logistic(0.5, 0.7)},
    "positive": lambda: {"g": ppl.Gamma(2.0, 1.5), "w": ppl.Weibull(1.5, 2.0), "h": ppl.HalfNormal(1.3)},
    "units": lambda: {"b": ppl.Beta(2.0, [1.5, 3.0]), "k": ppl.Kumaraswamy(2.0, 3.0)},
    "intervals": lambda: {
        "u": ppl.Uniform(-1.0, 2.0),
        "t": ppl.TruncatedNormal(0.3, 1.2, -0.5, 2.0),
        "p": ppl.Pareto(0.5, 3.0),
    },
    "half lines": lambda: {
        "t": ppl.TruncatedNormal(0.3, 1.2, high=1.0),
        "e": ppl.Truncated(ppl.Exponential(0.7), low=2.5),
        "g": ppl.Truncated(ppl.Gamma(2.0, 1.0), high=3.0),
    },
    "circle": lambda: {"v": ppl.VonMises(2.5, 1.5)},
    "simplex": lambda: {"d": ppl.Dirichlet([2.0, 1.5, 3.0])},
    "correlations": lambda: {"l": ppl.LKJCholesky(3, 2.0)},
    "transformed": lambda: {
        "t": ppl.Transformed(ppl.Gamma(2.0, 1.5), b.Affine(1.0, -2.0)),
        "s": ppl.Transformed(Normal([0.2, 0.1], 0.8), b.StickBreaking()),
    },
    "mixtures": lambda: {"m": ppl.Mixture([0.4, 0.6], [ppl.Exponential(2.0), ppl.LogNormal(0.5, 0.7)])},
}


@pytest.mark.parametrize("name", LAWS)
def test_guides_cover_the_support_of(name):
    laws = LAWS[name]()

    @ppl.model
    def model(x):
        with ppl.plate("data", x):
            for site, law in laws.items():
                ppl.sample(site, law)

    dtype = "float64" if len(name) % 2 else "float32"
    guide = ppl.autoguide(model, rows={"data": ROWS})
    program = ppl.compile(ppl.elbo(model, guide, kl="sampled"), dtype=dtype, data=(X,))
    state = program.init(0)
    wide = {k: np.full(v.shape, np.log(1.2)) for k, v in state.params.items() if k.endswith("log_scale")}
    weights = np.exp(-program.value(program.init(0, params=wide), X, seed=3, per_row=True).astype(float))
    assert abs(weights.mean() - 1) < 5 * weights.std(ddof=1) / np.sqrt(ROWS)
    assert weights.std(ddof=1) < 10  # else the bound says nothing


def test_every_continuous_law_has_bijectors_onto_its_support():
    from ppl.catalog import example

    missing = [n for n, k in REGISTRY.items() if not k.discrete and bijectors_of(example(k)) is None]
    assert not missing


def test_ends_that_depend_on_latents():
    """a uniform on (0, 1), b uniform on (a, 1): the density of b at 0.9 or more has mass, by integration."""

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            a = ppl.sample("a", ppl.Uniform(0.0, 1.0))
            c = ppl.sample("c", ppl.Uniform(a, 2.0 + a))
            ppl.sample("x", Normal(c, 0.5), obs=x)

    program = ppl.compile(ppl.elbo(model, ppl.autoguide(model, rows={"data": ROWS})), dtype="float64", data=(X,))
    state = program.init(0)
    wide = {k: np.full(v.shape, np.log(1.6)) for k, v in state.params.items() if k.endswith("log_scale")}
    losses = program.value(program.init(0, params=wide), X, seed=1, per_row=True)
    weights = np.exp(-losses)
    wanted = integrate.dblquad(lambda c, a: stats.norm.pdf(0.0, c, 0.5) / 2, 0, 1, lambda a: a, lambda a: a + 2)[0]
    assert abs(weights.mean() - wanted) < 5 * weights.std(ddof=1) / np.sqrt(ROWS)
    drawn = program.posterior(program.init(0, params=wide), X, particles=3)
    assert (drawn["c"] > drawn["a"]).all() and (drawn["c"] < drawn["a"] + 2).all()


def correlated(rho, n, seed):
    return np.random.default_rng(seed).multivariate_normal(np.zeros(2), [[1, rho], [rho, 1]], n)


def test_a_correlation_against_quadrature():
    """Two variables: x of the guide is atanh of the correlation, so that the best normal is one of one number."""
    y = correlated(0.7, 40, 0)

    @ppl.model
    def model(y):
        factor = ppl.sample("factor", ppl.LKJCholesky(2, 1.5))
        with ppl.plate("data", y) as y:
            ppl.sample("y", ppl.MultivariateNormal(np.zeros(2), scale_tril=factor), obs=y)

    def log_joint(x):
        r = np.tanh(x)
        prior = np.log(1 - r**2) * (1.5 - 1) - np.log(integrate.quad(lambda r: (1 - r**2) ** 0.5, -1, 1)[0])
        volume = np.log(1 - r**2)
        return prior + volume + stats.multivariate_normal(np.zeros(2), [[1, r], [r, 1]]).logpdf(y).sum()

    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def loss(m, s):
        return -np.log(s) - 0.5 * np.log(2 * np.pi * np.e) - sum(
            w * log_joint(m + s * u) for u, w in zip(nodes, weights, strict=True)
        )  # fmt: skip

    program = ppl.compile(ppl.elbo(model, ppl.autoguide(model)), dtype="float64", data=(y,), particles=400)
    for m, s in ((0.9, 0.15), (0.2, 0.4)):
        state = program.init(0, params={"guide/factor/loc": [m], "guide/factor/scale": [s]})
        found = [program.value_and_grad(state, y, seed=seed) for seed in range(40)]
        h = 1e-4
        wanted = {
            "loss": loss(m, s),
            "guide/factor/loc": (loss(m + h, s) - loss(m - h, s)) / (2 * h),
            "guide/factor/scale": s * (loss(m, s + h) - loss(m, s - h)) / (2 * h),  # of its logarithm
        }
        for name, value in wanted.items():
            each = np.array([v if name == "loss" else g[name][0] for v, g in found])
            assert abs(each.mean() - value) < 5 * each.std(ddof=1) / np.sqrt(40) + 1e-6, name


BY_HAND = {
    "simplex": (ppl.Dirichlet([2.0, 1.5, 3.0]), b.StickBreaking(), 2),
    "correlations": (ppl.LKJCholesky(3, 2.0), b.CorrCholesky(), 3),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_guides_written_with_bijectors_are_those_of_reals(name):
    """The same loss and gradients by the inverse at the sample as by the reals behind it."""
    law, bijector, size = BY_HAND[name]

    @ppl.model
    def model():
        ppl.sample("z", law)

    @ppl.model
    def guide():
        loc, scale = ppl.param("loc", np.zeros(size)), ppl.param("scale", np.ones(size), constraint="positive")
        ppl.sample("z", ppl.Transformed(Normal(loc, scale), bijector))

    results = []
    for made, prefix in ((guide, ""), (ppl.autoguide(model), "guide/z/")):
        program = ppl.compile(ppl.elbo(model, made), dtype="float64", particles=4000)
        params = {f"{prefix}loc": np.linspace(0.3, -0.2, size), f"{prefix}scale": np.linspace(0.5, 0.9, size)}
        state = program.init(0, params=params)
        found = [program.value_and_grad(state, seed=seed) for seed in range(20)]
        results.append([np.array([np.hstack([v, *g.values()]) for v, g in found])])
    (one,), (two,) = results
    error = np.sqrt((one.var(0, ddof=1) + two.var(0, ddof=1)) / 20)
    np.testing.assert_array_less(np.abs(one.mean(0) - two.mean(0)), 5 * error)


def test_a_covariance_of_scales_and_correlations():
    """Means against importance sampling from the prior, whose own error is below 0.07 posterior standard deviations.

    Independent normals are not the posterior: its means are met up to a third of a standard deviation.
    """
    rng = np.random.default_rng(5)
    y = rng.multivariate_normal(np.zeros(3), [[1, 0.8, 0.2], [0.8, 2, 0.0], [0.2, 0, 0.5]], 25)

    @ppl.model
    def model(y):
        scales = ppl.sample("scales", ppl.LogNormal(np.zeros(3), 0.5))
        factor = ppl.sample("factor", ppl.LKJCholesky(3, 1.0))
        with ppl.plate("data", y) as y:
            tril = np.reshape(scales, (3, 1)) * factor
            ppl.sample("y", ppl.MultivariateNormal(np.zeros(3), scale_tril=tril), obs=y)

    program = ppl.compile(ppl.elbo(model, ppl.autoguide(model)), dtype="float64", data=(y,), particles=8)
    fitted = ppl.fit(program, y, steps=1500, optimizer=ppl.optim.Adam(ppl.optim.cosine(0.05, 5e-4, 1500)))
    drawn = program.posterior(fitted.state, y, particles=4000)
    found = np.einsum("nij,nkj->nik", *(2 * [drawn["scales"][..., None] * drawn["factor"]]))

    n = 400_000
    scales = np.exp(0.5 * rng.normal(size=(n, 3)))
    p21, p31, p32 = (2 * rng.beta(a, a, n) - 1 for a in (1.5, 1.5, 1.0))  # partial correlations of a uniform one
    r = np.zeros((n, 3, 3)) + np.eye(3)
    r[:, 0, 1], r[:, 0, 2] = p21, p31
    r[:, 1, 2] = p21 * p31 + p32 * np.sqrt((1 - p21**2) * (1 - p31**2))
    r[:, 1, 0], r[:, 2, 0], r[:, 2, 1] = r[:, 0, 1], r[:, 0, 2], r[:, 1, 2]
    sigma = scales[:, :, None] * r * scales[:, None, :]
    log_w = -0.5 * 25 * np.linalg.slogdet(sigma)[1] - 0.5 * np.einsum("ij,nji->n", y.T @ y, np.linalg.inv(sigma))
    w = np.exp(log_w - log_w.max())
    assert w.sum() ** 2 / (w**2).sum() > 200  # effective draws
    exact = np.einsum("n,nij->ij", w / w.sum(), sigma)
    spread = np.sqrt(np.einsum("n,nij->ij", w / w.sum(), (sigma - exact) ** 2))
    np.testing.assert_array_less(np.abs(found.mean(0) - exact), 0.35 * spread)


def test_supports_without_a_bijector_are_refused():
    @ppl.model
    def model():
        ppl.sample("z", ppl.Mixture([0.4, 0.6], ppl.Uniform([0.0, 2.0], [1.0, 5.0])))

    with pytest.raises(ModelError, match=r"'z' .* a Mixture on 'interval between parameters', onto which no bijector"):
        ppl.compile(ppl.elbo(model, ppl.autoguide(model)))


def _mass_at(w, y):
    """The joint density of w and y, where u lies uniformly between 0 and 2 w."""
    return (stats.norm.cdf(2 * w, y, 0.3) - stats.norm.cdf(0, y, 0.3)) * np.exp(-w) / (2 * w)


def test_importance_samples_of_an_end_that_is_computed():
    """The mean weight is the evidence: the end of the support is another one in every importance sample."""

    @ppl.model
    def model(y):
        w = ppl.sample("w", ppl.Exponential(1.0))
        ppl.sample("y", Normal(ppl.sample("u", ppl.Uniform(0.0, 2.0 * w)), 0.3), obs=y)

    y = np.array(0.7)
    exact = integrate.quad(_mass_at, 0, np.inf, args=(y,))[0]
    guide = ppl.autoguide(model)
    program = ppl.compile(ppl.iwae(model, guide, 20), dtype="float64", data=y)
    wide = {"guide/w/loc": -0.5, "guide/w/scale": 1.3, "guide/u/loc": 0.0, "guide/u/scale": 1.5}
    state = program.init(0, params=wide)
    weights = np.exp([-program.value(state, y, seed=seed) for seed in range(2000)])
    assert abs(weights.mean() - exact) < 5 * weights.std() / np.sqrt(2000) < 0.1 * exact
