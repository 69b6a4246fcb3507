"""Counts in NumPy: log-probabilities without cancellation, and the oracle of the samplers in `ppl.kernels.scalar`.

Masses are computed in float64 whatever the precision of the program.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.ir.node import Node
from ppl.ir.reference.numpy_draws import ATTEMPTS, attempt_uniforms, attempt_words, drawing
from ppl.lazy import special

if TYPE_CHECKING:
    from ppl.ir.reference.interpret import Env

Array = np.ndarray
FEW = 16
"""Numbers up to which Python's functions do, so that constants of a model do not wait for SciPy's to be imported."""

STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)


def _deviance(x: Array, rate: Array, gap: Array, ratio: Array) -> Array:
    """x log(x / rate) + rate - x = (x + rate) ((1 + v) atanh(v) - v) with v = gap / (x + rate)."""
    v = gap / np.where(x + rate > 0, x + rate, 1.0)
    rest = sum(v ** (2 * j + 1) / (2 * j + 1) for j in range(1, 10))
    near = (x + rate) * (v * v + (1 + v) * rest)
    return np.where(x == 0, -gap, np.where(np.abs(v) < 0.1, near, x * ratio - gap))


def _stirling(x: Array) -> Array:
    """log gamma(x + 1) - x log x + x."""
    series = sum(c / np.maximum(x, 16.0) ** (2 * j + 1) for j, c in enumerate(STIRLING))
    large = 0.5 * np.log(2 * np.pi * np.maximum(x, 16.0)) + series
    return np.where(x < 16, _small_stirling(x), large)


def _small_stirling(x: Array) -> Array:
    if x.size <= FEW and np.all(x >= 0):
        return np.vectorize(lambda v: math.lgamma(v + 1) - (v * math.log(v) if v else 0.0) + v, [np.float64])(x)
    return special.gammaln(x + 1) - special.xlogy(x, x) + x


def log_poisson(k: Array, rate: Array) -> Array:
    """log(rate**k exp(-rate) / gamma(k + 1))."""
    k, rate = k.astype(np.float64), rate.astype(np.float64)
    return -_deviance(k, rate, k - rate, np.log(k) - np.log(rate)) - _stirling(k)


def log_poisson_log_rate(k: Array, log_rate: Array) -> Array:
    """`log_poisson` at rate exp(log_rate)."""
    k, log_rate = k.astype(np.float64), log_rate.astype(np.float64)
    rate = np.exp(log_rate)
    return -_deviance(k, rate, k - rate, np.log(k) - log_rate) - _stirling(k)


def _mass(x: Array, y: Array, p: Array, q: Array, log_p: Array, log_q: Array) -> Array:
    """log of binomial(x + y, x) p**x q**y."""
    n, gap = x + y, x * q - y * p
    start = np.log(np.where(n > 0, n, 1.0))
    one = _deviance(x, n * p, gap, np.log(x) - start - log_p)
    zero = _deviance(y, n * q, -gap, np.log(y) - start - log_q)
    return _stirling(n) - _stirling(x) - _stirling(y) - one - zero


def log_binomial(x: Array, y: Array, p: Array) -> Array:
    """log of binomial(x + y, x) p**x (1 - p)**y."""
    x, y, p = (a.astype(np.float64) for a in (x, y, p))
    return _mass(x, y, p, 1 - p, np.log(p), np.log1p(-p))


def log_binomial_logits(x: Array, y: Array, logits: Array) -> Array:
    """`log_binomial` at p = sigmoid(logits)."""
    x, y, a = (a.astype(np.float64) for a in (x, y, logits))
    return _mass(x, y, special.expit(a), special.expit(-a), special.log_expit(a), special.log_expit(-a))


def _small(key: Array, column: Array, stream: int, kind: Any) -> Array:
    """The uniform of attempt 0 by which small counts are inverted: in float32 of 46 bits."""
    if kind == np.float64:
        return attempt_uniforms(key, column, stream, 0, kind)[0]
    high, low = attempt_words(key, column, stream, 0)[:2]
    fine = ((low >> np.uint64(9)).astype(kind) + kind(0.5)) * kind(2.0**-23)
    return ((high >> np.uint64(9)).astype(kind) + fine) * kind(2.0**-23)


def _invert(t: Array, few: Array, more: Array, first: Array, grow: Callable[[Array], Array]) -> Array:
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
    t = _small(key, column, stream, kind)
    counts = _invert(t, few, -np.expm1(-rate), rate * np.exp(-rate), lambda k: rate / (k + kind(1)))
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


def binomial_draw(total: Array, one: Array, zero: Array, key: Array, column: Array, stream: int) -> Array:
    """Binomial counts: inversion below mean 10 of the rarer outcome, from there on BTRS (Hoermann 1993)."""
    kind = total.dtype.type
    n, p, q = total, np.minimum(one, zero), np.maximum(one, zero)
    few, none = n * p < 10, n * np.log1p(-p)
    t = _small(key, column, stream, kind)
    odds = p / q
    first = n * odds * np.exp(none)
    counts = _invert(t, few, -np.expm1(none), first, lambda k: odds * (n - k) / (k + kind(1)))
    spread = np.sqrt(n * p * q)
    b = kind(1.15) + kind(2.53) * spread
    a, alpha = kind(-0.0873) + kind(0.0248) * b + kind(0.01) * p, (kind(2.83) + kind(5.1) / b) * spread
    squeeze, done = kind(0.92) - kind(4.2) / b, few.copy()
    top = _mass(*(x.astype(np.float64) for x in _outcomes(np.floor((n + kind(1)) * p), n, p, q)))
    for attempt in range(ATTEMPTS - 1):
        u, v = attempt_uniforms(key, column, stream, attempt, kind)
        near = kind(0.5) - np.abs(u - kind(0.5))
        k = np.floor((kind(2.0) * a / near + b) * (u - kind(0.5)) + n * p + kind(0.5))
        counts = np.where(done, counts, k)
        height = _mass(*(x.astype(np.float64) for x in _outcomes(np.clip(k, 0, n), n, p, q))) - top
        slow = (k >= 0) & (k <= n) & (np.log(v * alpha / (a / (near * near) + b)) <= height)
        done = done | ((near >= kind(0.07)) & (v <= squeeze)) | slow
        if done.all():
            break
    counts = np.clip(counts, 0, n)
    return np.where(one > zero, n - counts, counts).astype(np.int64)


def _outcomes(k: Array, n: Array, p: Array, q: Array) -> tuple[Array, ...]:
    """The arguments of `_mass` of k successes among n."""
    return k, n - k, p, q, np.log(p), np.log(q)


COUNTS: dict[str, Callable[[Env, Node, Sequence[Array]], Any]] = {
    "log_poisson": lambda env, node, args: log_poisson(*args),
    "log_poisson_log_rate": lambda env, node, args: log_poisson_log_rate(*args),
    "log_binomial": lambda env, node, args: log_binomial(*args),
    "log_binomial_logits": lambda env, node, args: log_binomial_logits(*args),
    "poisson_draw": drawing(poisson_draw),
    "binomial_draw": drawing(binomial_draw),
}
