# Made from kernels/source/scalar/normal.py by `python -m ppl.kernels.source`: change that file instead.
"""The normal distribution and the error function; mass and quantile of a normal between two bounds (float64).

Between two bounds they are as accurate in a tail and for a narrow interval as around 0."""

import math

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.generated.f64.scalar.basic import HALF, INF, NAN, ONE, TWO, ZERO, abs
from ppl.kernels.generated.f64.scalar.coefficients import (
    CENTRE_BOTTOM,
    CENTRE_TOP,
    FAR_BOTTOM,
    FAR_TOP,
    NEAR_BOTTOM,
    NEAR_TOP,
)
from ppl.kernels.generated.f64.scalar.exponential import _log_positive, exp, expm1, log, log1mexp, log1p
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


NARROW_INTERVAL = f64(1e-2)

NEWTON_ROUNDS = 6

SQRT_HALF_PI = f64(1.2533141373155003)

LOG_SQRT_HALF_PI = f64(0.22579135264472744)


@inline
def _log_mills(z):
    """log of exp(z**2 / 2) ndtr(-z) sqrt(2 pi), z >= 0: beyond 25 by the divergent series of `log_ndtr`."""
    far = z > f64(25.0)
    w = z if far else f64(25.0)
    w = w if w < f64(1e150) else f64(1e150)
    s = -ONE / (w * w)
    tail = log1p(s * horner8(s, *TAIL)) - _log_positive(w)
    v = f64(25.0) if far else z
    near = _log_positive(f64(math.erfc(v * SQRT_HALF))) + HALF * v * v + LOG_SQRT_HALF_PI
    return tail if far else near


@inline
def _hazard_integral(z, t):
    """The hazard's integral from z to z + t, z >= 0: log(ndtr(-z) / ndtr(-z - t)); short ones by Taylor's series."""
    here = _log_mills(z)
    h = exp(-here)
    s = t if t * (z + ONE) < NARROW_INTERVAL else ZERO
    a = TWO * h - z
    h1 = h * (h - z)
    h2 = h1 * a - h
    h3 = h2 * a + TWO * h1 * (h1 - ONE)
    h4 = h3 * a + h2 * (f64(6.0) * h1 - f64(3.0))
    rest = h3 * f64(1 / 24) + s * (h4 * f64(1 / 120))
    series = s * (h + s * (h1 * HALF + s * (h2 * f64(1 / 6) + s * rest)))
    return series if t * (z + ONE) < NARROW_INTERVAL else t * (z + HALF * t) + (here - _log_mills(z + t))


@inline
def log_mass_between(a, b):
    """log of the integral of exp((e**2 - s**2) / 2) over [a, b], e its point nearest to 0; error 1e-11."""
    low = -b if b <= ZERO else a
    high = -a if b <= ZERO else b
    if not low <= high:
        return NAN
    if low >= ZERO:
        return _log_mills(low) + log1mexp(-_hazard_integral(low, high - low)) if low < high else -INF
    return log((erf(high * SQRT_HALF) - erf(low * SQRT_HALF)) * SQRT_HALF_PI)


@inline
def _quantile_excess(p, rest, z, width):
    """t such that the fraction p = 1 - rest of the mass of [z, z + width] lies below z + t, z >= 0.

    By Newton's method on `_gained`, which is increasing and convex; the start, the root of its Taylor polynomial of
    degree 2, lies above the root.
    """
    total = _hazard_integral(z, width)
    below = p * -expm1(-total)
    wanted = -log1p(-below) if below < HALF else -log(rest + p * exp(-total))
    if not wanted < INF:
        return width if wanted == INF else NAN
    h = exp(-_log_mills(z))
    t = TWO * wanted / (h + f64(math.sqrt(h * h + TWO * h * (h - z) * wanted)))
    for _ in range(NEWTON_ROUNDS):
        t = t if t < width else width
        t = t - (_hazard_integral(z, t) - wanted) * exp(_log_mills(z + t))
        t = t if t > ZERO else ZERO
    return t if t < width else width


@inline
def quantile_between(p, a, b):
    """z - e, z the quantile at p of a standard normal on [a, b], e the point of [a, b] nearest to 0."""
    if not (ZERO <= p and p <= ONE and a <= b):
        return NAN
    if a >= ZERO:
        return _quantile_excess(p, ONE - p, a, b - a)
    if b <= ZERO:
        return -_quantile_excess(ONE - p, p, -b, b - a)
    low = HALF * erf(a * SQRT_HALF)
    mass = HALF * erf(b * SQRT_HALF) - low
    q = low + p * mass
    tail = ndtr(a) + p * mass if q < ZERO else ndtr(-b) + (ONE - p) * mass
    z = normal_quantile(q, tail)
    z = z if z > a else a
    return z if z < b else b
