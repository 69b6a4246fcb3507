# Made from kernels/source/scalar/poisson.py by `python -m ppl.kernels.source`: change that file instead.
"""Poisson counts: inversion for small rates, transformed rejection for large ones (float64)."""

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.generated.f64.scalar.basic import HALF, ONE, ZERO, abs, floor, sqrt
from ppl.kernels.generated.f64.scalar.counts import deviance, log_ratio, stirling
from ppl.kernels.generated.f64.scalar.exponential import exp, expm1, log
from ppl.kernels.scalar.noise import attempt_words, open_uniform_f64

f64, i64 = np.float64, np.int64

ATTEMPTS = 60

FEW = f64(10.0)

MOST = f64(200.0)


@inline
def _inversion(rate, t):
    """0 where t is at least the probability of more, else by inversion of the law of counts from 1 on."""
    more = -expm1(-rate)
    if t >= more:
        return ZERO
    u, k, mass = ONE - t / more, ONE, rate * exp(-rate) / more
    total = mass
    while u > total and k < MOST:
        k += ONE
        mass *= rate / k
        total += mass
    return k


@inline
def _hat(rate):
    """The numbers a, b, 1 / alpha and v_r of PTRS."""
    b = f64(0.931) + f64(2.53) * sqrt(rate)
    a = f64(-0.059) + f64(0.02483) * b
    return a, b, f64(1.1239) + f64(1.1328) / (b - f64(3.4)), f64(0.9277) - f64(3.6224) / (b - f64(2.0))


@inline
def count_at_shift(rate, shift):
    """floor(rate) + shift as int64, at least 0."""
    k = i64(floor(rate)) + i64(shift)
    return k if k > i64(0) else i64(0)


@inline
def poisson_draw(rate, key, column, stream):
    """A Poisson count as int64 (Hoermann 1993, "The transformed rejection method", PTRS, from rate 10 on).

    Parameters
    ----------
    rate : non-negative, below 2**62.
    key, column, stream : as for `loggamma_draw`.
    """
    w0, w1, w2, w3 = attempt_words(key, column, stream, 0)
    if rate < FEW:
        return i64(_inversion(rate, open_uniform_f64(w0, w1)))
    a, b, inverse, squeeze = _hat(rate)
    whole = floor(rate)
    part, shift = rate - whole, ZERO
    for attempt in range(1, ATTEMPTS):
        u, v = open_uniform_f64(w0, w1) - HALF, open_uniform_f64(w2, w3)
        near = HALF - abs(u)
        shift = floor((f64(2.0) * a / near + b) * u + part + f64(0.43))
        if near >= f64(0.07) and v <= squeeze:
            break
        k = whole + shift
        if k >= ONE and (near >= f64(0.013) or v <= near):
            height = -deviance(k, rate, shift - part, log_ratio(k, rate)) - stirling(k)
            if log(v * inverse / (a / (near * near) + b)) <= height:
                break
        w0, w1, w2, w3 = attempt_words(key, column, stream, attempt)
    return count_at_shift(rate, shift)
