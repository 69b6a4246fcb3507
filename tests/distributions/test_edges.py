"""Edges of parameter ranges in both precisions: densities against 40 digits, draws against their exact law."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from distribution_laws import noise_of
from scipy import special, stats

from ppl.distributions import Bernoulli, Beta, Binomial, Categorical, Gamma, OneHotCategorical, Poisson
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.node import make
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.types import Axis, Kind

TOLERANCE = {np.float32: 2e-5, np.float64: 1e-10}

LEVEL = 1e-3

each_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda t: t.__name__)

INF = np.inf


def log_prob(kind, params, x, dtype):
    """Log-densities of `x` and their derivatives in the parameters, summed; parameters are data."""
    leaves = {k: make("input", name=k, axes=(), shape=np.shape(v), dtype="float") for k, v in params.items()}
    dist = kind(**leaves)
    rows = ops.distribute(ops.const(np.asarray(x)), Axis("rows", Kind.PLATE, len(x)))
    density = dist.node_log_prob(rows)
    finite = ops.where(ops.less(ops.absolute(density), INF), density, 0.0)
    grads = gradient(ops.sum_axes(finite, density.type.axes), list(dist.params.values()))
    found = evaluate([density, *grads], Env(inputs={k: dtype(v) for k, v in params.items()}, dtype=dtype))
    return found[0], found[1:]


def draws(dist, dtype, n=100_000):
    return evaluate([dist.draw(*noise_of(dist, n))], Env(dtype=dtype, seed=6))[0]


def gamma(x, concentration, rate):
    return concentration * mp.log(rate) + (concentration - 1) * mp.log(x) - rate * x - mp.loggamma(concentration)


def beta(x, concentration1, concentration0):
    norm = mp.loggamma(concentration1) + mp.loggamma(concentration0) - mp.loggamma(concentration1 + concentration0)
    return (concentration1 - 1) * mp.log(x) + (concentration0 - 1) * mp.log1p(-x) - norm


def poisson(k, rate):
    return k * mp.log(rate) - rate - mp.loggamma(k + 1)


NEAR_0 = [1e-37, 1e-20, 1e-6, 0.01, 0.5, 1.0, 3.0, 60.0]

DENSITIES = {
    "gamma 1e-3": (Gamma, gamma, {"concentration": 1e-3, "rate": 1.0}, NEAR_0),
    "gamma 1e-3 rate 1e6": (Gamma, gamma, {"concentration": 1e-3, "rate": 1e6}, NEAR_0),
    "gamma 1e6": (Gamma, gamma, {"concentration": 1e6, "rate": 1.0}, 1e6 + 1e3 * np.array([-300.0, -5, -1, 0, 0.5, 7])),
    "gamma 1e6 scaled": (Gamma, gamma, {"concentration": 1e6, "rate": 1e6}, [0.5, 0.995, 0.999, 1.0, 1.001, 2.0]),
    "beta near 0": (
        Beta,
        beta,
        {"concentration1": 1e-3, "concentration0": 2e-3},
        [1e-37, 1e-9, 0.3, 0.9, 1 - 2.0**-24],
    ),
    "beta at 0": (Beta, beta, {"concentration1": 2.5, "concentration0": 0.7}, [1e-37, 1e-20, 1e-7, 1 - 2.0**-24]),
    "beta against 0": (Beta, beta, {"concentration1": 1e-3, "concentration0": 1e6}, [1e-37, 1e-20, 1e-7, 1e-5]),
    "poisson 1e-8": (Poisson, poisson, {"rate": 1e-8}, [0, 1, 2, 50]),
    "poisson 1e8": (Poisson, poisson, {"rate": 1e8}, [0, 1, 99_990_000, 100_000_000, 100_010_000, 2**27]),
}


@each_dtype
@pytest.mark.parametrize("case", DENSITIES)
def test_density_at_the_edge(case, dtype):
    kind, exact, params, x = DENSITIES[case]
    params = {k: float(dtype(v)) for k, v in params.items()}
    x = np.array([dtype(v) for v in x]).astype(float if kind is not Poisson else int)
    with mp.workdps(40):
        wanted = np.array([float(exact(mp.mpf(v), **{k: mp.mpf(p) for k, p in params.items()})) for v in x.tolist()])
        slopes = [
            sum(mp.diff(lambda t, v=v, k=k: exact(mp.mpf(v), **{**params, k: t}), params[k]) for v in x.tolist())
            for k in params
        ]
    found, grads = log_prob(kind, params, x, dtype)
    assert found.dtype == dtype
    assert (np.abs(found - wanted) <= TOLERANCE[dtype] * np.maximum(1, np.abs(wanted))).all(), (found, wanted)
    for got, slope, name in zip(grads, slopes, params, strict=True):
        size = len(x) * max(1.0, abs(float(slope)), float(np.abs(wanted).max()) / params[name])
        assert abs(got - float(slope)) <= 20 * TOLERANCE[dtype] * size, name


@each_dtype
def test_bernoulli_of_logits_that_saturate(dtype):
    for sign in (-1.0, 1.0):
        found, (slope,) = log_prob(Bernoulli, {"logits": sign * 1e4}, [0.0, 1.0], dtype)
        np.testing.assert_array_equal(found, [-1e4, 0.0] if sign > 0 else [0.0, -1e4])
        assert slope == -sign  # of the impossible outcome; that of the sure one is 0
        dist = Bernoulli(logits=sign * 1e4)
        assert dist.mean == (sign > 0) and dist.entropy() == 0.0 and (draws(dist, dtype, 2000) == (sign > 0)).all()
        assert Binomial(7, logits=sign * 1e4).log_prob(7 if sign > 0 else 0) == 0.0


@each_dtype
@pytest.mark.parametrize("kind", [Categorical, OneHotCategorical])
def test_classes_of_logits_minus_infinity(kind, dtype):
    logits = np.array([-INF, 3.0, -INF, 1.0, -INF])
    x = np.arange(5) if kind is Categorical else np.eye(5)
    found, (slope,) = log_prob(kind, {"logits": logits}, x, dtype)
    np.testing.assert_allclose(found, special.log_softmax(logits), rtol=TOLERANCE[dtype])
    assert np.isfinite(slope).all() and (slope[[0, 2, 4]] == 0).all()
    dist = kind(logits=logits)
    k = draws(dist, dtype)
    counts = np.bincount(k) if kind is Categorical else k.sum(0)
    assert counts[[0, 2]].sum() == 0 and counts[4:].sum() == 0
    assert stats.binomtest(int(counts[1]), len(k), special.expit(2.0)).pvalue > LEVEL
    assert dist.entropy() == pytest.approx(stats.entropy(special.softmax(logits)))


@each_dtype
@pytest.mark.parametrize("concentration", [1e-3, 1e6])
def test_gamma_draws_at_the_edge(concentration, dtype):
    """The logarithm of a draw has its law where the draw itself underflows."""
    dist = Gamma(concentration, 1.0)
    keys = noise_of(dist, 100_000)
    log_x, x = evaluate(
        [ops.loggamma_draw(ops.const(concentration), *keys), dist.draw(*keys)], Env(dtype=dtype, seed=6)
    )
    assert log_x.dtype == dtype and np.isfinite(log_x).all()
    if concentration > 1:
        assert stats.kstest(x.astype(float), stats.gamma(concentration).cdf).pvalue > LEVEL
    else:  # P(log X <= y) = P(a, e^y), and e^(a y) / gamma(a + 1) where e^y underflows

        def cdf(y):
            small = np.exp(concentration * y) / special.gamma(concentration + 1)
            return np.where(y < -600, small, special.gammainc(concentration, np.exp(np.maximum(y, -600))))

        assert stats.kstest(log_x.astype(float), cdf).pvalue > LEVEL
        assert (x == 0).mean() > 0.4


@each_dtype
def test_beta_draws_near_both_ends(dtype):
    """With concentrations of 1e-3 a draw is 0 or 1 up to rounding, in the right proportion, and never NaN."""
    x = draws(Beta(1e-3, 2e-3), dtype)
    assert ((x >= 0) & (x <= 1)).all()
    ones = (x > 0.5).sum()
    assert stats.binomtest(int(ones), len(x), stats.beta(1e-3, 2e-3).sf(0.5)).pvalue > LEVEL


@each_dtype
@pytest.mark.parametrize("rate", [1e-8, 1e8])
def test_poisson_draws_at_the_edge(rate, dtype):
    k = draws(Poisson(rate), dtype).astype(float)
    if rate < 1:
        assert k.sum() <= 2  # expected are 0.001
    else:
        assert stats.kstest((k - rate) / np.sqrt(rate), stats.norm.cdf).pvalue > LEVEL
        assert abs(k.mean() - rate) < 5 * np.sqrt(rate / len(k)) and k.var() == pytest.approx(rate, rel=0.03)
