"""Truncated laws in windows far out in a tail, narrow, and of counts: against the base's tails in SciPy and mpmath."""

from __future__ import annotations

import math

import numpy as np
import pytest
from distribution_laws import leaf, noise_of
from scipy import stats

from ppl.distributions import (
    Beta,
    Cauchy,
    Chi2,
    Exponential,
    Gamma,
    Gumbel,
    HalfCauchy,
    HalfNormal,
    InverseGamma,
    Kumaraswamy,
    Laplace,
    Logistic,
    LogNormal,
    Normal,
    Pareto,
    StudentT,
    Transformed,
    Truncated,
    Uniform,
    Weibull,
    bijectors,
)
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate

INF = math.inf

each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda t: t.__name__)


class Kuma:
    """Kumaraswamy's tails, in long doubles."""

    def __init__(self, a, b):
        self.a, self.b = np.longdouble(a), np.longdouble(b)

    def logpdf(self, x):
        x = np.longdouble(x)
        return np.log(self.a * self.b) + (self.a - 1) * np.log(x) + (self.b - 1) * np.log1p(-(x**self.a))

    def logsf(self, x):
        return self.b * np.log1p(-(np.longdouble(x) ** self.a))

    def logcdf(self, x):
        return np.log(-np.expm1(self.logsf(x)))


class Logs:
    """A law whose log tails SciPy takes as logarithms of what underflows, written by hand."""

    def __init__(self, logpdf, logsf=None, logcdf=None):
        self.logpdf = logpdf
        self.logsf = logsf or (lambda x: np.log(-np.expm1(logcdf(x))))
        self.logcdf = logcdf or (lambda x: np.log(-np.expm1(logsf(x))))


def exponential(rate):
    return Logs(lambda x: np.log(rate) - rate * x, lambda x: -rate * x)


def weibull(k, s):
    return Logs(lambda x: np.log(k / s) + (k - 1) * np.log(x / s) - (x / s) ** k, lambda x: -((x / s) ** k))


def pareto(s, a):
    return Logs(lambda x: np.log(a / x) - a * np.log(x / s), lambda x: -a * np.log(x / s))


def laplace(m, s):
    return Logs(
        lambda x: -abs(x - m) / s - np.log(2 * s),
        lambda x: -(x - m) / s - np.log(2) if x > m else np.log1p(-np.exp((x - m) / s) / 2),
        lambda x: (x - m) / s - np.log(2) if x < m else np.log1p(-np.exp(-(x - m) / s) / 2),
    )


def gumbel(m, s):
    z = lambda x: np.longdouble((x - m) / s)  # noqa: E731
    return Logs(lambda x: -z(x) - np.exp(-z(x)) - np.log(s), None, lambda x: -np.exp(-z(x)))


