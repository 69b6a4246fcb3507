# Made from kernels/source/scalar/von_mises.py by `python -m ppl.kernels.source`: change that file instead.
"""The von Mises distribution: normalizer (log I0), sampler, distribution function, and their derivatives (float64)."""

import math

import numpy as np

from ppl.kernels.decorators import inline, scalar_call
from ppl.kernels.generated.f64.scalar.basic import HALF, NAN, ONE, TWO, ZERO, abs, maximum, minimum, sqrt
from ppl.kernels.generated.f64.scalar.exponential import exp, log
from ppl.kernels.generated.f64.scalar.normal import ndtri
from ppl.kernels.generated.f64.scalar.trigonometric import atan, cos, sin, tan
from ppl.kernels.scalar import series
from ppl.kernels.scalar.noise import attempt_words, open_uniform_f64
from ppl.kernels.scalar.polynomials import horner3, horner6, horner10

f64 = np.float64

FAR = f64(20.0)

TWO_PI = f64(2 * math.pi)

I0_A = tuple(map(f64, series.I0[:10]))

I0_B = tuple(map(f64, series.I0[10:20]))

I1_A = tuple(map(f64, series.I1[:10]))

I1_B = tuple(map(f64, series.I1[10:20]))

LOG_A = tuple(map(f64, series.LOG_I0E[:10]))

GAP_A = tuple(map(f64, series.BESSEL_GAP[:10]))

SLOPE_A = tuple(map(f64, series.BESSEL_GAP_SLOPE[:10]))

I0_C = tuple(map(f64, series.I0[20:30]))
I0_D = tuple(map(f64, series.I0[30:37]))
I1_C = tuple(map(f64, series.I1[20:30]))
I1_D = tuple(map(f64, series.I1[30:37]))
LOG_B = tuple(map(f64, series.LOG_I0E[10:20]))
LOG_C = tuple(map(f64, series.LOG_I0E[20:24]))
GAP_B = tuple(map(f64, series.BESSEL_GAP[10:20]))
GAP_C = tuple(map(f64, series.BESSEL_GAP[20:24]))
SLOPE_B = tuple(map(f64, series.BESSEL_GAP_SLOPE[10:20]))
SLOPE_C = tuple(map(f64, series.BESSEL_GAP_SLOPE[20:24]))


@inline
def _i0(q):
    """I0 in q = x**2 / 4."""
    return horner10(q, *I0_A, horner10(q, *I0_B, horner10(q, *I0_C, horner6(q, *I0_D))))


@inline
def _ratio(q):
    """2 I1(x) / (x I0(x)) in q = x**2 / 4."""
    return horner10(q, *I1_A, horner10(q, *I1_B, horner10(q, *I1_C, horner6(q, *I1_D)))) / _i0(q)


@inline
def _inverse_far(x):
    """1 / x where the asymptotic series applies; a harmless number elsewhere, infinity included."""
    return ONE / x if x > FAR else ONE / FAR


@inline
def log_i0e(x):
    """log(I0(x) exp(-x)); error 1e-15 of max(1, |y|); NaN below zero."""
    near, w = minimum(x, FAR), _inverse_far(x)
    low = log(_i0(near * near * f64(0.25))) - near
    high = w * horner10(w, *LOG_A, horner10(w, *LOG_B, horner3(w, *LOG_C))) - HALF * log(TWO_PI * x)
    y = high if x > FAR else low
    return NAN if x < ZERO else y


@inline
def log_i0e_slope(x):
    """I1(x) / I0(x) - 1, the derivative of `log_i0e`; relative error 1e-13; NaN below zero."""
    near, w = minimum(x, FAR), _inverse_far(x)
    low = HALF * near * _ratio(near * near * f64(0.25)) - ONE
    y = -w * horner10(w, *GAP_A, horner10(w, *GAP_B, horner3(w, *GAP_C))) if x > FAR else low
    return NAN if x < ZERO else y


