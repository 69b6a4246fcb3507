# Made from kernels/source/scalar/between.py by `python -m ppl.kernels.source`: change that file instead.
"""The normal law between two ends, as accurate in a tail and for a narrow interval as around 0 (float32).

M(z) = exp(z**2 / 2) ndtr(-z) sqrt(2 pi) is Mills' ratio and h = 1 / M the hazard, of which h' = h (h - z).
"""

import math

import numpy as np

from ppl.kernels.config import inline
from ppl.kernels.scalar.f32.basic import HALF, INF, NAN, ONE, TWO, ZERO
from ppl.kernels.scalar.f32.exponential import _log_positive, exp, expm1, log, log1mexp, log1p
from ppl.kernels.scalar.f32.normal import SQRT_HALF, _mills, erf, ndtr, normal_quantile

f32 = np.float32

NARROW = f32(0.1)
ROUNDS = 4
SQRT_HALF_PI = f32(1.2533141373155003)
LOG_SQRT_TWO_PI = f32(0.9189385332046727)


@inline
def _log_mills(z):
    """log of exp(z**2 / 2) ndtr(-z) sqrt(2 pi), z >= 0."""
    return _log_positive(_mills(z)) + LOG_SQRT_TWO_PI


@inline
def _gained(z, t):
    """The hazard's integral from z to z + t, z >= 0: log(ndtr(-z) / ndtr(-z - t)); short ones by Taylor's series."""
    here = _log_mills(z)
    h = exp(-here)
    s = t if t * (z + ONE) < NARROW else ZERO
    a = TWO * h - z
    h1 = h * (h - z)
    h2 = h1 * a - h
    h3 = h2 * a + TWO * h1 * (h1 - ONE)
    series = s * (h + s * (h1 * HALF + s * (h2 * f32(1 / 6) + s * (h3 * f32(1 / 24)))))
    return series if t * (z + ONE) < NARROW else t * (z + HALF * t) + (here - _log_mills(z + t))


@inline
def log_mass_between(a, b):
    """log of the integral of exp((e**2 - s**2) / 2) over [a, b], e its point nearest to 0; error 1e-5."""
    low = -b if b <= ZERO else a
    high = -a if b <= ZERO else b
    if not low <= high:
        return NAN
    if low >= ZERO:
        return _log_mills(low) + log1mexp(-_gained(low, high - low)) if low < high else -INF
    return log((erf(high * SQRT_HALF) - erf(low * SQRT_HALF)) * SQRT_HALF_PI)


@inline
def _excess(p, rest, z, width):
    """t such that the fraction p = 1 - rest of the mass of [z, z + width] lies below z + t, z >= 0.

    By Newton's method on `_gained`, which is increasing and convex; the start, the root of its Taylor polynomial of
    degree 2, lies above the root.
    """
    total = _gained(z, width)
    below = p * -expm1(-total)
    wanted = -log1p(-below) if below < HALF else -log(rest + p * exp(-total))
    if not wanted < INF:
        return width if wanted == INF else NAN
    h = exp(-_log_mills(z))
    t = TWO * wanted / (h + f32(math.sqrt(h * h + TWO * h * (h - z) * wanted)))
    for _ in range(ROUNDS):
        t = t if t < width else width
        t = t - (_gained(z, t) - wanted) * exp(_log_mills(z + t))
        t = t if t > ZERO else ZERO
    return t if t < width else width


@inline
def quantile_between(p, a, b):
    """z - e, z the quantile at p of a standard normal on [a, b], e the point of [a, b] nearest to 0."""
    if not (ZERO <= p and p <= ONE and a <= b):
        return NAN
    if a >= ZERO:
        return _excess(p, ONE - p, a, b - a)
    if b <= ZERO:
        return -_excess(ONE - p, p, -b, b - a)
    low = HALF * erf(a * SQRT_HALF)
    mass = HALF * erf(b * SQRT_HALF) - low
    q = low + p * mass
    tail = ndtr(a) + p * mass if q < ZERO else ndtr(-b) + (ONE - p) * mass
    z = normal_quantile(q, tail)
    z = z if z > a else a
    return z if z < b else b