# name: class, parameters, reference of parameters, windows (low, high) whose probability float32 holds
CASES = {
    "normal": (Normal, (0.3, 1.2), stats.norm, ((9.0, INF), (36.0, INF), (-INF, -30.0), (-9.0, -8.0), (8.0, 8.5))),
    "lognormal": (LogNormal, (0.3, 0.8), lambda m, s: stats.lognorm(s, scale=np.exp(m)), ((1e4, INF), (1e-4, 2e-4))),
    "half normal": (HalfNormal, (1.3,), lambda s: stats.halfnorm(scale=s), ((20.0, INF), (1e-5, 2e-5), (12.0, 13.0))),
    "exponential": (Exponential, (0.7,), exponential, ((1e3, INF), (30.0, 31.0), (0.0, 1e-3), (1e-3, 2e-3))),
    "laplace": (Laplace, (0.3, 0.7), laplace, ((90.0, INF), (-90.0, -80.0), (-INF, -70.0), (-1.0, 0.5), (40.0, 41.0))),
    "logistic": (Logistic, (0.3, 0.7), stats.logistic, ((90.0, INF), (-90.0, -80.0), (-INF, -70.0), (20.0, 21.0))),
    "gumbel": (Gumbel, (0.3, 0.7), gumbel, ((50.0, INF), (40.0, 41.0), (-INF, -3.0), (-3.0, -2.5))),
    "cauchy": (Cauchy, (0.3, 0.7), stats.cauchy, ((1e9, INF), (-1e9, -1e8), (-INF, -1e6), (1e6, 2e6))),
    "half cauchy": (HalfCauchy, (0.7,), lambda s: stats.halfcauchy(scale=s), ((1e9, INF), (1e6, 2e6), (1e-6, 2e-6))),
    "weibull": (Weibull, (1.7, 0.9), weibull, ((40.0, INF), (20.0, 20.2), (1e-9, 1e-8))),
    "pareto": (Pareto, (0.8, 2.5), pareto, ((1e12, INF), (1e9, 2e9), (0.8001, 0.801))),
    "kumaraswamy": (Kumaraswamy, (1.7, 2.6), Kuma, ((0.0, 1e-9), (0.999, 0.9995), (1e-7, 1e-6))),
    "gamma": (Gamma, (2.3, 0.9), lambda a, r: stats.gamma(a, scale=1 / r), ((80.0, INF), (60.0, 62.0), (1e-9, 1e-8))),
    "gamma small": (Gamma, (0.2, 1.0), lambda a, r: stats.gamma(a, scale=1 / r), ((1e-20, 1e-19), (70.0, 71.0))),
    "chi2": (Chi2, (3.0,), stats.chi2, ((150.0, INF), (1e-9, 1e-8), (100.0, 101.0))),
    "inverse gamma": (
        InverseGamma, (2.3, 0.9), lambda a, s: stats.invgamma(a, scale=s), ((1e9, INF), (0.01, 0.012), (1e6, 2e6)),
    ),
    "beta": (Beta, (2.3, 0.9), stats.beta, ((0.0, 1e-9), (1e-7, 1e-6), (0.999, 0.9995))),
    "student": (StudentT, (4.5, 0.3, 0.8), stats.t, ((1e5, INF), (-1e5, -1e4), (-INF, -1e3), (200.0, 300.0))),
    "uniform": (Uniform, (0.5, 3.0), lambda a, b: stats.uniform(a, b - a), ((2.9, INF), (-1.0, 0.6))),
}  # fmt: skip

EDGES = {"exponential": 0.0, "kumaraswamy": 0.0, "beta": 0.0, "uniform": 0.5}

WINDOWS = [(name, *window) for name, case in CASES.items() for window in case[3]]

each_window = pytest.mark.parametrize(("name", "low", "high"), WINDOWS, ids=lambda v: str(v))


def log_mass(law, low, high):
    """The log-probability of a window, from the tail in which it is smaller."""
    if low == -INF or high == INF:
        return law.logcdf(high) if low == -INF else law.logsf(low)
    low = max(low, getattr(law, "support", lambda: (-INF,))()[0])
    with np.errstate(all="ignore"):
        above, below = law.logsf(low), law.logcdf(high)
        if above < below:
            return above + np.log(-np.expm1(law.logsf(high) - above))
        first = law.logcdf(low)
        return below + (np.log(-np.expm1(first - below)) if np.isfinite(first) else 0.0)


def inside(low, high, reference, params):
    """Some points of the window where the truncated law has mass."""
    start = low if low > -INF else None
    law = reference(*params)
    if start is None:
        return [high, high - abs(high) * 1e-3]
    if high == INF:
        return [low * (1 + 1e-3), low * 1.01]
    lowest = max(low, getattr(law, "support", lambda: (-INF,))()[0], -INF)
    return [lowest + s * (high - lowest) for s in (0.2, 0.9)]


def held(value, dtype):
    return float(dtype(value))


