# Made from kernels/source/scalar/normal.py by `python -m ppl.kernels.source`: change that file instead.
"""The normal distribution and the error function (float32).

In float32 both tails rest on ``M(z) = exp(z**2 / 2) * ndtr(-z)``, which falls from 1/2 as slowly as 1 / z, so that
``log_ndtr`` and relative accuracy far out in a tail need no special case. Quantiles are quotients of polynomials after
algorithm AS 241 of Wichura, "The percentage points of the normal distribution", Applied Statistics 37 (1988), written
without branches.
"""

import math

import numpy as np

from ppl.kernels.config import inline
from ppl.kernels.scalar.f32.basic import HALF, INF, NAN, ONE, TWO, ZERO, abs
from ppl.kernels.scalar.f32.coefficients import CENTRE_BOTTOM, CENTRE_TOP, ERF, MILLS, TAIL_BOTTOM, TAIL_TOP
from ppl.kernels.scalar.f32.exponential import _log_positive, _log_short, exp
from ppl.kernels.scalar.polynomials import horner3, horner4, horner6, horner10

f32, i32 = np.float32, np.int32

SQRT_HALF = f32(0.7071067811865476)
SQRT_TWO = f32(1.4142135623730951)


@inline
def _mills(z):
    """M(z) for z >= 0."""
    z = z if z < f32(1e30) else f32(1e30)
    r = ONE / (z + f32(3.5))
    return horner10((z - f32(3.5)) * r, *MILLS) * r


@inline
def _exp_minus_square(z, scale):
    """exp(-scale z**2) for z >= 0 and a scale of 1 or 1/2; the rounding error of the square is avoided.

    The square of the leading 12 bits is exact; the rest of the exponent is below 0.1, short enough for a
    series.
    """
    z = z if z < f32(13.5) else f32(13.5)
    high = i32(f32(z).view(i32) & i32(-4096)).view(f32)
    rest = scale * ((z - high) * (z + high))
    return exp(-(scale * (high * high))) * horner4(rest, ONE, -ONE, HALF, f32(-1 / 6), f32(1 / 24))


@inline
def ndtr(x):
    """Distribution function of the standard normal; 6 ulp (relative, in both tails)."""
    z = -x if x < ZERO else x
    q = _exp_minus_square(z, HALF) * _mills(z)
    y = q if x < ZERO else ONE - q
    return x if x != x else y


@inline
def log_ndtr(x):
    """log(ndtr(x)); relative error 1e-6 for every x."""
    z = -x if x < ZERO else x
    m = _mills(z)
    q = -_exp_minus_square(z, HALF) * m
    left = x < ZERO
    u = m if left else ONE + q
    y = _log_positive(u) + (-HALF * z * z if left else (q - (u - ONE)) / u)
    return x if x != x else y


@inline
def _erf_centre(x):
    """erf(x) for \\|x\\| < 1."""
    t = x if (x > f32(1e-10) or x < f32(-1e-10)) else f32(1e-10)
    return x * horner6(t * t, *ERF)


@inline
def erf(x):
    """Error function; 3 ulp."""
    a = -x if x < ZERO else x
    small = a < ONE
    centre = _erf_centre(x if small else ZERO)
    z = SQRT_TWO * a
    tail = ONE - TWO * exp(-(a * a if a < f32(9.0) else f32(81.0))) * _mills(z)
    tail = -tail if x < ZERO else tail
    return centre if small else (x if x != x else tail)


@inline
def erfc(x):
    """1 - erf(x); 6 ulp (relative, also far to the right); 0 beyond 9.3."""
    a = -x if x < ZERO else x
    small = a < HALF
    centre = ONE - _erf_centre(x if small else ZERO)
    tail = TWO * (_exp_minus_square(a, ONE) * _mills(SQRT_TWO * a))
    tail = TWO - tail if x < ZERO else tail
    return centre if small else (x if x != x else tail)


@inline
def normal_quantile(q, tail):
    """The quantile at 1/2 + q, given the smaller of 1/2 + q and 1/2 - q too; infinite where that is 0.

    Quotients of polynomials, with one division for all of them.
    """
    inside = tail > ZERO
    s = f32(0.180625) - q * q
    central = s > ZERO
    r = f32(math.sqrt(-_log_short(tail if inside else HALF))) - f32(1.6)
    top = horner4(r, *TAIL_TOP)
    top = horner3(s, *CENTRE_TOP) * q if central else (-top if q < ZERO else top)
    bottom = horner3(s, *CENTRE_BOTTOM) if central else horner3(r, *TAIL_BOTTOM)
    outside = NAN if tail != ZERO else (INF if q > ZERO else -INF)
    return top / bottom if inside else outside


@inline
def ndtri(p):
    """Quantile function of the standard normal; 6 ulp for 1.2e-38 < p < 1.

    Infinite at 0 and 1.
    """
    q = p - HALF
    return normal_quantile(q, ONE - p if q > ZERO else p)


@inline
def erfinv(y):
    """Inverse of the error function; 6 ulp for -1 < y < 1; infinite at -1 and 1."""
    return SQRT_HALF * normal_quantile(HALF * y, HALF * (ONE - abs(y)))
