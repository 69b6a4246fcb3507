# Made from kernels/source/scalar/exponential.py by `python -m ppl.kernels.source`: change that file instead.
"""Exponentials, logarithms and the functions of logits (float64).

Errors are stated with each function in units in the last place (ulp) and tested. Infinite and NaN arguments give what
NumPy gives. Results below the smallest normal number are flushed to zero. `exp` and `log` vectorise."""

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.generated.f64.scalar.basic import HALF, INF, NAN, ONE, TWO, ZERO, abs, maximum, minimum
from ppl.kernels.generated.f64.scalar.coefficients import LOG
from ppl.kernels.scalar.polynomials import horner5, horner6

f64, i32, i64 = np.float64, np.int32, np.int64

LOG2E = f64(1.4426950408889634)

LN2_HIGH = f64(6.93147180369123816490e-01)  # 32 bits: k * LN2_HIGH is exact

LN2_LOW = f64(1.90821492927058770002e-10)

LOWEST = f64(-708.3)

HIGHEST = f64(710.0)

SMALLEST = f64(2.2250738585072014e-308)  # normal number

LIFT, LIFTED = f64(18014398509481984.0), f64(54.0)

MINUS_ONE = f64(-80.0)  # from here on exp(x) - 1 rounds to -1

TANH_ONE = f64(20.0)

SQRT_HALF_BITS = i64(0x3FE6A09E667F3BCD)

# 1/2!, ..., 1/7! and 1/8!, ..., 1/13!
EXP_FIRST = tuple(map(f64, (1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040)))
EXP_LAST = tuple(map(f64, (1 / 40320, 1 / 362880, 1 / 3628800, 1 / 39916800, 1 / 479001600, 1 / 6227020800)))


@inline
def _reduce(x):
    """k, an int32, and r with x = k ln 2 + r and |r| < 0.347, for `x` of `_clamp`."""
    k = i32(x * LOG2E + f64(2048.5)) - i32(2048)
    t = f64(k)
    return i32(k), (x - t * LN2_HIGH) - t * LN2_LOW


@inline
def _clamp(x):
    """`x` clamped to the range of `_reduce`; NaN becomes the lower end."""
    x = x if x > LOWEST else LOWEST
    return x if x < HIGHEST else HIGHEST


@inline
def _half_power_of_two(k):
    """2**(k - 1) up to k = 1024, and 0 for k = -1022."""
    return i64(i64(i64(k) + i64(1022)) << i64(52)).view(f64)


@inline
def _expm1_reduced(r):
    """exp(r) - 1 for |r| < 0.347."""
    z = r * r
    z3 = z * z * z
    return (horner5(r, *EXP_LAST) * z3 + horner5(r, *EXP_FIRST)) * z + r


@inline
def exp(x):
    """exp(x); 1.2 ulp; 0 below -708."""
    k, r = _reduce(_clamp(x))
    y = _expm1_reduced(r) + ONE
    # In this order no subnormal number appears, which would cost 100 cycles.
    y = (y + y) * _half_power_of_two(k)
    return x if x != x else y


@inline
def expm1(x):
    """exp(x) - 1; 2 ulp."""
    k, r = _reduce(_clamp(x if x > MINUS_ONE else MINUS_ONE))
    p, s = _expm1_reduced(r), _half_power_of_two(k)
    y = (s * p + (s - HALF)) * TWO
    return x if x != x else y


@inline
def _log_normal(x, shift):
    """log(x) - shift log 2 for a normal positive number."""
    bits = f64(x).view(i64)
    e = i64(i64(bits - SQRT_HALF_BITS) >> i64(52))
    f = i64(bits - i64(e << i64(52))).view(f64) - ONE
    e = f64(i32(e)) - shift
    s = f / (TWO + f)
    z = s * s
    half = HALF * f * f
    tail = s * (half + z * horner6(z, *LOG)) + e * LN2_LOW
    return e * LN2_HIGH - ((half - tail) - f)


@inline
def _log_positive(x):
    """log(x) for 0 < x < inf."""
    tiny = x < SMALLEST
    return _log_normal(x * LIFT if tiny else x, LIFTED if tiny else ZERO)


@inline
def log_uniform(x):
    """log(x) without a check that x is a normal positive number, as uniforms are; 1 ulp."""
    return _log_normal(x, ZERO)


@inline
def log(x):
    """Natural logarithm; 1 ulp; -inf at 0 and NaN below."""
    inside = x > ZERO and x < INF
    y = _log_positive(x if inside else ONE)
    outside = x if x > ZERO else (-INF if x == ZERO else NAN)
    return y if inside else outside


@inline
def log_above(x):
    """`log` of a number known to be above 0; infinite at infinity."""
    return log(x)


@inline
def log1p(x):
    """log(1 + x); 2 ulp; -inf at -1 and NaN below."""
    inside = x > -ONE and x < INF
    z = x if inside else ZERO
    u = ONE + z
    y = _log_positive(u) + (z - (u - ONE)) / u
    outside = x if x > -ONE else (-INF if x == -ONE else NAN)
    return y if inside else outside


@inline
def sigmoid(x):
    """1 / (1 + exp(-x)); 3 ulp (relative, in both tails).

    Like `softplus` it is written on exp(-|x|), so that a loop that needs both (a Bernoulli's log-probability and its
    gradient) evaluates one exponential.
    """
    e = exp(-abs(x))
    y = ONE / (ONE + e)
    return y if x > ZERO else e * y


@inline
def softplus(x):
    """log(1 + exp(x)); 3 ulp."""
    return maximum(x, ZERO) + log1p(exp(-abs(x)))


@inline
def log_sigmoid(x):
    """log(sigmoid(x)) = -softplus(-x); 3 ulp."""
    return minimum(x, ZERO) - log1p(exp(-abs(x)))


@inline
def logit(p):
    """log(p / (1 - p)), the inverse of `sigmoid`; error 4e-16 relative to max(1, \\|y\\|)."""
    return log(p / (ONE - p))


@inline
def tanh(x):
    """Hyperbolic tangent; 3 ulp."""
    a = -x if x < ZERO else x
    e = expm1(TWO * (TANH_ONE if a > TANH_ONE else a))
    y = e / (e + TWO)
    return -y if x < ZERO else y


@inline
def log1mexp(x):
    """log(1 - exp(x)) for x <= 0, accurate at both ends."""
    e = exp(x)
    near = x > f64(-0.6931471805599453)
    u = -expm1(x) if near else ONE - e
    return log(u) - (ZERO if near else (e + (u - ONE)) / u)


@inline
def power(x, y):
    """x**y as the platform computes it; NaN for x < 0 unless y is an integer."""
    return f64(x) ** f64(y)
