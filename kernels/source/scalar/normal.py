"""The normal distribution and the error function; mass and quantile of a normal between two bounds (`real`).

Between two bounds they are as accurate in a tail and for a narrow interval as around 0."""

import math

from ppl.kernels.decorators import inline
from ppl.kernels.scalar.polynomials import horner3, horner4, horner6, horner7, horner8, horner10
from ppl.kernels.source.precision import SINGLE, i32, real
from ppl.kernels.source.scalar.basic import HALF, INF, NAN, ONE, TWO, ZERO, abs
from ppl.kernels.source.scalar.coefficients import CENTRE_BOTTOM, CENTRE_TOP
from ppl.kernels.source.scalar.exponential import _log_positive, exp, expm1, log, log1mexp, log1p

if SINGLE:
    from ppl.kernels.source.scalar.coefficients import ERF, MILLS, TAIL_BOTTOM, TAIL_TOP
    from ppl.kernels.source.scalar.exponential import _log_short
else:
    from ppl.kernels.source.scalar.coefficients import FAR_BOTTOM, FAR_TOP, NEAR_BOTTOM, NEAR_TOP

SQRT_HALF = real(0.7071067811865476)

if SINGLE:
    SQRT_TWO = real(1.4142135623730951)
else:
    LOG_SQRT_TWO_PI = real(0.9189385332046727)
    # The divergent series of z exp(z**2 / 2) ndtr(-z) sqrt(2 pi) - 1 in -1 / z**2, without its first coefficient.
    TAIL = tuple(map(real, (1.0, 3.0, 15.0, 105.0, 945.0, 10395.0, 135135.0, 2027025.0, 34459425.0)))

if SINGLE:

    @inline
    def _mills(z):
        """M(z) for z >= 0."""
        z = z if z < real(1e30) else real(1e30)
        r = ONE / (z + real(3.5))
        return horner10((z - real(3.5)) * r, *MILLS) * r

    @inline
    def _exp_minus_square(z, scale):
        """exp(-scale z**2) for z >= 0 and a scale of 1 or 1/2; the rounding error of the square is avoided.

        The square of the leading 12 bits is exact; the rest of the exponent is below 0.1, short enough for a
        series.
        """
        z = z if z < real(13.5) else real(13.5)
        high = i32(real(z).view(i32) & i32(-4096)).view(real)
        rest = scale * ((z - high) * (z + high))
        return exp(-(scale * (high * high))) * horner4(rest, ONE, -ONE, HALF, real(-1 / 6), real(1 / 24))

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
        t = x if (x > real(1e-10) or x < real(-1e-10)) else real(1e-10)
        return x * horner6(t * t, *ERF)

    @inline
    def erf(x):
        """Error function; 3 ulp."""
        a = -x if x < ZERO else x
        small = a < ONE
        centre = _erf_centre(x if small else ZERO)
        z = SQRT_TWO * a
        tail = ONE - TWO * exp(-(a * a if a < real(9.0) else real(81.0))) * _mills(z)
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

else:

    @inline
    def erf(x):
        """Error function; 1 ulp."""
        return real(math.erf(x))

    @inline
    def erfc(x):
        """1 - erf(x); a few ulp (relative, also far to the right)."""
        return real(math.erfc(x))

    @inline
    def ndtr(x):
        """Distribution function of the standard normal; relative error 3e-16 (1 + x**2) for x < 0."""
        return HALF * real(math.erfc(-x * SQRT_HALF))

    @inline
    def log_ndtr(x):
        """log(ndtr(x)); relative error 5e-14 for every x."""
        left = x < -ONE
        far = x < real(-25.0)
        z = -x if far else real(25.0)
        w = -ONE / (z * z)
        tail = -HALF * z * z - _log_positive(z if z < real(1e300) else real(1e300)) - LOG_SQRT_TWO_PI
        tail = tail + log1p(w * horner8(w, *TAIL))
        a = real(math.erfc((real(25.0) if far else (-x if left else x)) * SQRT_HALF)) * HALF
        near = _log_positive(a if left else ONE)
        right = log1p(-(a if not left else ZERO))
        return x if x != x else (tail if far else (near if left else right))


