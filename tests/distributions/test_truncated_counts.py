"""Truncated counts against sums of their masses, finite and normal bases with moments, and windows that are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from distribution_laws import leaf, noise_of
from scipy import special, stats

import ppl
from ppl.distributions import (
    Beta,
    BetaBinomial,
    Binomial,
    Delta,
    DiscreteUniform,
    Exponential,
    Gamma,
    Geometric,
    NegativeBinomial,
    Normal,
    Poisson,
    Truncated,
    Uniform,
    ZeroInflatedPoisson,
)
from ppl.errors import ModelError, ParameterError, ShapeError
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate

INF = math.inf

each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda t: t.__name__)


def held(value, dtype):
    return float(dtype(value))


COUNTS = {
    "poisson": (Poisson, (1.5,), stats.poisson, ((12, INF), (30, INF), (30, 400))),
    "poisson lower": (Poisson, (400.0,), stats.poisson, ((-INF, 220), (100, 230), (395, 410))),
    "negative binomial": (
        NegativeBinomial, (3.0, 0.3), lambda r, p: stats.nbinom(r, 1 - p), ((50, INF), (40, 200), (-INF, 2)),
    ),
    "geometric": (Geometric, (0.3,), lambda p: stats.geom(p, loc=-1), ((100, INF), (60, 300), (2, 4))),
    "inflated": (
        ZeroInflatedPoisson, (0.4, 2.0),
        lambda g, r: Inflated(g, r), ((20, INF), (15, 200), (-INF, 3), (0, 4)),
    ),
    "binomial": (Binomial, (60.0, 0.1), lambda n, p: stats.binom(int(n), p), ((40, INF), (-INF, 1), (30, 35))),
    "beta-binomial": (
        BetaBinomial, (2.0, 9.0, 60.0), lambda a, b, n: stats.betabinom(int(n), a, b), ((50, INF), (45, 55)),
    ),
    "discrete uniform": (
        DiscreteUniform, (-3.0, 90.0), lambda a, b: stats.randint(int(a), int(b) + 1), ((80, INF), (-INF, 4), (7, 12)),
    ),
}  # fmt: skip


class Inflated:
    """A Poisson law with more mass at 0."""

    def __init__(self, gate, rate):
        self.gate, self.law = gate, stats.poisson(rate)

    def logpmf(self, k):
        return np.log((1 - self.gate) * self.law.pmf(k) + self.gate * (np.asarray(k) == 0))


COUNT_WINDOWS = [(name, *window) for name, case in COUNTS.items() for window in case[3]]


def masses(reference, params, low, high):
    """The counts of a window as far as they have mass, and their log-masses given the window."""
    k = np.arange(max(low, -3.0), min(high, max(low, 0.0) + 3000) + 1)
    with np.errstate(divide="ignore"):
        log_p = reference(*params).logpmf(k)
    k, log_p = k[np.isfinite(log_p)], log_p[np.isfinite(log_p)]
    return k, log_p - special.logsumexp(log_p)


@each_dtype
@pytest.mark.parametrize(("name", "low", "high"), COUNT_WINDOWS, ids=lambda v: str(v))
def test_counts(name, low, high, dtype):
    """Masses, slopes, draws, cdf and quantiles, against the masses of the window summed one by one."""
    kind, params, reference, _ = COUNTS[name]
    params = [held(v, dtype) for v in params]
    k, log_p = masses(reference, params, low, high)
    names = [n for n in kind.constraints if n in kind(*params).params]
    moved = [i for i, n in enumerate(names) if n not in ("low", "high") and not (n == "total_count" and "bin" in name)]
    leaves = {names[i]: leaf(names[i]) for i in moved}
    dist = Truncated(kind(*[leaves.get(n, v) for n, v in zip(names, params, strict=True)]), low, high)
    at = {names[i]: params[i] for i in moved}
    size = abs(float(reference(*params).logpmf(k[0]))) / 8  # a logarithm of this size is what a float rounds
    tolerance = (1e-4 if dtype is np.float32 else 1e-9) * max(1.0, size)
    for j in np.unique([0, 1, len(k) // 40]):
        node = dist.node_log_prob(ops.const(int(k[j])))
        found = evaluate([node, *gradient(node, list(leaves.values()))], Env(params=at, dtype=dtype))
        assert abs(found[0] - log_p[j]) <= tolerance * max(1, abs(log_p[j])), (k[j], found[0], log_p[j])
        for i, slope in zip(moved, found[1:], strict=True):
            step = 1e-6 * params[i]
            pair = [masses(reference, [*params[:i], params[i] + s * step, *params[i + 1 :]], low, high)[1][j]
                    for s in (1, -1)]  # fmt: skip
            wanted = (pair[0] - pair[1]) / (2 * step)
            assert abs(slope - wanted) <= 20 * (tolerance + 1e-6) * max(1 / params[i], abs(wanted)), (names[i], k[j])
    plain = Truncated(kind(*params), low, high)
    x = evaluate([plain.draw(*noise_of(plain, 2000))], Env(dtype=dtype, seed=3))[0]
    assert x.dtype.kind == "i" and x.min() >= low and x.max() <= high
    likely = np.exp(log_p) > 0.01
    seen = np.array([np.mean(x == v) for v in k[likely]])
    share = np.exp(log_p[likely])
    assert (np.abs(seen - share) < 5 * np.sqrt(share * (1 - share) / 2000) + 1e-9).all()
    below = np.cumsum(np.exp(log_p))
    few = slice(0, 5)
    np.testing.assert_allclose(plain.cdf(k[few]), below[few], rtol=1e-6)
    u = np.array([0.05, 0.3, 0.7, 0.99])
    np.testing.assert_array_equal(plain.icdf(u), k[np.searchsorted(below, u)])


def test_outside_and_between_counts():
    dist = Truncated(Poisson(1.5), 12, 20)
    np.testing.assert_array_equal(dist.log_prob(np.array([11, 21, -1])), -INF)
    np.testing.assert_array_equal(dist.cdf(np.array([11.0, 11.9, 20.0, 30.0])), [0, 0, 1, 1])
    assert dist.icdf(0.0) == 12 and dist.icdf(1.0) == 20 and np.isnan(dist.icdf(1.5))


def test_finite_and_normal_bases_have_moments():
    k, log_p = masses(lambda n, p: stats.binom(n, p), (10, 0.3), 8, INF)
    p = np.exp(log_p)
    dist = Truncated(Binomial(10, 0.3), 8)
    assert dist.mean == pytest.approx(p @ k) and dist.variance == pytest.approx(p @ k**2 - (p @ k) ** 2)
    assert dist.entropy() == pytest.approx(-p @ log_p) and dist.mode == 8
    np.testing.assert_array_equal(dist.unit_support(), [8, 9, 10])
    far = Truncated(Normal(0.0, 1.0), 30.0)
    assert far.mean == pytest.approx(30.033259667433676, rel=1e-12)  # by the continued fraction of Mills' ratio
    assert Truncated(Uniform(0.0, 4.0), 1.0).mean == 2.5


# --- refusals ---

REFUSED = {
    "no Gamma probability": lambda: Truncated(Gamma(2.0, 1.0), 1e4),
    "no Exponential probability": lambda: Truncated(Exponential(1.0), high=-1.0),
    "no Beta probability": lambda: Truncated(Beta(1.0, 1.0), 2.0, 3.0),
    "no Poisson probability": lambda: Truncated(Poisson(1.0), high=-1),
    "no DiscreteUniform probability": lambda: Truncated(DiscreteUniform(0, 3), 5),
    "no TruncatedNormal probability": lambda: Truncated(Truncated(Normal(0.0, 1.0), 0.0, 1.0), 2.0, 3.0),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_window_without_probability_is_an_error(what):
    with pytest.raises(ModelError, match=r"Truncated: \w+ has no probability between"):
        REFUSED[what]()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Truncated(Normal(0.0, 1.0), "a"), ModelError, "low must be a number"),
        (lambda: Truncated(Normal(0.0, 1.0), None), ModelError, "low must be a number"),
        (lambda: Truncated(Normal(0.0, 1.0), np.zeros(3), np.ones(2)), ShapeError, "do not broadcast"),
        (lambda: Truncated(Normal(np.zeros(2), 1.0), np.zeros(3)), ShapeError, "do not fit"),
        (lambda: Truncated(Poisson(1.0), 0.5), ModelError, "low of counts must be whole"),
        (lambda: Truncated(Poisson(1.0), 5, 4), ModelError, "low must be less than high"),
        (lambda: Truncated(Delta(1.0), 0.0), ModelError, "Delta"),
        (lambda: Truncated(Normal(0.0, 1.0).mask(True), 0.0), ModelError, "mask"),
    ],
)
def test_bounds_that_do_not_fit(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_the_condition_fails_before_slopes_overflow():
    """P(X >= 40) is 1e-43: a float32, but not its reciprocal."""
    dist = Truncated(Poisson(leaf("rate")), 40)
    good = next(c for c in dist.conditions() if "probability" in c.wanted).good
    for dtype, held_there in ((np.float32, False), (np.float64, True)):
        with np.errstate(over="ignore"):
            assert bool(evaluate([good], Env(params={"rate": 1.5}, dtype=dtype))[0]) is held_there


@pytest.mark.slow
def test_a_window_beyond_the_precision_is_a_parameter_error():
    """exp(-200) is no float32; float64 holds it."""

    @ppl.model
    def model(x):
        with ppl.plate("data", x) as x:
            ppl.sample("x", Truncated(Gamma(ppl.param("a", 2.0), 1.0), low=200.0), obs=x)

    x = np.array([201.0])
    program = ppl.compile(ppl.likelihood(model), data=x)
    with pytest.raises(ParameterError, match="node 'x': low of Truncated must be an end of a window in which Gamma"):
        program.value(program.init(0, x), x)