@inline
def log_i0e_curvature(x):
    """The derivative of I1 / I0, that of `log_i0e_slope`; relative error 1e-12; NaN below zero."""
    near, w = minimum(x, FAR), _inverse_far(x)
    ratio = _ratio(near * near * f64(0.25))
    mean = HALF * near * ratio
    low = ONE - HALF * ratio - mean * mean
    y = w * w * horner10(w, *SLOPE_A, horner10(w, *SLOPE_B, horner3(w, *SLOPE_C))) if x > FAR else low
    return NAN if x < ZERO else y


VONMISES_ATTEMPTS = 60

FLAT_CONCENTRATION = f64(1e-9)

PI = f64(math.pi)

PI_REST = f64(1.2246467991473532e-16)

# Gauss and Legendre's rule on (0, 1), and the exponent at which the tail of an integral is cut off
QUADRATURE_POINTS = 24

FALLOFF = f64(30.0)

_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(QUADRATURE_POINTS)

POINTS = tuple(map(f64, 0.5 * (_POINTS + 1)))

WEIGHTS = tuple(map(f64, 0.5 * _WEIGHTS))


@inline
def _wrapped(concentration):
    """The concentration, kept off 0, and the two numbers that say which wrapped Cauchy law proposes angles for it."""
    kappa = maximum(concentration, FLAT_CONCENTRATION)
    e = HALF / kappa
    excess = e + e * e / (ONE + sqrt(ONE + e * e))
    return kappa, excess, sqrt(excess / (TWO + excess))


@inline
def _proposed(kappa, excess, b, u):
    """The tangent of half of a proposed angle, and what decides on it."""
    t = b * tan(PI * (u - HALF))
    return t, kappa * (excess + TWO * t * t / (ONE + t * t))


@inline
def vonmises_draw(concentration, key, column, stream):
    """An angle in (-pi, pi) with density proportional to exp(concentration cos x).

    Best & Fisher 1979: rejection from a wrapped Cauchy variable, which is 2 atan(b tan(phi / 2)) for phi uniform on the
    circle. Written in 1 - cos x and in what s exceeds 1 by, it keeps its precision at every concentration.

    Parameters
    ----------
    concentration : positive; below 1e-9 the draw is that of 1e-9, uniform to within rounding.
    key, column, stream : as for `loggamma_draw`.
    """
    t = ZERO
    kappa, excess, b = _wrapped(concentration)
    for attempt in range(VONMISES_ATTEMPTS):
        w0, w1, w2, w3 = attempt_words(key, column, stream, attempt)
        t, c = _proposed(kappa, excess, b, open_uniform_f64(w0, w1))
        if log(open_uniform_f64(w2, w3)) <= log(c) + ONE - c:
            break
    return TWO * atan(t)


@inline
def falloff_distance(near, x, concentration):
    """How far above `x` the exponent has fallen by `DEPTH`, or the circle ends; near = sin(x / 2)."""
    far = near * near + HALF * FALLOFF / concentration
    if far < ONE:
        return TWO * atan(sqrt(far / (ONE - far))) - x
    return maximum(PI - x + PI_REST, ZERO)


@inline
def vonmises_slope(x, concentration):
    """dx / d concentration at a fixed quantile of a centred von Mises variable, -(dF / d concentration) / p(x).

    The integral of |cos s - A| exp(concentration (cos s - cos x)), A = I1 / I0, from |x| to 0 or, where cos x < A, to
    pi (the two are equal, and nothing cancels in the one taken), by a Gauss rule. Relative error 1e-11 against
    quadrature, from concentration 1e-3 to 1e6 (Figurnov, Mohamed & Mnih 2018 for the implicit derivative).
    """
    a = abs(x)
    near, side, gap = sin(HALF * a), cos(HALF * a), -log_i0e_slope(concentration)
    length = -a if TWO * near * near <= gap else falloff_distance(near, a, concentration)
    total = ZERO
    for n in range(QUADRATURE_POINTS):
        h = HALF * length * POINTS[n]
        across = sin(h)
        along = sqrt(maximum(ONE - across * across, ZERO))
        p = near * along + side * across  # sin(s / 2)
        rise = TWO * near * side * along + (ONE - TWO * near * near) * across  # sin((s + |x|) / 2)
        total += WEIGHTS[n] * abs(gap - TWO * p * p) * exp(-TWO * concentration * rise * across)
    y = abs(length) * total
    return y if x < ZERO else -y


