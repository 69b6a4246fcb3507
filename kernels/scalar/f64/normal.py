"""The normal distribution and the error function (float64).

`ndtri` is algorithm AS 241 (PPND16) of Wichura, "The percentage points of the normal distribution", Applied
Statistics 37 (1988), written without branches.
"""

import math

import numpy as np

from ppl.kernels.config import inline
from ppl.kernels.scalar.f64.basic import HALF, INF, NAN, ONE, ZERO, abs
from ppl.kernels.scalar.f64.exponential import _log_positive, log1p
from ppl.kernels.scalar.polynomials import horner7, horner8

f64 = np.float64

SQRT_HALF = f64(0.7071067811865476)
LOG_SQRT_TWO_PI = f64(0.9189385332046727)
# The divergent series of z exp(z**2 / 2) ndtr(-z) sqrt(2 pi) - 1 in -1 / z**2, without its first coefficient.
TAIL = tuple(map(f64, (1.0, 3.0, 15.0, 105.0, 945.0, 10395.0, 135135.0, 2027025.0, 34459425.0)))
CENTRE_TOP = tuple(
    map(
        f64,
        (
            3.3871328727963666080e0,
            1.3314166789178437745e2,
            1.9715909503065514427e3,
            1.3731693765509461125e4,
            4.5921953931549871457e4,
            6.7265770927008700853e4,
            3.3430575583588128105e4,
            2.5090809287301226727e3,
        ),
    )
)
CENTRE_BOTTOM = tuple(
    map(
        f64,
        (
            1.0,
            4.2313330701600911252e1,
            6.8718700749205790830e2,
            5.3941960214247511077e3,
            2.1213794301586595867e4,
            3.9307895800092710610e4,
            2.8729085735721942674e4,
            5.2264952788528545610e3,
        ),
    )
)
NEAR_TOP = tuple(
    map(
        f64,
        (
            1.42343711074968357734e0,
            4.63033784615654529590e0,
            5.76949722146069140550e0,
            3.64784832476320460504e0,
            1.27045825245236838258e0,
            2.41780725177450611770e-1,
            2.27238449892691845833e-2,
            7.74545014278341407640e-4,
        ),
    )
)
NEAR_BOTTOM = tuple(
    map(
        f64,
        (
            1.0,
            2.05319162663775882187e0,
            1.67638483018380384940e0,
            6.89767334985100004550e-1,
            1.48103976427480074590e-1,
            1.51986665636164571966e-2,
            5.47593808499534494600e-4,
            1.05075007164441684324e-9,
        ),
    )
)
FAR_TOP = tuple(
    map(
        f64,
        (
            6.65790464350110377720e0,
            5.46378491116411436990e0,
            1.78482653991729133580e0,
            2.96560571828504891230e-1,
            2.65321895265761230930e-2,
            1.24266094738807843860e-3,
            2.71155556874348757815e-5,
            2.01033439929228813265e-7,
        ),
    )
)
FAR_BOTTOM = tuple(
    map(
        f64,
        (
            1.0,
            5.99832206555887937690e-1,
            1.36929880922735805310e-1,
            1.48753612908506148525e-2,
            7.86869131145613259100e-4,
            1.84631831751005468180e-5,
            1.42151175831644588870e-7,
            2.04426310338993978564e-15,
        ),
    )
)


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
    """The quantile at 1/2 + q, given the smaller of 1/2 + q and 1/2 - q too; infinite where that is 0."""
    inside = tail > ZERO
    r = f64(math.sqrt(-_log_positive(tail if inside else HALF)))
    s = f64(0.180625) - q * q
    central, far = s > ZERO, r > f64(5.0)
    u = r - (f64(5.0) if far else f64(1.6))
    top = horner7(u, *FAR_TOP) if far else horner7(u, *NEAR_TOP)
    top = horner7(s, *CENTRE_TOP) * q if central else (-top if q < ZERO else top)
    bottom = horner7(u, *FAR_BOTTOM) if far else horner7(u, *NEAR_BOTTOM)
    bottom = horner7(s, *CENTRE_BOTTOM) if central else bottom
    outside = NAN if tail != ZERO else (INF if q > ZERO else -INF)
    return top / bottom if inside else outside


@inline
def ndtri(p):
    """Quantile function of the standard normal; relative error 2e-15 for 0 < p < 1; infinite at 0 and 1."""
    q = p - HALF
    return normal_quantile(q, ONE - p if q > ZERO else p)


@inline
def erfinv(y):
    """Inverse of the error function; relative error 2e-15 for -1 < y < 1; infinite at -1 and 1."""
    return SQRT_HALF * normal_quantile(HALF * y, HALF * (ONE - abs(y)))
