# Made from kernels/source/scalar/poisson.py by `python -m ppl.kernels.source`: change that file instead.
"""Poisson counts: inversion for small rates, transformed rejection for large ones (float32)."""

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.generated.f32.scalar.basic import HALF, NAN, ONE, ZERO, abs, floor, sqrt
from ppl.kernels.generated.f32.scalar.counts import log_count
from ppl.kernels.generated.f32.scalar.exponential import exp, expm1, log
from ppl.kernels.scalar.noise import attempt_words, fine_uniform_f32, open_uniform_f32

f32, i64 = np.float32, np.int64

ATTEMPTS = 60

FEW = f32(10.0)

MOST = f32(200.0)


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
    b = f32(0.931) + f32(2.53) * sqrt(rate)
    a = f32(-0.059) + f32(0.02483) * b
    return a, b, f32(1.1239) + f32(1.1328) / (b - f32(3.4)), f32(0.9277) - f32(3.6224) / (b - f32(2.0))


@inline
def poisson_attempt(rate, key, column, stream, attempt):
    """One attempt of PTRS at a rate from 10 on: the count less floor(rate), NaN where it is rejected; no branch."""
    w0, w1, _, _ = attempt_words(key, column, stream, attempt)
    u, v = open_uniform_f32(w0) - HALF, open_uniform_f32(w1)
    a, b, inverse, squeeze = _hat(rate)
    whole = floor(rate)
    part, near = rate - whole, HALF - abs(u)
    shift = floor((f32(2.0) * a / near + b) * u + part + f32(0.43))
    k = whole + shift
    inside = k >= ONE
    k = k if inside else ONE
    height = log_count(k, rate, shift - part, log(rate))
    below = log(v * inverse / (a / (near * near) + b)) <= height
    quick = (near >= f32(0.07)) & (v <= squeeze)
    return shift if quick | (inside & ((near >= f32(0.013)) | (v <= near)) & below) else NAN


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
    if rate < FEW:
        w0, w1, _, _ = attempt_words(key, column, stream, 0)
        return i64(_inversion(rate, fine_uniform_f32(w0, w1)))
    shift = ZERO
    for attempt in range(ATTEMPTS):
        shift = poisson_attempt(rate, key, column, stream, attempt)
        if shift == shift:
            break
    return count_at_shift(rate, shift)
