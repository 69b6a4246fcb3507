# Made from kernels/source/scalar/normal.py by `python -m ppl.kernels.source`: change that file instead.
"""The normal distribution and the error function; mass and quantile of a normal between two bounds (float32).

Between two bounds they are as accurate in a tail and for a narrow interval as around 0."""

import math

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.generated.f32.scalar.basic import HALF, INF, NAN, ONE, TWO, ZERO, abs
from ppl.kernels.generated.f32.scalar.coefficients import CENTRE_BOTTOM, CENTRE_TOP, ERF, MILLS, TAIL_BOTTOM, TAIL_TOP
from ppl.kernels.generated.f32.scalar.exponential import _log_positive, _log_short, exp, expm1, log, log1mexp, log1p
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


NARROW_INTERVAL = f32(0.1)

NEWTON_ROUNDS = 4

SQRT_HALF_PI = f32(1.2533141373155003)

HALF_LOG_TWO_PI = f32(0.9189385332046727)


@inline
def _log_mills(z):
    """log of exp(z**2 / 2) ndtr(-z) sqrt(2 pi), z >= 0."""
    return _log_positive(_mills(z)) + HALF_LOG_TWO_PI


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
    series = s * (h + s * (h1 * HALF + s * (h2 * f32(1 / 6) + s * (h3 * f32(1 / 24)))))
    return series if t * (z + ONE) < NARROW_INTERVAL else t * (z + HALF * t) + (here - _log_mills(z + t))


@inline
def log_mass_between(a, b):
    """log of the integral of exp((e**2 - s**2) / 2) over [a, b], e its point nearest to 0; error 1e-5."""
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
    t = TWO * wanted / (h + f32(math.sqrt(h * h + TWO * h * (h - z) * wanted)))
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
