"""Draws by rejection in NumPy, with their slopes, masses of counts and Bessel functions: the oracle of the kernels.

Samplers are the same algorithms as in `ppl.kernels.scalar`, on the same random words: an attempt reads the Philox block
of counter (column, stream * 64 + attempt in the purpose bits, 0, 0) under the key of its row and particle. Derivatives
come from quadrature, independently of the kernels' expansions. Masses of counts are computed in float64 without
cancellation, whatever the precision of the program."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.ir.node import Node
from ppl.ir.reference.noise import philox4x32
from ppl.lazy import special

if TYPE_CHECKING:
    from ppl.ir.reference.environment import Env

Array = np.ndarray

ATTEMPTS, BOOST = 60, 63

SLOPE_NODES = np.arange(-4.0, 4.6, 0.07)


def attempt_words(key: Array, column: Array, stream: int, attempt: int) -> Array:
    """The four random words of one attempt, one of each per key."""
    key, column = np.broadcast_arrays(key.astype(np.uint64), column.astype(np.uint64))
    zero, purpose = np.zeros_like(key), np.full_like(key, (stream * 64 + attempt) << 16)
    halves = key & np.uint64(0xFFFFFFFF), key >> np.uint64(32)
    return philox4x32(np.stack([column, purpose, zero, zero]), halves)


def attempt_uniforms(key: Array, column: Array, stream: int, attempt: int, dtype: Any) -> tuple[Array, Array]:
    """The two open uniforms of one attempt, one of each per key."""
    w = attempt_words(key, column, stream, attempt)
    if np.dtype(dtype) == np.float32:
        one, two = ((x >> np.uint64(9)).astype(np.float32) for x in w[:2])
        return (one + np.float32(0.5)) * np.float32(2.0**-23), (two + np.float32(0.5)) * np.float32(2.0**-23)
    pairs = ((w[0] << np.uint64(32) | w[1]) >> np.uint64(12), (w[2] << np.uint64(32) | w[3]) >> np.uint64(12))
    one, two = ((x.astype(np.float64) + 0.5) * 2.0**-52 for x in pairs)
    return one, two


def attempt_third_uniform(key: Array, column: Array, stream: int, attempt: int) -> Array:
    """A third float32 uniform of one attempt."""
    key, column = np.broadcast_arrays(key.astype(np.uint64), column.astype(np.uint64))
    zero, purpose = np.zeros_like(key), np.full_like(key, (stream * 64 + attempt) << 16)
    w = philox4x32(np.stack([column, purpose, zero, zero]), (key & np.uint64(0xFFFFFFFF), key >> np.uint64(32)))
    return ((w[2] >> np.uint64(9)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23)


def _log1p_remainder(s: Array) -> Array:
    """log(1 + s) - s + s^2 / 2 - s^3 / 3."""
    total, power = np.zeros_like(s), -(s**4)
    for n in range(4, 26):
        total, power = total + power / s.dtype.type(n), power * -s
    direct = np.log1p(s) - s + s * s * (s.dtype.type(0.5) - s / s.dtype.type(3))
    return np.where(np.abs(s) <= 0.25, total, direct)


def loggamma_draw(concentration: Array, key: Array, column: Array, stream: int) -> Array:
    """Logarithms of standard gamma draws (Marsaglia & Tsang 2000, boosted below concentration 1).

    The uniform of the boost is the accepted attempt's third word in float32, and of an attempt of its own in float64.
    """
    a = np.asarray(concentration)
    kind = a.dtype.type
    d = np.where(a < 1, a + kind(1), a) - kind(1 / 3)
    c = kind(1 / 3) / np.sqrt(d)
    a, c, d, key, column = np.broadcast_arrays(a, c, d, key, column)
    s, boost, left = np.zeros_like(a), np.ones_like(a), np.ones(a.shape, bool)
    single = kind == np.float32
    for attempt in range(ATTEMPTS):
        u, v = attempt_uniforms(key[left], column[left], stream, attempt, kind)
        s[left] = proposed = c[left] * special.ndtri(u).astype(kind)
        if single:
            boost[left] = attempt_third_uniform(key[left], column[left], stream, attempt)
        left[left] = ~((proposed > -1) & (np.log(v) < kind(3) * d[left] * _log1p_remainder(proposed)))
        if not left.any():
            break
    boost = boost if single else attempt_uniforms(key, column, stream, BOOST, kind)[0]
    return np.log(d) + kind(3) * np.log1p(s) + np.where(a < 1, np.log(boost) / a, kind(0))


def loggamma_slope(y: Array, concentration: Array) -> Array:
    """d log x / d concentration at a fixed quantile by double exponential quadrature of -(dF / da) / (x p).

    With t = x exp(-s) below x, and x exp(s) above, both tails are integrals over s > 0 of
    (s + |log x - digamma|) times a decaying exponential; the tail on whose side x lies has no cancellation.
    """
    y, a = y.astype(np.float64), concentration.astype(np.float64)
    x, lower = np.exp(y), np.exp(y) < np.maximum(a, 1.0)
    sign = np.where(lower, -1.0, 1.0)
    width = np.where(lower, 1 / (np.maximum(a - x, 0) + np.sqrt(a)), 1 / (np.maximum(x - a, 0) + np.sqrt(x)))
    width = np.where(lower & (a < 1), 1 / a, width)
    total, shift = np.zeros_like(y), y - special.digamma(a)
    for t in SLOPE_NODES:
        s = width * np.exp(t - np.exp(-t))
        decay = np.exp(sign * a * s - x * np.expm1(sign * s))
        total += np.nan_to_num((s + sign * shift) * decay) * s * (1 + np.exp(-t))
    return total * (SLOPE_NODES[1] - SLOPE_NODES[0])


def draw_rule(function: Callable[..., Array]) -> Callable[[Env, Node, Sequence[Array]], Any]:
    """A function of (parameter, key, column, stream) as an entry of the interpreter's table."""
    return lambda env, node, args: function(*args, node.attrs["stream"])