@inline
def normal_quantile(q, tail):
    """The quantile at 1/2 + q, given the smaller of 1/2 + q and 1/2 - q too; infinite where that is 0.

    Quotients of polynomials, with one division for all of them.
    """
    inside = tail > ZERO
    s = real(0.180625) - q * q
    central = s > ZERO
    if SINGLE:
        r = real(math.sqrt(-_log_short(tail if inside else HALF))) - real(1.6)
        top = horner4(r, *TAIL_TOP)
        top = horner3(s, *CENTRE_TOP) * q if central else (-top if q < ZERO else top)
        bottom = horner3(s, *CENTRE_BOTTOM) if central else horner3(r, *TAIL_BOTTOM)
    else:
        r = real(math.sqrt(-_log_positive(tail if inside else HALF)))
        far = r > real(5.0)
        u = r - (real(5.0) if far else real(1.6))
        top = horner7(u, *FAR_TOP) if far else horner7(u, *NEAR_TOP)
        top = horner7(s, *CENTRE_TOP) * q if central else (-top if q < ZERO else top)
        bottom = horner7(u, *FAR_BOTTOM) if far else horner7(u, *NEAR_BOTTOM)
        bottom = horner7(s, *CENTRE_BOTTOM) if central else bottom
    outside = NAN if tail != ZERO else (INF if q > ZERO else -INF)
    return top / bottom if inside else outside


@inline
def ndtri(p):
    """Quantile function of the standard normal; {6 ulp for 1.2e-38 | relative error 2e-15 for 0} < p < 1.

    Infinite at 0 and 1.
    """
    q = p - HALF
    return normal_quantile(q, ONE - p if q > ZERO else p)


@inline
def erfinv(y):
    """Inverse of the error function; {6 ulp | relative error 2e-15} for -1 < y < 1; infinite at -1 and 1."""
    return SQRT_HALF * normal_quantile(HALF * y, HALF * (ONE - abs(y)))


NARROW_INTERVAL = real(0.1 if SINGLE else 1e-2)

NEWTON_ROUNDS = 4 if SINGLE else 6

SQRT_HALF_PI = real(1.2533141373155003)

if SINGLE:
    HALF_LOG_TWO_PI = real(0.9189385332046727)
else:
    LOG_SQRT_HALF_PI = real(0.22579135264472744)


@inline
def _log_mills(z):
    """log of exp(z**2 / 2) ndtr(-z) sqrt(2 pi), z >= 0{ | : beyond 25 by the divergent series of `log_ndtr`}."""
    if SINGLE:
        return _log_positive(_mills(z)) + HALF_LOG_TWO_PI
    else:
        far = z > real(25.0)
        w = z if far else real(25.0)
        w = w if w < real(1e150) else real(1e150)
        s = -ONE / (w * w)
        tail = log1p(s * horner8(s, *TAIL)) - _log_positive(w)
        v = real(25.0) if far else z
        near = _log_positive(real(math.erfc(v * SQRT_HALF))) + HALF * v * v + LOG_SQRT_HALF_PI
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
    if SINGLE:
        series = s * (h + s * (h1 * HALF + s * (h2 * real(1 / 6) + s * (h3 * real(1 / 24)))))
    else:
        h4 = h3 * a + h2 * (real(6.0) * h1 - real(3.0))
        rest = h3 * real(1 / 24) + s * (h4 * real(1 / 120))
        series = s * (h + s * (h1 * HALF + s * (h2 * real(1 / 6) + s * rest)))
    return series if t * (z + ONE) < NARROW_INTERVAL else t * (z + HALF * t) + (here - _log_mills(z + t))


@inline
def log_mass_between(a, b):
    """log of the integral of exp((e**2 - s**2) / 2) over [a, b], e its point nearest to 0; error {1e-5 | 1e-11}."""
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
    t = TWO * wanted / (h + real(math.sqrt(h * h + TWO * h * (h - z) * wanted)))
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
