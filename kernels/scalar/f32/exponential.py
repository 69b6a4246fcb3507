"""Exponentials, logarithms and the functions of logits (float32).

Coefficients are from `ppl.kernels.scalar.fit`; errors are stated with each function in units in the last
place (ulp) and tested. Infinite and NaN arguments give what NumPy gives. Results below the smallest
normal number are flushed to zero.
"""

import numpy as np

from ppl.kernels.config import inline
from ppl.kernels.scalar.f32.basic import HALF, INF, NAN, ONE, TWO, ZERO, abs
from ppl.kernels.scalar.polynomials import paired4, paired5, paired8

f32, i32 = np.float32, np.int32

LOG2E = f32(1.4426950408889634)
LN2_HIGH = f32(0.693359375)  # 10 bits: k * LN2_HIGH is exact
LN2_LOW = f32(-2.12194440e-4)
LN2 = f32(0.6931471805599453)
ROUND = f32(12582912.0)  # 1.5 * 2**23: a sum with it is rounded to a whole number, which its low bits are
# (exp(r) - 1 - r) / r**2 on |r| < 0.347
EXP = tuple(map(f32, (0.500000006, 0.166665426, 0.0416662809, 0.00836664723, 0.00139465396)))
# (log(1 + f) - f + f**2 / 2) / f**3 on sqrt(1/2) - 1 < f < sqrt(2) - 1
LOG = tuple(
    map(
        f32,
        (
            0.333333106,
            -0.249999866,
            0.200022181,
            -0.166692468,
            0.142188008,
            -0.123844828,
            0.118721716,
            -0.117888144,
            0.0691586755,
        ),
    )
)
# log(1 + f) / f on sqrt(1/2) - 1 < f < sqrt(2) - 1
SHORT = tuple(
    map(
        f32,
        (
            0.999999881,
            -0.499999728,
            0.333350098,
            -0.250032887,
            0.19938836,
            -0.165328857,
            0.150676052,
            -0.145772712,
            0.0869309248,
        ),
    )
)
# 2 atanh(s) / s in s**2 on 0 < s < 1/3
ATANH = tuple(map(f32, (2.0, 0.666666795, 0.399986782, 0.286210414, 0.213899664, 0.244248897)))


@inline
def _reduce(x):
    """k, as the last bits of an int32, and r with x = k ln 2 + r and |r| < 0.347, for -87.4 < x < 90."""
    shifted = x * LOG2E + ROUND  # rounded to a whole number, whose bits are the last ones
    t = shifted - ROUND
    return f32(shifted).view(i32), (x - t * LN2_HIGH) - t * LN2_LOW


@inline
def _clamp(x):
    """`x` clamped to the range of `_reduce`; NaN stays."""
    x = f32(-87.33) if x < f32(-87.33) else x
    return f32(89.0) if x > f32(89.0) else x


@inline
def _half_power_of_two(k):
    """2**(k - 1) for -126 < k <= 128, and 0 for k = -126; only the last bits of k count."""
    return i32(i32(k + i32(126)) << i32(23)).view(f32)


@inline
def exp(x):
    """exp(x); 1.2 ulp; 0 below -87."""
    k, r = _reduce(_clamp(x))
    y = paired4(r, *EXP) * (r * r) + r + ONE
    # In this order no subnormal number appears, which would cost 100 cycles.
    return (y + y) * _half_power_of_two(k)


@inline
def expm1(x):
    """exp(x) - 1; 2 ulp."""
    k, r = _reduce(_clamp(f32(-40.0) if x < f32(-40.0) else x))
    p = paired4(r, *EXP) * (r * r) + r
    s = _half_power_of_two(k)
    return (s * p + (s - HALF)) * TWO


@inline
def _split(bits):
    """From the bits of x = 2**e (1 + f): e shifted to its place, and f between sqrt(1/2) - 1 and sqrt(2) - 1."""
    place = i32(i32(i32(bits - i32(0x3F3504F3)) >> i32(23)) << i32(23))
    return place, i32(bits - place).view(f32) - ONE


@inline
def _exponent(place):
    """The exponent as a float, by its bits: an instruction for it would wait for whatever its register held before."""
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
    tiny = x < f32(1.17549435e-38)
    return _log_normal(x * f32(8388608.0) if tiny else x, f32(23.0) if tiny else ZERO)


@inline
def log_uniform(x):
    """log(x) without a check that x is a normal positive number, as uniforms are; 1 ulp."""
    return _log_normal(x, ZERO)


@inline
def _log_short(x):
    """log(x) for normal numbers 2**-126 <= x < inf, with an absolute error of 1e-7 max(1, |y|), in fewer operations."""
    bits = f32(x).view(i32)
    e = i32(i32(bits - i32(0x3F3504F3)) >> i32(23))
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
    e = expm1(TWO * (f32(10.0) if a > f32(10.0) else a))
    y = e / (e + TWO)
    return -y if x < ZERO else y


@inline
def log1mexp(x):
    """log(1 - exp(x)) for x <= 0, accurate at both ends."""
    e = exp(x)
    near = x > f32(-0.6931472)
    u = -expm1(x) if near else ONE - e
    y = log(u) - (ZERO if near else (e + (u - ONE)) / u)
    return y


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
