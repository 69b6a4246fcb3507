# Made from kernels/source/scalar/binomial.py by `python -m ppl.kernels.source`: change that file instead.
"""Binomial counts: inversion for small means, transformed rejection for large ones (float32)."""

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.generated.f32.scalar.basic import HALF, NAN, ONE, TWO, ZERO, abs, floor, maximum, minimum, sqrt
from ppl.kernels.generated.f32.scalar.counts import log_count
from ppl.kernels.generated.f32.scalar.exponential import exp, expm1, log, log1p
from ppl.kernels.scalar.noise import attempt_words, fine_uniform_f32, open_uniform_f32

f32, i64 = np.float32, np.int64

ATTEMPTS = 60

FEW = f32(10.0)

MOST = f32(200.0)


@inline
def _inversion(n, p, q, t):
    """0 where t is at least the probability of more, else by inversion of the law of counts from 1 on; p <= 1 / 2."""
    none = n * log1p(-p)
    more = -expm1(none)
    if t >= more:
        return ZERO
    odds = p / q
    u, k, weight = ONE - t / more, ONE, n * odds * exp(none) / more
    total = weight
    while u > total and k < n and k < MOST:
        weight *= odds * (n - k) / (k + ONE)
        k += ONE
        total += weight
    return k


@inline
def _log_mass(k, n, p, q):
    """The log-mass of k, less a term of n alone."""
    rest, gap, one, zero = n - k, k * q - (n - k) * p, n * p, n * q
    return log_count(k, one, gap, log(one)) + log_count(rest, zero, -gap, log(zero))


@inline
def binomial_log_mode(n, p, q):
    """The height of the most likely count."""
    return _log_mass(floor((n + ONE) * p), n, p, q)


@inline
def _hat(n, p, q):
    """The numbers a, b, alpha and v_r of BTRS."""
    spread = sqrt(n * p * q)
    b = f32(1.15) + f32(2.53) * spread
    a = f32(-0.0873) + f32(0.0248) * b + f32(0.01) * p
    return a, b, (f32(2.83) + f32(5.1) / b) * spread, f32(0.92) - f32(4.2) / b


@inline
def binomial_attempt(n, p, q, top, key, column, stream, attempt):
    """One attempt of BTRS at n p from 10 on, p <= q = 1 - p: a count, NaN where it is rejected; no branch."""
    w0, w1, _, _ = attempt_words(key, column, stream, attempt)
    u, v = open_uniform_f32(w0) - HALF, open_uniform_f32(w1)
    a, b, alpha, squeeze = _hat(n, p, q)
    near = HALF - abs(u)
    k = floor((TWO * a / near + b) * u + n * p + HALF)
    bounded = minimum(maximum(k, ZERO), n)
    below = log(v * alpha / (a / (near * near) + b)) <= _log_mass(bounded, n, p, q) - top
    quick = (near >= f32(0.07)) & (v <= squeeze)
    return bounded if quick | ((k == bounded) & below) else NAN


@inline
def binomial_draw(total, one, zero, key, column, stream):
    """A binomial count as int64 (Hoermann 1993, "The generation of binomial random variates", BTRS, from mean 10 on).

    Parameters
    ----------
    total : number of trials, a whole number (in float32 below 2**24).
    one, zero : the probability of success and that of failure.
    key, column, stream : as for `loggamma_draw`.
    """
    n, p, q = total, minimum(one, zero), maximum(one, zero)
    if n * p < FEW:
        w0, w1, _, _ = attempt_words(key, column, stream, 0)
        k = _inversion(n, p, q, fine_uniform_f32(w0, w1))
        return i64(n - k if one > zero else k)
    top, k = binomial_log_mode(n, p, q), ZERO
    for attempt in range(ATTEMPTS):
        k = binomial_attempt(n, p, q, top, key, column, stream, attempt)
        if k == k:
            break
    return i64(n - k if one > zero else k)