@each_dtype
@each_window
def test_log_prob_and_its_slopes(name, low, high, dtype):
    """Against the base's density over its tails, and differences of that in parameters and bounds."""
    kind, params, reference, _ = CASES[name]
    at = [held(v, dtype) for v in (*params, low, high)]
    count = len(params)
    names = [f"p{i}" for i in range(count)] + [n for n, v in (("low", low), ("high", high)) if abs(v) < INF]
    leaves = {n: leaf(n) for n in names}
    bounds = [leaves.get("low", -INF), leaves.get("high", INF)]
    dist = Truncated(kind(*[leaves[f"p{i}"] for i in range(count)]), *bounds)
    values = {n: v for n, v in zip([f"p{i}" for i in range(count)] + ["low", "high"], at, strict=True) if n in names}
    tolerance = 3e-4 if dtype is np.float32 else 1e-9
    for x in inside(at[-2], at[-1], reference, at[:count]):
        x = held(x, dtype)

        def exact(given, x=x):
            law = reference(*[given[f"p{i}"] for i in range(count)])
            return float(law.logpdf(x) - log_mass(law, given.get("low", -INF), given.get("high", INF)))

        node = dist.node_log_prob(ops.const(x))
        found = evaluate([node, *gradient(node, list(leaves.values()))], Env(params=values, dtype=dtype))
        wanted = exact(values)
        law = reference(*at[:count])
        size = max(1.0, abs(float(law.logpdf(x))) / 8)  # a logarithm of this size is what a float rounds
        assert found[0].dtype == dtype
        assert abs(found[0] - wanted) <= tolerance * size, (x, found[0], wanted)
        for theta, slope in zip(names, found[1:], strict=True):
            step = 1e-6 * (abs(values[theta]) or 1.0)
            if theta == "low" and values[theta] <= EDGES.get(name, -INF):
                assert slope == 0  # nothing is cut off
                continue
            pair = [exact({**values, theta: values[theta] + s * step}) for s in (1, -1)]
            difference = (pair[0] - pair[1]) / (2 * step)
            noise = 1e-14 * max(1.0, abs(float(law.logpdf(x)))) / step
            scale = max(abs(difference), 1 / max(abs(values[theta]), 1e-6))
            assert np.isfinite(slope), theta
            assert abs(slope - difference) <= 20 * (tolerance + 1e-6) * size * scale + 20 * noise, (theta, slope, x)


def exact_share(law, low, x, high):
    """The share of the window's probability below each x."""
    total = log_mass(law, low, high)
    return np.array([np.exp(float(log_mass(law, low, v) - total)) if v > low else 0.0 for v in x])


@pytest.mark.slow
@each_dtype
@each_window
def test_samples_and_quantiles(name, low, high, dtype):
    """Draws spread over the window as they must, and the cdf and the quantiles invert each other."""
    kind, params, reference, _ = CASES[name]
    low, high = held(low, dtype), held(high, dtype)
    params = [held(v, dtype) for v in params]
    dist, law = Truncated(kind(*params), low, high), reference(*params)
    x = evaluate([dist.draw(*noise_of(dist, 400))], Env(dtype=dtype, seed=3))[0].astype(float)
    assert ((low <= x) & (x <= high)).all()
    with np.errstate(all="ignore"):
        share = exact_share(law, low, x, high)
    assert stats.kstest(share, stats.uniform.cdf).pvalue > 1e-3
    u = np.array([0.01, 0.3, 0.5, 0.9, 0.999])
    q, p = dist.icdf(u), dist.isf(1 - u)
    np.testing.assert_allclose(q, p, rtol=1e-9)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(exact_share(law, low, q, high), u, rtol=1e-5)
    np.testing.assert_allclose(dist.cdf(q), u, rtol=1e-5)
    np.testing.assert_allclose(dist.sf(q), 1 - u, rtol=1e-3)


