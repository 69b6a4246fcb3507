"""Poisson counts: inversion for small rates, transformed rejection for large ones (`real`)."""

from ppl.kernels.decorators import inline
from ppl.kernels.scalar.noise import attempt_words, fine_uniform_f32, open_uniform_f32, open_uniform_f64
from ppl.kernels.source.precision import SINGLE, i64, real
from ppl.kernels.source.scalar.basic import HALF, NAN, ONE, ZERO, abs, floor, sqrt
from ppl.kernels.source.scalar.exponential import exp, expm1, log

if SINGLE:
    from ppl.kernels.source.scalar.counts import log_count
else:
    from ppl.kernels.source.scalar.counts import deviance, log_ratio, stirling

ATTEMPTS = 60

FEW = real(10.0)

MOST = real(200.0)


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
    b = real(0.931) + real(2.53) * sqrt(rate)
    a = real(-0.059) + real(0.02483) * b
    return a, b, real(1.1239) + real(1.1328) / (b - real(3.4)), real(0.9277) - real(3.6224) / (b - real(2.0))


if SINGLE:

    @inline
    def poisson_attempt(rate, key, column, stream, attempt):
        """One attempt of PTRS at a rate from 10 on: the count less floor(rate), NaN where it is rejected; no branch."""
        w0, w1, _, _ = attempt_words(key, column, stream, attempt)
        u, v = open_uniform_f32(w0) - HALF, open_uniform_f32(w1)
        a, b, inverse, squeeze = _hat(rate)
        whole = floor(rate)
        part, near = rate - whole, HALF - abs(u)
        shift = floor((real(2.0) * a / near + b) * u + part + real(0.43))
        k = whole + shift
        inside = k >= ONE
        k = k if inside else ONE
        height = log_count(k, rate, shift - part, log(rate))
        below = log(v * inverse / (a / (near * near) + b)) <= height
        quick = (near >= real(0.07)) & (v <= squeeze)
        return shift if quick | (inside & ((near >= real(0.013)) | (v <= near)) & below) else NAN


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
    if SINGLE:
        if rate < FEW:
            w0, w1, _, _ = attempt_words(key, column, stream, 0)
            return i64(_inversion(rate, fine_uniform_f32(w0, w1)))
        shift = ZERO
        for attempt in range(ATTEMPTS):
            shift = poisson_attempt(rate, key, column, stream, attempt)
            if shift == shift:
                break
    else:
        w0, w1, w2, w3 = attempt_words(key, column, stream, 0)
        if rate < FEW:
            return i64(_inversion(rate, open_uniform_f64(w0, w1)))
        a, b, inverse, squeeze = _hat(rate)
        whole = floor(rate)
        part, shift = rate - whole, ZERO
        for attempt in range(1, ATTEMPTS):
            u, v = open_uniform_f64(w0, w1) - HALF, open_uniform_f64(w2, w3)
            near = HALF - abs(u)
            shift = floor((real(2.0) * a / near + b) * u + part + real(0.43))
            if near >= real(0.07) and v <= squeeze:
                break
            k = whole + shift
            if k >= ONE and (near >= real(0.013) or v <= near):
                height = -deviance(k, rate, shift - part, log_ratio(k, rate)) - stirling(k)
                if log(v * inverse / (a / (near * near) + b)) <= height:
                    break
            w0, w1, w2, w3 = attempt_words(key, column, stream, attempt)
    return count_at_shift(rate, shift)
