# Made from kernels/source/scalar/von_mises.py by `python -m ppl.kernels.source`: change that file instead.
"""Von Mises angles by rejection, and how they move with the concentration (float64).

A draw is a pure function of a 64-bit key, a column and a stream; rejected attempts have counters of their own.
"""

import math

import numpy as np

from ppl.kernels.config import inline
from ppl.kernels.scalar.f64.basic import HALF, ONE, TWO, ZERO, abs, maximum, sqrt
from ppl.kernels.scalar.f64.bessel import log_i0e_slope
from ppl.kernels.scalar.f64.exponential import exp, log
from ppl.kernels.scalar.f64.trigonometric import atan, cos, sin, tan
from ppl.kernels.scalar.noise import attempt_words, open_uniform_f64

f64 = np.float64

ATTEMPTS = 60
FLAT = f64(1e-9)
PI = f64(math.pi)
PI_REST = f64(1.2246467991473532e-16)
# Gauss and Legendre's rule on (0, 1), and the exponent at which the tail of an integral is cut off
COUNT = 24
DEPTH = f64(30.0)
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(COUNT)
POINTS = tuple(map(f64, 0.5 * (_POINTS + 1)))
WEIGHTS = tuple(map(f64, 0.5 * _WEIGHTS))


@inline
def _wrapped(concentration):
    """The concentration, kept off 0, and the two numbers that say which wrapped Cauchy law proposes angles for it."""
    kappa = maximum(concentration, FLAT)
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
    for attempt in range(ATTEMPTS):
        w0, w1, w2, w3 = attempt_words(key, column, stream, attempt)
        t, c = _proposed(kappa, excess, b, open_uniform_f64(w0, w1))
        if log(open_uniform_f64(w2, w3)) <= log(c) + ONE - c:
            break
    return TWO * atan(t)


@inline
def reach(near, x, concentration):
    """How far above `x` the exponent has fallen by `DEPTH`, or the circle ends; near = sin(x / 2)."""
    far = near * near + HALF * DEPTH / concentration
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
    length = -a if TWO * near * near <= gap else reach(near, a, concentration)
    total = ZERO
    for n in range(COUNT):
        h = HALF * length * POINTS[n]
        across = sin(h)
        along = sqrt(maximum(ONE - across * across, ZERO))
        p = near * along + side * across  # sin(s / 2)
        rise = TWO * near * side * along + (ONE - TWO * near * near) * across  # sin((s + |x|) / 2)
        total += WEIGHTS[n] * abs(gap - TWO * p * p) * exp(-TWO * concentration * rise * across)
    y = abs(length) * total
    return y if x < ZERO else -y
