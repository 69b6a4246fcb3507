"""Densities, slopes, entropies and divergences as far out as each precision reaches, against 50 digits."""

from __future__ import annotations

import functools

import mpmath as mp
import numpy as np
import pytest
from tail_laws import TAILS, product

from ppl.distributions import REGISTRY
from ppl.distributions.divergences import kl_divergence
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.node import make
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.types import Axis, Kind

TOLERANCE = {np.float32: 2e-5, np.float64: 1e-10}

each_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda t: t.__name__)

each_tail = pytest.mark.parametrize("index", range(len(TAILS)), ids=[f"{t.name}{i}" for i, t in enumerate(TAILS)])

FIXED = {"Binomial": ("total_count",), "BetaBinomial": ("total_count",)}


def leaf(name):
    return make("param", name=name, shape=(), axes=(), dtype="float")


@functools.cache
def held(index, dtype):
    """Parameters and values of a grid as a precision holds them, and the exact log-densities."""
    tail, found = TAILS[index], []
    counts = all(isinstance(x, int) for x in tail.values)
    values = [x if counts else float(dtype(x)) for x in tail.values]
    for params in tail.params:
        at = {k: float(dtype(v)) for k, v in params.items()}
        with mp.workdps(60):
            exact = [float(tail.law(mp.mpf(x), **{k: mp.mpf(v) for k, v in at.items()})) for x in values]
        found.append((at, values, np.array(exact)))
    return found


@each_dtype
@each_tail
def test_log_density(index, dtype):
    """Within the law's tolerance of max(1, |log p|); infinite only where the float ends."""
    most = float(np.finfo(dtype).max)
    for at, values, exact in held(index, dtype):
        dist = REGISTRY[TAILS[index].name](**{k: leaf(k) for k in at})
        rows = ops.distribute(ops.const(np.asarray(values)), Axis("rows", Kind.PLATE, len(values)))
        (found,) = evaluate([dist.node_log_prob(rows)], Env(params=at, dtype=dtype))
        assert found.dtype == dtype
        with np.errstate(invalid="ignore"):
            error = np.abs(found.astype(float) - exact) / np.maximum(1, np.abs(exact))
        beyond = np.abs(exact) > 0.1 * most
        np.testing.assert_array_equal(np.sign(found[beyond]), np.sign(exact[beyond]))
        assert (error[~beyond] <= TOLERANCE[dtype]).all(), (at, values, found, exact)


@pytest.mark.slow
@each_dtype
@each_tail
def test_slopes_of_the_log_density(index, dtype):
    """In parameters and value: as exact as the larger of the slope and the rounding of its terms.

    Near a mode they cancel: each may be as large as the largest parameter over the one in question, or its logarithm.
    """
    tail, eps, most = TAILS[index], float(np.finfo(dtype).eps), float(np.finfo(dtype).max)
    for at, values, exact in held(index, dtype):
        leaves = {k: leaf(k) for k in at}
        names = [k for k in at if k not in FIXED.get(tail.name, ())]
        for x, log_p in zip(values, exact, strict=True):
            value = ops.const(x) if isinstance(x, int) else leaf("value")
            node = REGISTRY[tail.name](**leaves).node_log_prob(value)
            wrt = [leaves[k] for k in names] + ([] if isinstance(x, int) else [value])
            found = evaluate(gradient(node, wrt), Env(params={**at, "value": x}, dtype=dtype)) if wrt else []
            for name, slope in zip([*names, "value"], found, strict=False):
                wanted, start = exact_slope(tail.law, at, x, name)
                if wanted is None or abs(wanted) > 1e-3 * most or tail.name == "ZeroInflatedPoisson":
                    continue
                sizes = [abs(log_p), *map(abs, at.values()), x if isinstance(x, int) else 0.0]
                rounding = eps * (max(1.0, *sizes) / max(abs(start), 1e-20) + abs(np.log(abs(start) + 2)))
                allowed = 10 * TOLERANCE[dtype] * abs(wanted) + 16 * rounding
                assert abs(float(slope) - wanted) <= allowed, (at, x, name, float(slope), wanted)


def exact_slope(law, at, x, name):
    """The derivative of an exact log-density, and where; None at the edge of a parameter's range."""
    with mp.workdps(60):
        given = {k: mp.mpf(v) for k, v in at.items()}
        start = mp.mpf(x) if name == "value" else given[name]
        if name in ("probs", "gate") and not 0 < start < 1:
            return None, 0.0
        step = (abs(start) or mp.mpf(1)) * mp.mpf(10) ** -25
        pair = [
            law(start + s * step, **given) if name == "value" else law(mp.mpf(x), **{**given, name: start + s * step})
            for s in (1, -1)
        ]
        return float((pair[0] - pair[1]) / (2 * step)), float(start)


# --- entropies, moments, divergences ------------------------------------------------------------

SHAPES = (1e-8, 1e-3, 0.4, 1.0, 30.0, 1e4, 1e7)

PAIRS = ((1e-3, 1.0), (0.4, 2.0), (30.0, 7.0), (1e4, 1e4), (1e6, 1e6), (1e6, 1.01e6), (1.001e6, 1e6))


def psi(x):
    return mp.psi(0, x)


def gamma_entropy(concentration, rate):
    a = concentration
    return a - mp.log(rate) + mp.loggamma(a) + (1 - a) * psi(a)


def inverse_gamma_entropy(concentration, scale):
    a = concentration
    return a + mp.log(scale) + mp.loggamma(a) - (1 + a) * psi(a)


def log_beta(a, b):
    return mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)


def beta_entropy(concentration1, concentration0):
    a, b = concentration1, concentration0
    return log_beta(a, b) - (a - 1) * psi(a) - (b - 1) * psi(b) + (a + b - 2) * psi(a + b)


