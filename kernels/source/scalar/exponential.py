"""Exponentials, logarithms and the functions of logits (`real`).

Errors are stated with each function in units in the last place (ulp) and tested. Infinite and NaN arguments give what
NumPy gives. Results below the smallest normal number are flushed to zero. `exp` and `log` vectorise."""

from ppl.kernels.decorators import inline
from ppl.kernels.scalar.polynomials import horner5, horner6, paired4, paired5, paired8
from ppl.kernels.source.precision import SINGLE, i32, integer, real
from ppl.kernels.source.scalar.basic import HALF, INF, NAN, ONE, TWO, ZERO, abs, maximum, minimum
from ppl.kernels.source.scalar.coefficients import LOG

if SINGLE:
    from ppl.kernels.source.scalar.coefficients import SHORT

LOG2E = real(1.4426950408889634)

LN2_HIGH = real(0.693359375 if SINGLE else 6.93147180369123816490e-01)  # {10 | 32} bits: k * LN2_HIGH is exact

LN2_LOW = real(-2.12194440e-4 if SINGLE else 1.90821492927058770002e-10)

LOWEST = real(-87.33 if SINGLE else -708.3)

HIGHEST = real(89.0 if SINGLE else 710.0)

SMALLEST = real(1.17549435e-38 if SINGLE else 2.2250738585072014e-308)  # normal number

LIFT, LIFTED = real(8388608.0 if SINGLE else 18014398509481984.0), real(23.0 if SINGLE else 54.0)

MINUS_ONE = real(-40.0 if SINGLE else -80.0)  # from here on exp(x) - 1 rounds to -1

TANH_ONE = real(10.0 if SINGLE else 20.0)

SQRT_HALF_BITS = integer(0x3F3504F3 if SINGLE else 0x3FE6A09E667F3BCD)

if SINGLE:
    LN2 = real(0.6931471805599453)
    ROUND = real(12582912.0)  # 1.5 * 2**23: a sum with it is rounded to a whole number, which its low bits are
    # (exp(r) - 1 - r) / r**2 on |r| < 0.347
    EXP = tuple(map(real, (0.500000006, 0.166665426, 0.0416662809, 0.00836664723, 0.00139465396)))
    # 2 atanh(s) / s in s**2 on 0 < s < 1/3
    ATANH = tuple(map(real, (2.0, 0.666666795, 0.399986782, 0.286210414, 0.213899664, 0.244248897)))
else:
    # 1/2!, ..., 1/7! and 1/8!, ..., 1/13!
    EXP_FIRST = tuple(map(real, (1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040)))
    EXP_LAST = tuple(map(real, (1 / 40320, 1 / 362880, 1 / 3628800, 1 / 39916800, 1 / 479001600, 1 / 6227020800)))


@inline
def _reduce(x):
    """k, {as the last bits of an int32 | an int32}, and r with x = k ln 2 + r and |r| < 0.347, for `x` of `_clamp`."""
    if SINGLE:
        shifted = x * LOG2E + ROUND  # rounded to a whole number, whose bits are the last ones
        t = shifted - ROUND
        return real(shifted).view(i32), (x - t * LN2_HIGH) - t * LN2_LOW
    else:
        k = i32(x * LOG2E + real(2048.5)) - i32(2048)
        t = real(k)
        return i32(k), (x - t * LN2_HIGH) - t * LN2_LOW


@inline
def _clamp(x):
    """`x` clamped to the range of `_reduce`; NaN {stays | becomes the lower end}."""
    if SINGLE:
        x = LOWEST if x < LOWEST else x
        return HIGHEST if x > HIGHEST else x
    else:
        x = x if x > LOWEST else LOWEST
        return x if x < HIGHEST else HIGHEST


@inline
def _half_power_of_two(k):
    """2**(k - 1) up to k = {128 | 1024}, and 0 for k = {-126; only the last bits of k count | -1022}."""
    if SINGLE:
        return i32(i32(k + i32(126)) << i32(23)).view(real)
    else:
        return integer(integer(integer(k) + integer(1022)) << integer(52)).view(real)


@inline
def _expm1_reduced(r):
    """exp(r) - 1 for |r| < 0.347."""
    if SINGLE:
        return paired4(r, *EXP) * (r * r) + r
    else:
        z = r * r
        z3 = z * z * z
        return (horner5(r, *EXP_LAST) * z3 + horner5(r, *EXP_FIRST)) * z + r


@inline
def exp(x):
    """exp(x); 1.2 ulp; 0 below {-87 | -708}."""
    k, r = _reduce(_clamp(x))
    y = _expm1_reduced(r) + ONE
    # In this order no subnormal number appears, which would cost 100 cycles.
    y = (y + y) * _half_power_of_two(k)
    if SINGLE:
        return y
    else:
        return x if x != x else y


