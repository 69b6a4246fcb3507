"""Log-probabilities of counts in Loader's saddle-point form, for real arguments (`real`).

A mass is built of functions without cancellation: the deviance x log(x / rate) + rate - x, and
log gamma(x + 1) - x log x + x (Loader 2000, "Fast and accurate computation of binomial probabilities"). In float32
`log_count` is both, with one logarithm, and the mean of a binomial count is taken in double precision: a mean of 1e6
rounded to float32 would move log-probabilities by 1e-4."""

import math

from ppl.kernels.decorators import inline, inline_reassociating
from ppl.kernels.generated.f64.scalar import exponential as double
from ppl.kernels.scalar.polynomials import horner3, horner5, horner7, horner8
from ppl.kernels.source.precision import SINGLE, f64, real
from ppl.kernels.source.scalar.basic import HALF, INF, ONE, TWO, ZERO, abs
from ppl.kernels.source.scalar.exponential import exp, log, log_above, sigmoid, softplus

if SINGLE:
    from ppl.kernels.source.scalar.gamma import LGAMMA, STIRLING

LOG_TWO_PI = real(math.log(2 * math.pi))

SHIFT = real(4.0 if SINGLE else 16.0)

NEAR = real(0.25 if SINGLE else 0.1)

TINY = real(1e-18 if SINGLE else 1e-250)

# (atanh(v) - v) / v**3 in v**2
ATANH = tuple(real(1 / (2 * j + 3)) for j in range(6 if SINGLE else 8))

if SINGLE:
    SMALL, LOG_TWO = real(2.5), real(math.log(2))

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
        small, low, middle = k < SMALL, k < HALF, k < real(1.5)
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
        few = ((k * log_rate if k > ZERO else ZERO) - rate) - (LOG_TWO if k > real(1.5) else ZERO)
        many = saddle(y, rate, k - rate, ratio if usual else ratio - log_rate, ratio + known)
        return few if small else many

    @inline_reassociating
    def whole(x, y):
        """x + y: n where y was computed as n - x."""
        return x + y

    @inline
    def above(x, mean):
        """x minus a mean in double precision; where the mean is fixed, a loop over x stays in single precision."""
        high = real(mean)
        return (x - high) - real(mean - f64(high))

else:
    LIFT, LOG_LIFT = real(2.0**200), real(200 * math.log(2))

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
        rest = real(1 / 1260) - w * (real(1 / 1680) - w * real(1 / 1188))
        large = HALF * (LOG_TWO_PI + log(z)) + inverse * (real(1 / 12) - w * (real(1 / 360) - w * rest))
        y = x if small else ZERO
        product = ONE
        for i in range(1, 17):
            product *= y + real(i)
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
    """log(rate**k exp(-rate) / gamma(k + 1)), k, rate >= 0; error {3e-6 | 1e-14} relative to max(1, \\|value\\|)."""
    if SINGLE:
        return log_count(k, rate, k - rate, log(rate))
    else:
        return -deviance(k, rate, k - rate, log_ratio(k, rate)) - stirling(k)


@inline
def log_poisson_log_rate(k, log_rate):
    """`log_poisson` of whole numbers at the rate exp(log_rate), also where that underflows; beside its error, the slope
    (k - rate) times that of log(exp(log_rate)).
    """
    rate = exp(log_rate)
    if SINGLE:
        value = log_whole_count(k, rate, log_rate)
    else:
        ratio = log_ratio(k, rate) if rate > TINY else log(k) - log_rate
        value = -deviance(k, rate, k - rate, ratio) - stirling(k)
    return value if rate < INF else -INF


@inline
def log_binomial(x, y, p):
    """log(gamma(x + y + 1) / (gamma(x + 1) gamma(y + 1)) p**x (1 - p)**y) for x, y >= 0; error {3e-6 | 1e-13}."""
    if SINGLE:
        n = whole(x, y)
        q = real(f64(1.0) - f64(p))
        gap, one, zero = above(x, f64(n) * f64(p)), n * p, n * q
        both = log_count(x, one, gap, log(one)) + log_count(y, zero, -gap, log(zero))
        return both - log_count(n, n, ZERO, log(n))
    else:
        n, q = x + y, ONE - p
        return mass(x, y, x * q - y * p, p, q, log_ratio(x, n * p), log_ratio(y, n * q))


@inline
def log_binomial_logits(x, y, logits):
    """`log_binomial` at p = sigmoid(logits), also where that underflows or rounds to 1."""
    if SINGLE:
        n = whole(x, y)
        log_n = log(n if n > ZERO else ONE)
        p, q = double.sigmoid(f64(logits)), double.sigmoid(-f64(logits))
        gap = above(x, f64(n) * p)
        one = log_count(x, n * real(p), gap, log_n - softplus(-logits))
        zero = log_count(y, n * real(q), -gap, log_n - softplus(logits))
        return one + zero - log_count(n, n, ZERO, log_n)
    else:
        n = x + y
        n = n if n > ZERO else ONE
        p, q = sigmoid(logits), sigmoid(-logits)
        one, zero = log(x / n) + softplus(-logits), log(y / n) + softplus(logits)
        return mass(x, y, x * q - y * p, p, q, one, zero)
