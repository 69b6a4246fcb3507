# Made from kernels/source/scalar/binomial.py by `python -m ppl.kernels.source`: change that file instead.
"""Binomial counts: inversion for small means, transformed rejection for large ones (float64)."""

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.generated.f64.scalar.basic import HALF, INF, ONE, TWO, ZERO, abs, floor, maximum, minimum, sqrt
from ppl.kernels.generated.f64.scalar.counts import deviance, log_ratio, stirling
from ppl.kernels.generated.f64.scalar.exponential import exp, expm1, log, log1p
from ppl.kernels.scalar.noise import attempt_words, open_uniform_f64

f64, i64 = np.float64, np.int64

ATTEMPTS = 60

FEW = f64(10.0)

MOST = f64(200.0)


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
    fall, rise = deviance(k, one, gap, log_ratio(k, one)), deviance(rest, zero, -gap, log_ratio(rest, zero))
    return -fall - rise - stirling(k) - stirling(rest)


@inline
def binomial_log_mode(n, p, q):
    """The height of the most likely count."""
    return _log_mass(floor((n + ONE) * p), n, p, q)


@inline
def _hat(n, p, q):
    """The numbers a, b, alpha and v_r of BTRS."""
    spread = sqrt(n * p * q)
    b = f64(1.15) + f64(2.53) * spread
    a = f64(-0.0873) + f64(0.0248) * b + f64(0.01) * p
    return a, b, (f64(2.83) + f64(5.1) / b) * spread, f64(0.92) - f64(4.2) / b


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
    w0, w1, w2, w3 = attempt_words(key, column, stream, 0)
    if n * p < FEW:
        k = _inversion(n, p, q, open_uniform_f64(w0, w1))
        return i64(n - k if one > zero else k)
    a, b, alpha, squeeze = _hat(n, p, q)
    k, top = ZERO, INF
    for attempt in range(1, ATTEMPTS):
        u, v = open_uniform_f64(w0, w1) - HALF, open_uniform_f64(w2, w3)
        near = HALF - abs(u)
        k = floor((TWO * a / near + b) * u + n * p + HALF)
        if near >= f64(0.07) and v <= squeeze:
            break
        if k >= ZERO and k <= n:
            top = binomial_log_mode(n, p, q) if top == INF else top
            if log(v * alpha / (a / (near * near) + b)) <= _log_mass(k, n, p, q) - top:
                break
        w0, w1, w2, w3 = attempt_words(key, column, stream, attempt)
    k = minimum(maximum(k, ZERO), n)
    return i64(n - k if one > zero else k)