@inline
def expm1(x):
    """exp(x) - 1; 2 ulp."""
    if SINGLE:
        k, r = _reduce(_clamp(MINUS_ONE if x < MINUS_ONE else x))
    else:
        k, r = _reduce(_clamp(x if x > MINUS_ONE else MINUS_ONE))
    p, s = _expm1_reduced(r), _half_power_of_two(k)
    y = (s * p + (s - HALF)) * TWO
    if SINGLE:
        return y
    else:
        return x if x != x else y


if SINGLE:

    @inline
    def _split(bits):
        """From the bits of x = 2**e (1 + f): e shifted to its place, and f between sqrt(1/2) - 1 and sqrt(2) - 1."""
        place = i32(i32(i32(bits - SQRT_HALF_BITS) >> i32(23)) << i32(23))
        return place, i32(bits - place).view(real) - ONE

    @inline
    def _exponent(place):
        """The exponent as a float, by its bits: an instruction for it would wait for what its register held before."""
        return i32(i32(place >> i32(23)) + i32(0x4B400000)).view(real) - ROUND

    @inline
    def _log_of(e, f):
        """e log 2 + log(1 + f)."""
        z = f * f
        y = paired8(f, *LOG) * (f * z) + e * LN2_LOW
        return (y - HALF * z) + f + e * LN2_HIGH


@inline
def _log_normal(x, shift):
    """log(x) - shift log 2 for a normal positive number."""
    if SINGLE:
        place, f = _split(real(x).view(i32))
        return _log_of(_exponent(place) - shift, f)
    else:
        bits = real(x).view(integer)
        e = integer(integer(bits - SQRT_HALF_BITS) >> integer(52))
        f = integer(bits - integer(e << integer(52))).view(real) - ONE
        e = real(i32(e)) - shift
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


if SINGLE:

    @inline
    def _log_short(x):
        """log(x) for normal numbers 2**-126 <= x < inf, error 1e-7 max(1, |y|), in fewer operations."""
        bits = real(x).view(i32)
        e = i32(i32(bits - SQRT_HALF_BITS) >> i32(23))
        f = i32(bits - i32(e << i32(23))).view(real) - ONE
        return real(e) * LN2 + f * paired8(f, *SHORT)


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
    if SINGLE:
        y = _log_positive(x)
        return y if x < INF else x
    else:
        return log(x)


@inline
def log1p(x):
    """log(1 + x); 2 ulp; -inf at -1 and NaN below."""
    inside = x > -ONE and x < INF
    z = x if inside else ZERO
    u = ONE + z
    if SINGLE:
        place, f = _split(real(u).view(i32))
        # What rounding took from 1 + z is added at f's scale, 2**-e; where e is 127 or more nothing is left to add.
        lost, down = z - (u - ONE), i32(i32(0x3F800000) - (place if place < i32(0x3F800000) else i32(0x3F000000)))
        y = _log_of(_exponent(place), f + lost * i32(down).view(real))
    else:
        y = _log_positive(u) + (z - (u - ONE)) / u
    outside = x if x > -ONE else (-INF if x == -ONE else NAN)
    return y if inside else outside


if SINGLE:

    @inline
    def _log1p_unit(x):
        """log(1 + x) for 0 <= x <= 1."""
        s = x / (TWO + x)
        t = s if s > real(1e-10) else real(1e-10)  # squares stay normal numbers
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
    """log(1 + exp(x)); {4 | 3} ulp."""
    if SINGLE:
        return (x if x > ZERO else ZERO) + _log1p_unit(exp(-abs(x)))
    else:
        return maximum(x, ZERO) + log1p(exp(-abs(x)))


@inline
def log_sigmoid(x):
    """log(sigmoid(x)) = -softplus(-x); {4 | 3} ulp."""
    if SINGLE:
        return (x if x < ZERO else ZERO) - _log1p_unit(exp(-abs(x)))
    else:
        return minimum(x, ZERO) - log1p(exp(-abs(x)))


@inline
def logit(p):
    """log(p / (1 - p)), the inverse of `sigmoid`; error {2e-7 | 4e-16} relative to max(1, \\|y\\|)."""
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
    near = x > real(-0.6931471805599453)
    u = -expm1(x) if near else ONE - e
    return log(u) - (ZERO if near else (e + (u - ONE)) / u)


if SINGLE:

    @inline
    def power(x, y):
        """x**y with the error of exp(y log x): (2 + \\|y log x\\|) ulp; NaN for x < 0 unless y is an integer."""
        a = -x if x < ZERO else x
        r = exp(y * log(a))
        half = y * HALF
        bounded = (-y if y < ZERO else y) < real(16777216.0)
        whole = real(i32(y if bounded else ZERO)) == y or not bounded
        odd = bounded and whole and real(i32(half if bounded else ZERO)) != half
        r = -r if (x < ZERO and odd) else r
        r = NAN if (x < ZERO and not whole) else r
        return ONE if (y == ZERO or x == ONE) else r

else:

    @inline
    def power(x, y):
        """x**y as the platform computes it; NaN for x < 0 unless y is an integer."""
        return real(x) ** real(y)
