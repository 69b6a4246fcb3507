# Made from kernels/source/scalar/counts.py by `python -m ppl.kernels.source`: change that file instead.
"""Log-probabilities of counts in Loader's saddle-point form, for real arguments (float64).

A mass is built of functions without cancellation: the deviance x log(x / rate) + rate - x, and
log gamma(x + 1) - x log x + x (Loader 2000, "Fast and accurate computation of binomial probabilities"). In float32
`log_count` is both, with one logarithm, and the mean of a binomial count is taken in double precision: a mean of 1e6
rounded to float32 would move log-probabilities by 1e-4."""

import math

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.generated.f64.scalar.basic import HALF, INF, ONE, TWO, ZERO, abs
from ppl.kernels.generated.f64.scalar.exponential import exp, log, sigmoid, softplus
from ppl.kernels.scalar.polynomials import horner7

f64 = np.float64

LOG_TWO_PI = f64(math.log(2 * math.pi))

SHIFT = f64(16.0)

NEAR = f64(0.1)

TINY = f64(1e-250)

# (atanh(v) - v) / v**3 in v**2
ATANH = tuple(f64(1 / (2 * j + 3)) for j in range(8))

LIFT, LOG_LIFT = f64(2.0**200), f64(200 * math.log(2))


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
    series = gap * v + TWO * x * v * w * horner7(w, *ATANH)
    value = series if abs(v) < NEAR else x * ratio - gap
    return -gap if x == ZERO else value


@inline
def stirling(x):
    """log gamma(x + 1) - x log x + x for x >= 0: Stirling's series from 16 on, below by recurrence from x + 16."""
    small = x < SHIFT
    z = x + SHIFT if small else x
    inverse = ONE / z
    w = inverse * inverse
    rest = f64(1 / 1260) - w * (f64(1 / 1680) - w * f64(1 / 1188))
    large = HALF * (LOG_TWO_PI + log(z)) + inverse * (f64(1 / 12) - w * (f64(1 / 360) - w * rest))
    y = x if small else ZERO
    product = ONE
    for i in range(1, 17):
        product *= y + f64(i)
    power = y * log(y if y > ZERO else ONE)
    value = large + (z * log(z) - SHIFT - log(product) - power) if small else large
    return ZERO if x == ZERO else value


@inline
def mass(x, y, gap, p, q, log_p, log_q):
    """`log_binomial` from gap = x q - y p, log_p = log(x / (n p)) and log_q = log(y / (n q)), n = x + y."""
    n = x + y
    one = deviance(x, n * p, gap, log_p)
    zero = deviance(y, n * q, -gap, log_q)
    return stirling(n) - stirling(x) - stirling(y) - one - zero


@inline
def log_poisson(k, rate):
    """log(rate**k exp(-rate) / gamma(k + 1)), k, rate >= 0; error 1e-14 relative to max(1, \\|value\\|)."""
    return -deviance(k, rate, k - rate, log_ratio(k, rate)) - stirling(k)


@inline
def log_poisson_log_rate(k, log_rate):
    """`log_poisson` of whole numbers at the rate exp(log_rate), also where that underflows; beside its error, the slope
    (k - rate) times that of log(exp(log_rate)).
    """
    rate = exp(log_rate)
    ratio = log_ratio(k, rate) if rate > TINY else log(k) - log_rate
    value = -deviance(k, rate, k - rate, ratio) - stirling(k)
    return value if rate < INF else -INF


@inline
def log_binomial(x, y, p):
    """log(gamma(x + y + 1) / (gamma(x + 1) gamma(y + 1)) p**x (1 - p)**y) for x, y >= 0; error 1e-13."""
    n, q = x + y, ONE - p
    return mass(x, y, x * q - y * p, p, q, log_ratio(x, n * p), log_ratio(y, n * q))


@inline
def log_binomial_logits(x, y, logits):
    """`log_binomial` at p = sigmoid(logits), also where that underflows or rounds to 1."""
    n = x + y
    n = n if n > ZERO else ONE
    p, q = sigmoid(logits), sigmoid(-logits)
    one, zero = log(x / n) + softplus(-logits), log(y / n) + softplus(logits)
    return mass(x, y, x * q - y * p, p, q, one, zero)
