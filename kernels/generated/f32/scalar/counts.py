# Made from kernels/source/scalar/counts.py by `python -m ppl.kernels.source`: change that file instead.
"""Log-probabilities of counts in Loader's saddle-point form, for real arguments (float32).

A mass is built of functions without cancellation: the deviance x log(x / rate) + rate - x, and
log gamma(x + 1) - x log x + x (Loader 2000, "Fast and accurate computation of binomial probabilities"). In float32
`log_count` is both, with one logarithm, and the mean of a binomial count is taken in double precision: a mean of 1e6
rounded to float32 would move log-probabilities by 1e-4."""

import math

import numpy as np

from ppl.kernels.decorators import inline, inline_reassociating
from ppl.kernels.generated.f32.scalar.basic import HALF, INF, ONE, TWO, ZERO, abs
from ppl.kernels.generated.f32.scalar.exponential import exp, log, log_above, softplus
from ppl.kernels.generated.f32.scalar.gamma import LGAMMA, STIRLING
from ppl.kernels.generated.f64.scalar import exponential as double
from ppl.kernels.scalar.polynomials import horner3, horner5, horner8

f32, f64 = np.float32, np.float64

LOG_TWO_PI = f32(math.log(2 * math.pi))

SHIFT = f32(4.0)

NEAR = f32(0.25)

TINY = f32(1e-18)

# (atanh(v) - v) / v**3 in v**2
ATANH = tuple(f32(1 / (2 * j + 3)) for j in range(6))

SMALL, LOG_TWO = f32(2.5), f32(math.log(2))


@inline
def saddle(y, rate, gap, ratio, log_y):
    """The log-mass of y >= 2.5, from ratio = log(y / rate), where that counts, and the logarithm of y."""
    inverse, v = ONE / y, gap / (y + rate)
    w = v * v
    series = gap * v + TWO * y * v * w * horner5(w, *ATANH)
    deviance = series if abs(v) < NEAR else y * ratio - gap
    rest = inverse * horner3(inverse * inverse, *STIRLING)
    return -deviance - (HALF * (LOG_TWO_PI + log_y) + rest)


@inline
def log_count(k, rate, gap, log_rate):
    """k log(rate) - rate - log gamma(k + 1) for k >= 0, from gap = k - rate and the logarithm of the rate.

    One logarithm and no branch. What depends on the rate alone leaves a loop over counts.
    """
    usual = rate >= TINY
    scale, known = ONE / (rate if usual else ONE), log_rate if usual else ZERO
    small, low, middle = k < SMALL, k < HALF, k < f32(1.5)
    y = SHIFT if small else k
    # Small: k is t, 1 + t or 2 + t, and gamma(k + 1) that of 2 + t divided by 1 + t, that, or k times that.
    t = k if low else (k - ONE if middle else k - TWO)
    t = t if small else ZERO
    factor = ONE + k if low else (ONE if middle else k)
    ratio = log(factor if small else y * scale)
    gamma = t * horner8(t, *LGAMMA) + (-ratio if low else ratio)
    power = k * log_rate if k > ZERO else ZERO
    few = power + ((gap - k) - gamma)
    many = saddle(y, rate, gap, ratio if usual else ratio - log_rate, ratio + known)
    return few if small else many


@inline
def log_whole_count(k, rate, log_rate):
    """`log_count` of whole numbers."""
    usual, small = rate >= TINY, k < SMALL
    scale, known = ONE / (rate if usual else ONE), log_rate if usual else ZERO
    y = SHIFT if small else k
    ratio = log_above(y * scale)
    few = ((k * log_rate if k > ZERO else ZERO) - rate) - (LOG_TWO if k > f32(1.5) else ZERO)
    many = saddle(y, rate, k - rate, ratio if usual else ratio - log_rate, ratio + known)
    return few if small else many


@inline_reassociating
def whole(x, y):
    """x + y: n where y was computed as n - x."""
    return x + y


@inline
def above(x, mean):
    """x minus a mean in double precision; where the mean is fixed, a loop over x stays in single precision."""
    high = f32(mean)
    return (x - high) - f32(mean - f64(high))


@inline
def log_poisson(k, rate):
    """log(rate**k exp(-rate) / gamma(k + 1)), k, rate >= 0; error 3e-6 relative to max(1, \\|value\\|)."""
    return log_count(k, rate, k - rate, log(rate))


@inline
def log_poisson_log_rate(k, log_rate):
    """`log_poisson` of whole numbers at the rate exp(log_rate), also where that underflows; beside its error, the slope
    (k - rate) times that of log(exp(log_rate)).
    """
    rate = exp(log_rate)
    value = log_whole_count(k, rate, log_rate)
    return value if rate < INF else -INF


@inline
def log_binomial(x, y, p):
    """log(gamma(x + y + 1) / (gamma(x + 1) gamma(y + 1)) p**x (1 - p)**y) for x, y >= 0; error 3e-6."""
    n = whole(x, y)
    q = f32(f64(1.0) - f64(p))
    gap, one, zero = above(x, f64(n) * f64(p)), n * p, n * q
    both = log_count(x, one, gap, log(one)) + log_count(y, zero, -gap, log(zero))
    return both - log_count(n, n, ZERO, log(n))


@inline
def log_binomial_logits(x, y, logits):
    """`log_binomial` at p = sigmoid(logits), also where that underflows or rounds to 1."""
    n = whole(x, y)
    log_n = log(n if n > ZERO else ONE)
    p, q = double.sigmoid(f64(logits)), double.sigmoid(-f64(logits))
    gap = above(x, f64(n) * p)
    one = log_count(x, n * f32(p), gap, log_n - softplus(-logits))
    zero = log_count(y, n * f32(q), -gap, log_n - softplus(logits))
    return one + zero - log_count(n, n, ZERO, log_n)