DRAWS: dict[str, Callable[[Env, Node, Sequence[Array]], Any]] = {
    "loggamma_draw": draw_rule(loggamma_draw),
    "loggamma_slope": lambda env, node, args: loggamma_slope(*args),
}

ASYMPTOTIC_FROM, ASYMPTOTIC_TERMS = 30.0, 30

DEPTH = 40.0

PI_REST = 1.2246467991473532e-16  # pi less its float64


@functools.cache
def gauss_legendre(count: int) -> list[tuple[Any, Any]]:
    """Points in (0, 1) and weights of the rule of Gauss and Legendre; found when first needed, which takes a while."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return list(zip((nodes + 1) / 2, weights / 2, strict=True))


def _bessel_ratio_gap(x: Array, derivative: int) -> Array:
    """1 - I1(x) / I0(x) for large x, or the slope of the ratio; coefficients by the Riccati equation of the ratio."""
    r, total = [0.0, 0.5], np.zeros_like(x)
    for m in range(2, ASYMPTOTIC_TERMS):
        r.append(((m - 2) * r[m - 1] + sum(r[i] * r[m - i] for i in range(1, m))) / 2)
    for m in range(ASYMPTOTIC_TERMS - 1, 0, -1):
        total = total / x + r[m] * (m if derivative else 1)
    return total / x ** (1 + derivative)


def log_i0e(x: Array, n: int) -> Array:
    """The n-th derivative of log(I0(x) exp(-x)), x >= 0, n = 0, 1, 2."""
    x = x.astype(np.float64)
    if n == 0:
        return np.where(x < 0, np.nan, np.log(special.i0e(x)))
    near, far = np.minimum(x, ASYMPTOTIC_FROM), np.maximum(x, ASYMPTOTIC_FROM)
    ratio = special.i1e(near) / special.i0e(near)
    over = np.where(near > 0, ratio / np.where(near > 0, near, 1.0), 0.5)
    low, high = (ratio - 1, -_bessel_ratio_gap(far, 0)) if n == 1 else (1 - over - ratio**2, _bessel_ratio_gap(far, 1))
    return np.where(x < 0, np.nan, np.where(x > ASYMPTOTIC_FROM, high, low))


def vonmises_draw(concentration: Array, key: Array, column: Array, stream: int) -> Array:
    """Von Mises angles around 0 (Best & Fisher 1979), written in tangents of half angles."""
    kind = concentration.dtype.type
    kappa = np.maximum(concentration, kind(1e-9))
    e = kind(0.5) / kappa
    excess = e + e * e / (kind(1) + np.sqrt(kind(1) + e * e))
    b = np.sqrt(excess / (kind(2) + excess))
    kappa, excess, b, key, column = np.broadcast_arrays(kappa, excess, b, key, column)
    t, left = np.zeros_like(kappa), np.ones(kappa.shape, bool)
    for attempt in range(ATTEMPTS):
        u, v = attempt_uniforms(key[left], column[left], stream, attempt, kind)
        proposed = b[left] * np.tan(kind(np.pi) * (u - kind(0.5)))
        t[left] = proposed
        c = kappa[left] * (excess[left] + kind(2) * proposed**2 / (kind(1) + proposed**2))
        left[left] = ~(np.log(v) <= np.log(c) + kind(1) - c)
        if not left.any():
            break
    return kind(2) * np.arctan(t)


def vonmises_slope(x: Array, concentration: Array) -> Array:
    """dx / d concentration at a fixed quantile, by Gauss quadrature of -(dF / d concentration) / p.

    With A the mean of cos, it is the integral of |cos s - A| exp(concentration (cos s - cos x)) from |x| to 0 where
    cos x >= A, else from |x| to pi or to where the exponent is less than -`DEPTH`.
    """
    a, k = np.abs(x.astype(np.float64)), concentration.astype(np.float64)
    gap = -log_i0e(k, 1)
    far = np.minimum(np.sin(a / 2) ** 2 + DEPTH / (2 * k), 1.0)
    reach = np.where(far < 1, 2 * np.arcsin(np.sqrt(far)) - a, np.maximum(np.pi - a + PI_REST, 0.0))
    length = np.where(2 * np.sin(a / 2) ** 2 <= gap, -a, reach)
    total = np.zeros_like(a)
    for t, w in gauss_legendre(48):
        fall = 2 * k * np.sin(a + length * t / 2) * np.sin(length * t / 2)
        total += w * np.abs(gap - 2 * np.sin((a + length * t) / 2) ** 2) * np.exp(-fall)
    return -np.sign(x) * np.abs(length) * total


ANGLES: dict[str, Callable[[Env, Node, Sequence[Array]], Any]] = {
    "log_i0e": lambda env, node, args: log_i0e(args[0], node.attrs["n"]),
    "vonmises_draw": draw_rule(vonmises_draw),
    "vonmises_slope": lambda env, node, args: vonmises_slope(*args),
}

FEW_VALUES = 16
"""Numbers up to which Python's functions do, so that constants of a model do not wait for SciPy's to be imported."""

STIRLING_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)


def _deviance(x: Array, rate: Array, gap: Array, ratio: Array) -> Array:
    """x log(x / rate) + rate - x = (x + rate) ((1 + v) atanh(v) - v) with v = gap / (x + rate)."""
    v = gap / np.where(x + rate > 0, x + rate, 1.0)
    rest = sum(v ** (2 * j + 1) / (2 * j + 1) for j in range(1, 10))
    near = (x + rate) * (v * v + (1 + v) * rest)
    return np.where(x == 0, -gap, np.where(np.abs(v) < 0.1, near, x * ratio - gap))


def _stirling_error(x: Array) -> Array:
    """log gamma(x + 1) - x log x + x."""
    series = sum(c / np.maximum(x, 16.0) ** (2 * j + 1) for j, c in enumerate(STIRLING_SERIES))
    large = 0.5 * np.log(2 * np.pi * np.maximum(x, 16.0)) + series
    return np.where(x < 16, _small_stirling_error(x), large)


def _small_stirling_error(x: Array) -> Array:
    if x.size <= FEW_VALUES and np.all(x >= 0):
        return np.vectorize(lambda v: math.lgamma(v + 1) - (v * math.log(v) if v else 0.0) + v, [np.float64])(x)
    return special.gammaln(x + 1) - special.xlogy(x, x) + x


def log_poisson(k: Array, rate: Array) -> Array:
    """log(rate**k exp(-rate) / gamma(k + 1))."""
    k, rate = k.astype(np.float64), rate.astype(np.float64)
    return -_deviance(k, rate, k - rate, np.log(k) - np.log(rate)) - _stirling_error(k)


def log_poisson_log_rate(k: Array, log_rate: Array) -> Array:
    """`log_poisson` at rate exp(log_rate)."""
    k, log_rate = k.astype(np.float64), log_rate.astype(np.float64)
    rate = np.exp(log_rate)
    return -_deviance(k, rate, k - rate, np.log(k) - log_rate) - _stirling_error(k)


def _log_binomial_mass(x: Array, y: Array, p: Array, q: Array, log_p: Array, log_q: Array) -> Array:
    """log of binomial(x + y, x) p**x q**y."""
    n, gap = x + y, x * q - y * p
    start = np.log(np.where(n > 0, n, 1.0))
    one = _deviance(x, n * p, gap, np.log(x) - start - log_p)
    zero = _deviance(y, n * q, -gap, np.log(y) - start - log_q)
    return _stirling_error(n) - _stirling_error(x) - _stirling_error(y) - one - zero


def log_binomial(x: Array, y: Array, p: Array) -> Array:
    """log of binomial(x + y, x) p**x (1 - p)**y."""
    x, y, p = (a.astype(np.float64) for a in (x, y, p))
    return _log_binomial_mass(x, y, p, 1 - p, np.log(p), np.log1p(-p))


def log_binomial_logits(x: Array, y: Array, logits: Array) -> Array:
    """`log_binomial` at p = sigmoid(logits)."""
    x, y, a = (a.astype(np.float64) for a in (x, y, logits))
    return _log_binomial_mass(x, y, special.expit(a), special.expit(-a), special.log_expit(a), special.log_expit(-a))


def _inversion_uniform(key: Array, column: Array, stream: int, kind: Any) -> Array:
    """The uniform of attempt 0 by which small counts are inverted: in float32 of 46 bits."""
    if kind == np.float64:
        return attempt_uniforms(key, column, stream, 0, kind)[0]
    high, low = attempt_words(key, column, stream, 0)[:2]
    fine = ((low >> np.uint64(9)).astype(kind) + kind(0.5)) * kind(2.0**-23)
    return ((high >> np.uint64(9)).astype(kind) + fine) * kind(2.0**-23)


def _invert_small_counts(
    t: Array,
    few: Array,
    more: Array,
    first: Array,
    grow: Callable[[Array], Array],
) -> Array:
    """Counts by inversion: 0 where t >= more = P(k >= 1); P(k + 1) = P(k) grow(k), P(1) = first."""
    kind = t.dtype.type
    some = few & (t < more)
    u, counts = kind(1) - t / np.where(more > 0, more, 1), some.astype(kind)
    mass = first / np.where(more > 0, more, kind(1))
    total = mass.copy()
    while (again := some & (u > total) & (counts < 200)).any():
        mass = np.where(again, mass * grow(counts), mass)
        again &= mass > 0
        counts = np.where(again, counts + 1, counts)
        total = np.where(again, total + mass, np.where(mass > 0, total, 2))
    return counts


def poisson_draw(rate: Array, key: Array, column: Array, stream: int) -> Array:
    """Poisson counts: inversion below rate 10, from there on PTRS (Hoermann 1993)."""
    kind = rate.dtype.type
    few = rate < 10
    t = _inversion_uniform(key, column, stream, kind)
    counts = _invert_small_counts(t, few, -np.expm1(-rate), rate * np.exp(-rate), lambda k: rate / (k + kind(1)))
    b = kind(0.931) + kind(2.53) * np.sqrt(rate)
    a, inverse = kind(-0.059) + kind(0.02483) * b, kind(1.1239) + kind(1.1328) / (b - kind(3.4))
    squeeze, done, whole = kind(0.9277) - kind(3.6224) / (b - kind(2.0)), few.copy(), np.floor(rate)
    shift = np.zeros_like(rate)
    for attempt in range(ATTEMPTS - 1):
        u, v = attempt_uniforms(key, column, stream, attempt, kind)
        near = kind(0.5) - np.abs(u - kind(0.5))
        moved = np.floor((kind(2.0) * a / near + b) * (u - kind(0.5)) + (rate - whole) + kind(0.43))
        shift = np.where(done, shift, moved)
        k = (whole.astype(np.float64) + moved).astype(np.float64)
        height = log_poisson(np.maximum(k, 1), rate)
        tall = np.log(v * inverse / (a / (near * near) + b)) <= height
        slow = (k >= 1) & ((near >= kind(0.013)) | (v <= near)) & tall
        done = done | ((near >= kind(0.07)) & (v <= squeeze)) | slow
        if done.all():
            break
    large = whole.astype(np.int64) + shift.astype(np.int64)
    return np.where(few, counts.astype(np.int64), np.maximum(large, 0))


def binomial_draw(
    total: Array,
    one: Array,
    zero: Array,
    key: Array,
    column: Array,
    stream: int,
) -> Array:
    """Binomial counts: inversion below mean 10 of the rarer outcome, from there on BTRS (Hoermann 1993)."""
    kind = total.dtype.type
    n, p, q = total, np.minimum(one, zero), np.maximum(one, zero)
    few, none = n * p < 10, n * np.log1p(-p)
    t = _inversion_uniform(key, column, stream, kind)
    odds = p / q
    first = n * odds * np.exp(none)
    counts = _invert_small_counts(t, few, -np.expm1(none), first, lambda k: odds * (n - k) / (k + kind(1)))
    spread = np.sqrt(n * p * q)
    b = kind(1.15) + kind(2.53) * spread
    a, alpha = kind(-0.0873) + kind(0.0248) * b + kind(0.01) * p, (kind(2.83) + kind(5.1) / b) * spread
    squeeze, done = kind(0.92) - kind(4.2) / b, few.copy()
    top = _log_binomial_mass(*(x.astype(np.float64) for x in _binomial_args(np.floor((n + kind(1)) * p), n, p, q)))
    for attempt in range(ATTEMPTS - 1):
        u, v = attempt_uniforms(key, column, stream, attempt, kind)
        near = kind(0.5) - np.abs(u - kind(0.5))
        k = np.floor((kind(2.0) * a / near + b) * (u - kind(0.5)) + n * p + kind(0.5))
        counts = np.where(done, counts, k)
        height = _log_binomial_mass(*(x.astype(np.float64) for x in _binomial_args(np.clip(k, 0, n), n, p, q))) - top
        slow = (k >= 0) & (k <= n) & (np.log(v * alpha / (a / (near * near) + b)) <= height)
        done = done | ((near >= kind(0.07)) & (v <= squeeze)) | slow
        if done.all():
            break
    counts = np.clip(counts, 0, n)
    return np.where(one > zero, n - counts, counts).astype(np.int64)


def _binomial_args(k: Array, n: Array, p: Array, q: Array) -> tuple[Array, ...]:
    """The arguments of `_mass` of k successes among n."""
    return k, n - k, p, q, np.log(p), np.log(q)


COUNTS: dict[str, Callable[[Env, Node, Sequence[Array]], Any]] = {
    "log_poisson": lambda env, node, args: log_poisson(*args),
    "log_poisson_log_rate": lambda env, node, args: log_poisson_log_rate(*args),
    "log_binomial": lambda env, node, args: log_binomial(*args),
    "log_binomial_logits": lambda env, node, args: log_binomial_logits(*args),
    "poisson_draw": draw_rule(poisson_draw),
    "binomial_draw": draw_rule(binomial_draw),
}
