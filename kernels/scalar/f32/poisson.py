"""Poisson counts: inversion for small rates, transformed rejection for large ones (float32)."""

import math

import numpy as np

from ppl.kernels.config import inline
from ppl.kernels.scalar.f32.basic import HALF, ONE, ZERO, abs, floor, sqrt
from ppl.kernels.scalar.f32.exponential import exp, log, log1p
from ppl.kernels.scalar.noise import attempt_words, open_uniform_f32

f32, i64 = np.float32, np.int64

ATTEMPTS = 60
FEW = f32(10.0)
LOG_TWO_PI = f32(math.log(2 * math.pi))


@inline
def _deviance(d):
    """(1 + d) log(1 + d) - d, by its power series near 0."""
    if d < f32(-0.15) or d > f32(0.15):
        return (ONE + d) * log1p(d) - d
    total, power = ZERO, d * d
    for n in range(2, 12):
        total += power / f32(n * (n - 1))
        power *= -d
    return total


@inline
def _log_mass(k, rate):
    """Log-probability of k >= 1 in Loader's saddle-point form, which has no cancellation at large rates."""
    inverse = ONE / k
    w = inverse * inverse
    rest = inverse * (f32(1 / 12) - w * (f32(1 / 360) - w * (f32(1 / 1260) - w * f32(1 / 1680))))
    return -rate * _deviance((k - rate) / rate) - HALF * (LOG_TWO_PI + log(k)) - rest


@inline
def _inversion(rate, u):
    """The smallest k whose cumulative probability exceeds u."""
    mass, k = exp(-rate), ZERO
    total = mass
    while u > total and k < f32(200.0):
        k += ONE
        mass *= rate / k
        total += mass
    return k


@inline
def poisson_draw(rate, key, column, stream):
    """A Poisson count as int64 (Hoermann 1993, "The transformed rejection method", PTRS, from rate 10 on).

    Parameters
    ----------
    rate : positive; counts above 2**24 in float32 are rounded to float32.
    key, column, stream : as for `loggamma_draw`.
    """
    w0, w1, _, _ = attempt_words(key, column, stream, 0)
    if rate < FEW:
        return i64(_inversion(rate, open_uniform_f32(w0)))
    root = sqrt(rate)
    b = f32(0.931) + f32(2.53) * root
    a = f32(-0.059) + f32(0.02483) * b
    inverse = f32(1.1239) + f32(1.1328) / (b - f32(3.4))
    squeeze = f32(0.9277) - f32(3.6224) / (b - f32(2.0))
    k = rate
    for attempt in range(1, ATTEMPTS):
        u, v = open_uniform_f32(w0) - HALF, open_uniform_f32(w1)
        near = HALF - abs(u)
        k = floor((f32(2.0) * a / near + b) * u + rate + f32(0.43))
        if near >= f32(0.07) and v <= squeeze:
            break
        if k >= ONE and (near >= f32(0.013) or v <= near):
            if log(v * inverse / (a / (near * near) + b)) <= _log_mass(k, rate):
                break
        w0, w1, _, _ = attempt_words(key, column, stream, attempt)
    return i64(k) if k > ZERO else i64(0)