def student_entropy(df):
    half, more = df / 2, (df + 1) / 2
    return more * (psi(more) - psi(half)) + mp.log(df) / 2 + log_beta(half, mp.mpf(1) / 2)


def kumaraswamy_entropy(concentration1, concentration0):
    a, b = concentration1, concentration0
    return 1 - 1 / b + (1 - 1 / a) * (psi(b + 1) + mp.euler) - mp.log(a * b)


def von_mises_entropy(concentration):
    zero = mp.besseli(0, concentration)
    return mp.log(2 * mp.pi * zero) - concentration * mp.besseli(1, concentration) / zero


def geometric_entropy(logits):
    one, zero = -mp.log1p(mp.exp(-logits)), -mp.log1p(mp.exp(logits))
    return -(mp.exp(one) * one + mp.exp(zero) * zero) / mp.exp(one)


ENTROPIES = {
    "Gamma": (product(concentration=SHAPES, rate=(1e-6, 1e6)), gamma_entropy),
    "InverseGamma": (product(concentration=SHAPES, scale=(1e-6, 1e6)), inverse_gamma_entropy),
    "Chi2": (product(df=SHAPES), lambda df: gamma_entropy(df / 2, mp.mpf(1) / 2)),
    "Beta": (product(concentration1=SHAPES, concentration0=SHAPES), beta_entropy),
    "StudentT": (product(df=SHAPES), student_entropy),
    "Kumaraswamy": (product(concentration1=SHAPES[1:], concentration0=SHAPES[1:]), kumaraswamy_entropy),
    "VonMises": (product(concentration=(1e-20, 1e-3, 1.0, 40.0, 1e4, 1e6)), von_mises_entropy),
    "Geometric": (product(logits=(-80.0, -20.0, 0.3, 20.0, 80.0)), geometric_entropy),
}


def assert_exact(build, cases, exact, dtype, relative=False):
    """A formula over named parameters against its exact value, at parameters that the precision holds."""
    for params in cases:
        at = {k: float(dtype(v)) for k, v in params.items()}
        found = float(evaluate([build({k: leaf(k) for k in at})], Env(params=at, dtype=dtype))[0])
        with mp.workdps(80):
            wanted = float(exact(**{k: mp.mpf(v) for k, v in at.items()}))
        size = abs(wanted) if relative else max(1.0, abs(wanted))
        tiny = float(np.finfo(dtype).tiny)
        assert abs(found - wanted) <= TOLERANCE[dtype] * (20 if relative else 1) * size + tiny, (at, found, wanted)


@each_dtype
@pytest.mark.parametrize("name", ENTROPIES)
def test_entropy(name, dtype):
    cases, exact = ENTROPIES[name]
    assert_exact(lambda leaves: REGISTRY[name](**leaves).unit_entropy(), cases, exact, dtype)


def power_moments(concentration1, concentration0):
    a, b = concentration1, concentration0
    return [mp.exp(mp.log(b) + log_beta(1 + n / a, b)) for n in (1, 2)]


@each_dtype
def test_moments_of_powers(dtype):
    shapes = (0.4, 1.0, 30.0, 1e4, 1e7)
    cases = product(concentration1=shapes, concentration0=shapes)
    kuma = REGISTRY["Kumaraswamy"]
    assert_exact(lambda p: kuma(**p).node_mean(), cases, lambda **p: power_moments(**p)[0], dtype, relative=True)
    spread = lambda **p: power_moments(**p)[1] - power_moments(**p)[0] ** 2  # noqa: E731
    loose = [c for c in cases if c["concentration1"] != 30.0 or dtype is np.float64]
    assert_exact(lambda p: kuma(**p).unit_covariance(), loose, spread, dtype, relative=True)
    exact = lambda concentration: mp.gamma(1 + 2 / concentration) - mp.gamma(1 + 1 / concentration) ** 2  # noqa: E731
    weibull = lambda p: REGISTRY["Weibull"](**p).unit_covariance()  # noqa: E731
    assert_exact(weibull, product(concentration=(0.1, 1.0, 30.0, 1e4, 1e7)), exact, dtype, relative=True)


def gamma_kl(a, b, c, d):
    return (a - c) * psi(a) - mp.loggamma(a) + mp.loggamma(c) + c * (mp.log(b) - mp.log(d)) + a * (d / b - 1)


def beta_kl(a, b, c, d):
    moved = (a - c) * psi(a) + (b - d) * psi(b) + (c - a + d - b) * psi(a + b)
    return log_beta(c, d) - log_beta(a, b) + moved


@each_dtype
@pytest.mark.parametrize("name", ["Gamma", "InverseGamma", "Beta", "Dirichlet"])
def test_divergence(name, dtype):
    """Of large concentrations, near and far: to the tolerance of the divergence where it is above 1."""
    kind = REGISTRY[name]

    def of(first, second):
        if name == "Dirichlet":
            return kind(ops.concat([ops.reshape(first, (1,)), ops.reshape(second, (1,))], 0))
        return kind(first, second)

    cases = [dict(zip("abcd", (*p, *q), strict=True)) for p in PAIRS for q in PAIRS]
    exact = gamma_kl if "Gamma" in name else beta_kl
    assert_exact(lambda p: kl_divergence(of(p["a"], p["b"]), of(p["c"], p["d"])), cases, exact, dtype)


@each_dtype
def test_divergence_of_counts(dtype):
    rates = (1e-30, 1e-3, 0.3, 1e4, 1.001e4, 1e8, 1.0001e8)
    kind = REGISTRY["Poisson"]
    exact = lambda a, b: a * mp.log(a / b) - a + b  # noqa: E731
    assert_exact(lambda p: kl_divergence(kind(p["a"]), kind(p["b"])), product(a=rates, b=rates), exact, dtype)
