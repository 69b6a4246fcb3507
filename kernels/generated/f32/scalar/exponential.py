# Made from kernels/source/scalar/exponential.py by `python -m ppl.kernels.source`: change that file instead.
"""Exponentials, logarithms and the functions of logits (float32).

Errors are stated with each function in units in the last place (ulp) and tested. Infinite and NaN arguments give what
NumPy gives. Results below the smallest normal number are flushed to zero. `exp` and `log` vectorise."""

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.generated.f32.scalar.basic import HALF, INF, NAN, ONE, TWO, ZERO, abs
from ppl.kernels.generated.f32.scalar.coefficients import LOG, SHORT
from ppl.kernels.scalar.polynomials import paired4, paired5, paired8

f32, i32 = np.float32, np.int32

LOG2E = f32(1.4426950408889634)

LN2_HIGH = f32(0.693359375)  # 10 bits: k * LN2_HIGH is exact

LN2_LOW = f32(-2.12194440e-4)

LOWEST = f32(-87.33)

HIGHEST = f32(89.0)

SMALLEST = f32(1.17549435e-38)  # normal number

LIFT, LIFTED = f32(8388608.0), f32(23.0)

MINUS_ONE = f32(-40.0)  # from here on exp(x) - 1 rounds to -1

TANH_ONE = f32(10.0)

SQRT_HALF_BITS = i32(0x3F3504F3)

LN2 = f32(0.6931471805599453)
ROUND = f32(12582912.0)  # 1.5 * 2**23: a sum with it is rounded to a whole number, which its low bits are
# (exp(r) - 1 - r) / r**2 on |r| < 0.347
EXP = tuple(map(f32, (0.500000006, 0.166665426, 0.0416662809, 0.00836664723, 0.00139465396)))
# 2 atanh(s) / s in s**2 on 0 < s < 1/3
ATANH = tuple(map(f32, (2.0, 0.666666795, 0.399986782, 0.286210414, 0.213899664, 0.244248897)))


@inline
def _reduce(x):
    """k, as the last bits of an int32, and r with x = k ln 2 + r and |r| < 0.347, for `x` of `_clamp`."""
    shifted = x * LOG2E + ROUND  # rounded to a whole number, whose bits are the last ones
    t = shifted - ROUND
    return f32(shifted).view(i32), (x - t * LN2_HIGH) - t * LN2_LOW


@inline
def _clamp(x):
    """`x` clamped to the range of `_reduce`; NaN stays."""
    x = LOWEST if x < LOWEST else x
    return HIGHEST if x > HIGHEST else x


@inline
def _half_power_of_two(k):
    """2**(k - 1) up to k = 128, and 0 for k = -126; only the last bits of k count."""
    return i32(i32(k + i32(126)) << i32(23)).view(f32)


@inline
def _expm1_reduced(r):
    """exp(r) - 1 for |r| < 0.347."""
    return paired4(r, *EXP) * (r * r) + r


@inline
def exp(x):
    """exp(x); 1.2 ulp; 0 below -87."""
    k, r = _reduce(_clamp(x))
    y = _expm1_reduced(r) + ONE
    # In this order no subnormal number appears, which would cost 100 cycles.
    y = (y + y) * _half_power_of_two(k)
    return y


@inline
def expm1(x):
    """exp(x) - 1; 2 ulp."""
    k, r = _reduce(_clamp(MINUS_ONE if x < MINUS_ONE else x))
    p, s = _expm1_reduced(r), _half_power_of_two(k)
    y = (s * p + (s - HALF)) * TWO
    return y


@inline
def _split(bits):
    """From the bits of x = 2**e (1 + f): e shifted to its place, and f between sqrt(1/2) - 1 and sqrt(2) - 1."""
    place = i32(i32(i32(bits - SQRT_HALF_BITS) >> i32(23)) << i32(23))
    return place, i32(bits - place).view(f32) - ONE


@inline
def _exponent(place):
    """The exponent as a float, by its bits: an instruction for it would wait for what its register held before."""
    return i32(i32(place >> i32(23)) + i32(0x4B400000)).view(f32) - ROUND


@inline
def _log_of(e, f):
    """e log 2 + log(1 + f)."""
    z = f * f
    y = paired8(f, *LOG) * (f * z) + e * LN2_LOW
    return (y - HALF * z) + f + e * LN2_HIGH


@inline
def _log_normal(x, shift):
    """log(x) - shift log 2 for a normal positive number."""
    place, f = _split(f32(x).view(i32))
    return _log_of(_exponent(place) - shift, f)


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
def _log_short(x):
    """log(x) for normal numbers 2**-126 <= x < inf, error 1e-7 max(1, |y|), in fewer operations."""
    bits = f32(x).view(i32)
    e = i32(i32(bits - SQRT_HALF_BITS) >> i32(23))
    f = i32(bits - i32(e << i32(23))).view(f32) - ONE
    return f32(e) * LN2 + f * paired8(f, *SHORT)


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
    y = _log_positive(x)
    return y if x < INF else x


@inline
def log1p(x):
    """log(1 + x); 2 ulp; -inf at -1 and NaN below."""
    inside = x > -ONE and x < INF
    z = x if inside else ZERO
    u = ONE + z
    place, f = _split(f32(u).view(i32))
    # What rounding took from 1 + z is added at f's scale, 2**-e; where e is 127 or more nothing is left to add.
    lost, down = z - (u - ONE), i32(i32(0x3F800000) - (place if place < i32(0x3F800000) else i32(0x3F000000)))
    y = _log_of(_exponent(place), f + lost * i32(down).view(f32))
    outside = x if x > -ONE else (-INF if x == -ONE else NAN)
    return y if inside else outside


@inline
def _log1p_unit(x):
    """log(1 + x) for 0 <= x <= 1."""
    s = x / (TWO + x)
    t = s if s > f32(1e-10) else f32(1e-10)  # squares stay normal numbers
    return s * paired5(t * t, *ATANH)


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
    """log(1 + exp(x)); 4 ulp."""
    return (x if x > ZERO else ZERO) + _log1p_unit(exp(-abs(x)))


@inline
def log_sigmoid(x):
    """log(sigmoid(x)) = -softplus(-x); 4 ulp."""
    return (x if x < ZERO else ZERO) - _log1p_unit(exp(-abs(x)))


@inline
def logit(p):
    """log(p / (1 - p)), the inverse of `sigmoid`; error 2e-7 relative to max(1, \\|y\\|)."""
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
    near = x > f32(-0.6931471805599453)
    u = -expm1(x) if near else ONE - e
    return log(u) - (ZERO if near else (e + (u - ONE)) / u)


@inline
def power(x, y):
    """x**y with the error of exp(y log x): (2 + \\|y log x\\|) ulp; NaN for x < 0 unless y is an integer."""
    a = -x if x < ZERO else x
    r = exp(y * log(a))
    half = y * HALF
    bounded = (-y if y < ZERO else y) < f32(16777216.0)
    whole = f32(i32(y if bounded else ZERO)) == y or not bounded
    odd = bounded and whole and f32(i32(half if bounded else ZERO)) != half
    r = -r if (x < ZERO and odd) else r
    r = NAN if (x < ZERO and not whole) else r
    return ONE if (y == ZERO or x == ONE) else r
