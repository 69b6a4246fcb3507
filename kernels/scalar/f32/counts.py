"""Log-probabilities of counts in Loader's saddle-point form, for real arguments (float32).

Every mass is built of two functions without cancellation: the deviance x log(x / rate) + rate - x, and
`stirling`(x) = log gamma(x + 1) - x log x + x (Loader 2000, "Fast and accurate computation of binomial probabilities").
The gap between a binomial count and its mean is taken in double precision: a mean of 1e6 rounded to float32 would move
log-probabilities by 1e-4.
"""

import math

import numpy as np

from ppl.kernels.config import inline
from ppl.kernels.scalar.f32.basic import HALF, ONE, TWO, ZERO, abs
from ppl.kernels.scalar.f32.exponential import log, softplus
from ppl.kernels.scalar.f64 import exponential as double
from ppl.kernels.scalar.polynomials import horner5

f32, f64 = np.float32, np.float64

LOG_TWO_PI = f32(math.log(2 * math.pi))
SHIFT = f32(4.0)
NEAR = f32(0.25)
TINY, LIFT, LOG_LIFT = f32(1e-25), f32(2.0**60), f32(60 * math.log(2))
# (atanh(v) - v) / v**3 in v**2
ATANH = tuple(f32(1 / (2 * j + 3)) for j in range(6))


@inline
def log_ratio(x, rate):
    """log(x / rate), also where the quotient overflows."""
    tiny = rate < TINY
    return log(x / (rate * LIFT if tiny else rate)) + (LOG_LIFT if tiny else ZERO)


@inline
def deviance(x, rate, gap, ratio):
    """x log(x / rate) + rate - x, from gap = x - rate and ratio = log(x / rate); rate at x = 0."""
    v = gap / (x + rate)
    w = v * v
    series = gap * v + TWO * x * v * w * horner5(w, *ATANH)
    value = series if abs(v) < NEAR else x * ratio - gap
    return -gap if x == ZERO else value


@inline
def stirling(x):
    """log gamma(x + 1) - x log x + x for x >= 0: Stirling's series from 4 on, below by recurrence from x + 4."""
    small = x < SHIFT
    z = x + SHIFT if small else x
    inverse = ONE / z
    w = inverse * inverse
    rest = f32(1 / 1260) - w * f32(1 / 1680)
    large = HALF * (LOG_TWO_PI + log(z)) + inverse * (f32(1 / 12) - w * (f32(1 / 360) - w * rest))
    y = x if small else ZERO
    product = ONE
    for i in range(1, 5):
        product *= y + f32(i)
    power = y * log(y if y > ZERO else ONE)
    value = large + (z * log(z) - SHIFT - log(product) - power) if small else large
    return ZERO if x == ZERO else value


@inline
def log_poisson(k, rate):
    """log(rate**k exp(-rate) / gamma(k + 1)) for k, rate >= 0; error 3e-6 relative to max(1, \\|value\\|)."""
    return -deviance(k, rate, k - rate, log_ratio(k, rate)) - stirling(k)


@inline
def mass(x, y, gap, p, q, log_p, log_q):
    """`log_binomial` from gap = x q - y p, log_p = log(x / (n p)) and log_q = log(y / (n q)), n = x + y."""
    n = x + y
    one = deviance(x, n * p, gap, log_p)
    zero = deviance(y, n * q, -gap, log_q)
    return stirling(n) - stirling(x) - stirling(y) - one - zero


@inline
def log_binomial(x, y, p):
    """log(gamma(x + y + 1) / (gamma(x + 1) gamma(y + 1)) p**x (1 - p)**y) for x, y >= 0; error 3e-6."""
    n, other = x + y, f64(1.0) - f64(p)
    q, gap = f32(other), f32(f64(x) * other - f64(y) * f64(p))
    return mass(x, y, gap, p, q, log_ratio(x, n * p), log_ratio(y, n * q))


@inline
def log_binomial_logits(x, y, logits):
    """`log_binomial` at p = sigmoid(logits), also where that underflows or rounds to 1."""
    n = x + y
    n = n if n > ZERO else ONE
    p, q = double.sigmoid(f64(logits)), double.sigmoid(-f64(logits))
    one, zero = log(x / n) + softplus(-logits), log(y / n) + softplus(logits)
    return mass(x, y, f32(f64(x) * q - f64(y) * p), f32(p), f32(q), one, zero)
