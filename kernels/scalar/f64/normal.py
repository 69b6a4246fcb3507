# Made from kernels/source/scalar/normal.py by `python -m ppl.kernels.source`: change that file instead.
"""The normal distribution and the error function (float64).

In float32 both tails rest on ``M(z) = exp(z**2 / 2) * ndtr(-z)``, which falls from 1/2 as slowly as 1 / z, so that
``log_ndtr`` and relative accuracy far out in a tail need no special case. Quantiles are quotients of polynomials after
algorithm AS 241 of Wichura, "The percentage points of the normal distribution", Applied Statistics 37 (1988), written
without branches.
"""

import math

import numpy as np

from ppl.kernels.config import inline
from ppl.kernels.scalar.f64.basic import HALF, INF, NAN, ONE, ZERO, abs
from ppl.kernels.scalar.f64.coefficients import CENTRE_BOTTOM, CENTRE_TOP, FAR_BOTTOM, FAR_TOP, NEAR_BOTTOM, NEAR_TOP
from ppl.kernels.scalar.f64.exponential import _log_positive, log1p
from ppl.kernels.scalar.polynomials import horner7, horner8

f64 = np.float64

SQRT_HALF = f64(0.7071067811865476)
LOG_SQRT_TWO_PI = f64(0.9189385332046727)
# The divergent series of z exp(z**2 / 2) ndtr(-z) sqrt(2 pi) - 1 in -1 / z**2, without its first coefficient.
TAIL = tuple(map(f64, (1.0, 3.0, 15.0, 105.0, 945.0, 10395.0, 135135.0, 2027025.0, 34459425.0)))


@inline
def erf(x):
    """Error function; 1 ulp."""
    return f64(math.erf(x))


@inline
def erfc(x):
    """1 - erf(x); a few ulp (relative, also far to the right)."""
    return f64(math.erfc(x))


@inline
def ndtr(x):
    """Distribution function of the standard normal; relative error 3e-16 (1 + x**2) for x < 0."""
    return HALF * f64(math.erfc(-x * SQRT_HALF))


@inline
def log_ndtr(x):
    """log(ndtr(x)); relative error 5e-14 for every x."""
    left = x < -ONE
    far = x < f64(-25.0)
    z = -x if far else f64(25.0)
    w = -ONE / (z * z)
    tail = -HALF * z * z - _log_positive(z if z < f64(1e300) else f64(1e300)) - LOG_SQRT_TWO_PI
    tail = tail + log1p(w * horner8(w, *TAIL))
    a = f64(math.erfc((f64(25.0) if far else (-x if left else x)) * SQRT_HALF)) * HALF
    near = _log_positive(a if left else ONE)
    right = log1p(-(a if not left else ZERO))
    return x if x != x else (tail if far else (near if left else right))


@inline
def normal_quantile(q, tail):
    """The quantile at 1/2 + q, given the smaller of 1/2 + q and 1/2 - q too; infinite where that is 0.

    Quotients of polynomials, with one division for all of them.
    """
    inside = tail > ZERO
    s = f64(0.180625) - q * q
    central = s > ZERO
    r = f64(math.sqrt(-_log_positive(tail if inside else HALF)))
    far = r > f64(5.0)
    u = r - (f64(5.0) if far else f64(1.6))
    top = horner7(u, *FAR_TOP) if far else horner7(u, *NEAR_TOP)
    top = horner7(s, *CENTRE_TOP) * q if central else (-top if q < ZERO else top)
    bottom = horner7(u, *FAR_BOTTOM) if far else horner7(u, *NEAR_BOTTOM)
    bottom = horner7(s, *CENTRE_BOTTOM) if central else bottom
    outside = NAN if tail != ZERO else (INF if q > ZERO else -INF)
    return top / bottom if inside else outside


@inline
def ndtri(p):
    """Quantile function of the standard normal; relative error 2e-15 for 0 < p < 1.

    Infinite at 0 and 1.
    """
    q = p - HALF
    return normal_quantile(q, ONE - p if q > ZERO else p)


@inline
def erfinv(y):
    """Inverse of the error function; relative error 2e-15 for -1 < y < 1; infinite at -1 and 1."""
    return SQRT_HALF * normal_quantile(HALF * y, HALF * (ONE - abs(y)))