ROUNDS = 60

ROUND = f64(3.1416)  # pi, rounded up in either precision

ENOUGH = f64(1e-15)


@scalar_call
def _density(a, concentration):
    """exp(concentration (cos a - 1)) / (2 pi I0(concentration) exp(-concentration))."""
    near = sin(HALF * a)
    return exp(-TWO * concentration * near * near - log_i0e(concentration)) / TWO_PI


@scalar_call
def _integral(a, length, concentration, order):
    """The integral from `a` over `length` of the derivative of order `order` of the density in the concentration."""
    near, side = sin(HALF * a), cos(HALF * a)
    gap = -log_i0e_slope(concentration)
    spread = log_i0e_curvature(concentration) if order == 2 else ZERO
    total = ZERO
    for n in range(QUADRATURE_POINTS):
        h = HALF * length * POINTS[n]
        across = sin(h)
        along = sqrt(maximum(ONE - across * across, ZERO))
        p = near * along + side * across  # sin(s / 2)
        rise = TWO * near * side * along + (ONE - TWO * near * near) * across  # sin((s + a) / 2)
        lean = gap - TWO * p * p  # cos s less its mean
        factor = ONE if order == 0 else (lean if order == 1 else lean * lean - spread)
        total += WEIGHTS[n] * factor * exp(-TWO * concentration * rise * across)
    return total * length * _density(a, concentration)


@scalar_call
def _tail(a, concentration, order):
    """The integral from `a` >= 0 to pi of the density, or of its derivative in the concentration."""
    near = sin(HALF * a)
    if TWO * near * near > -log_i0e_slope(concentration):
        return _integral(a, falloff_distance(near, a, concentration), concentration, order)
    between = _integral(a, -a, concentration, order)
    return (HALF if order == 0 else ZERO) + between


@scalar_call
def vonmises_cdf(concentration, x):
    """P(-pi < X <= x) of the centred von Mises variable, for |x| <= pi; NaN beyond or for a negative concentration."""
    if not (concentration >= ZERO and abs(x) <= ROUND):
        return NAN
    tail = _tail(abs(x), concentration, 0)
    return ONE - tail if x > ZERO else tail


@scalar_call
def vonmises_cdf_slope(concentration, x, order):
    """The derivative of `vonmises_cdf` in the concentration, of order 1 or 2."""
    if not (concentration >= ZERO and abs(x) <= ROUND):
        return NAN
    tail = _tail(abs(x), concentration, order)
    return -tail if x > ZERO else tail


@scalar_call
def vonmises_icdf(concentration, p):
    """x with `vonmises_cdf` p, by Newton's iteration on the logarithm of a tail, bracketed."""
    if not (concentration >= ZERO and p >= ZERO and p <= ONE):
        return NAN
    target = ONE - p if p > HALF else p
    if target == ZERO or target == HALF:
        return ZERO if target == HALF else (PI if p > HALF else -PI)
    low, high = ZERO, PI
    a = minimum(-ndtri(target) / sqrt(concentration + HALF), PI * HALF)
    for _ in range(ROUNDS):
        tail = _tail(a, concentration, 0)
        if tail > target:
            low = a
        else:
            high = a
        step = log(tail / target) * tail / _density(a, concentration) if tail > ZERO else -PI
        new = a + step
        if not (new > low and new < high):
            new = HALF * (low + high)
        moved = abs(new - a)
        a = new
        if moved <= ENOUGH * a:
            break
    return a if p > HALF else -a