def test_truncated_twice_and_of_transformed():
    twice = Truncated(Truncated(Gamma(2.3, 0.9), 40.0), 50.0, 60.0)
    once = Truncated(Gamma(2.3, 0.9), 50.0, 60.0)
    x = np.array([50.0, 51.0, 59.0, 61.0])
    np.testing.assert_allclose(twice.log_prob(x), once.log_prob(x), rtol=1e-12)
    np.testing.assert_allclose(twice.icdf(0.3), once.icdf(0.3), rtol=1e-12)
    falling = Truncated(Transformed(Exponential(1.0), bijectors.Affine(0.0, -1.0)), high=-1e3)
    np.testing.assert_allclose(falling.log_prob(np.array([-1e3, -1001.0])), [0.0, -1.0], atol=1e-9)
    np.testing.assert_allclose(falling.icdf(0.5), -1e3 - np.log(2.0), rtol=1e-12)
    nested = Transformed(Truncated(Normal(0.0, 1.0), 20.0), bijectors.Exp())
    z = np.log(np.exp(20.1))
    assert nested.log_sf(np.exp(20.1)) == pytest.approx(stats.norm.logsf(z) - stats.norm.logsf(20.0), rel=1e-9)


@each_dtype
@pytest.mark.parametrize(
    ("name", "low", "width"), [("gamma", 1.0, 1e-5), ("student", -3.0, 1e-6), ("cauchy", 2.0, 1e-5)]
)
def test_narrow_windows(name, low, width, dtype):
    """The probability of a window that a difference of cdfs would lose is the density times the width."""
    kind, params, reference, _ = CASES[name]
    params = [held(v, dtype) for v in params]
    low = held(low, dtype)
    high = held(low + max(width, 4 * np.spacing(dtype(low))), dtype)
    x = ops.const(low)
    (found,) = evaluate([Truncated(kind(*params), low, high).node_log_prob(x)], Env(dtype=dtype))
    law = reference(*params)
    middle = float(law.logpdf((low + high) / 2))
    wanted = float(law.logpdf(low)) - middle - np.log(high - low)
    assert found == pytest.approx(wanted, abs=1e-5)


@each_dtype
@pytest.mark.parametrize(
    ("name", "low", "high"), [w for w in WINDOWS if CASES[w[0]][0] not in (Gamma, Chi2, InverseGamma, Beta, StudentT)]
)
def test_paths(name, low, high, dtype):
    """The path moves a sample so that its share of the window stays: dx = -(d share) / (share's density)."""
    kind, params, reference, _ = CASES[name]
    at = [held(v, dtype) for v in (*params, low, high)]
    names = [f"p{i}" for i in range(len(params))]
    leaves = {n: leaf(n) for n in names}
    dist = Truncated(kind(*leaves.values()), at[-2], at[-1])
    values = dict(zip(names, at, strict=False))
    if name in ("uniform", "pareto"):
        return  # their own support moves
    for u in (0.3, 0.8):
        node = dist.node_icdf(ops.const(u))
        x, *slopes = evaluate([node, *gradient(node, list(leaves.values()))], Env(params=values, dtype=dtype))
        x = float(x)

        def share(given, x=x):
            law = reference(*given)
            return float(log_mass(law, at[-2], x) - log_mass(law, at[-2], at[-1]))

        plain = at[: len(params)]
        with np.errstate(all="ignore"):
            law = reference(*plain)
            density = np.exp(float(law.logpdf(x) - log_mass(law, at[-2], x)))
            for i, slope in enumerate(slopes):
                step = 1e-5 * (abs(plain[i]) or 1.0)
                pair = [share([*plain[:i], plain[i] + s * step, *plain[i + 1 :]]) for s in (1, -1)]
                wanted = -(pair[0] - pair[1]) / (2 * step) / density
                size = abs(x - at[-2] if at[-2] > -INF else x - at[-1]) + abs(x) * (1e-4 if dtype is np.float32 else 0)
                scale = max(abs(wanted), size / max(abs(plain[i]), 0.1))
                assert abs(float(slope) - wanted) <= (5e-2 if dtype is np.float32 else 1e-3) * scale, (
                    i,
                    u,
                    slope,
                    wanted,
                )
