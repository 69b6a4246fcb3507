# Made from kernels/source/scalar/von_mises_cdf.py by `python -m ppl.kernels.source`: change that file instead.
"""The von Mises distribution function around 0, how it moves with the concentration, and its inverse (float64).

By the Gauss rule of `von_mises`, over the tail on the angle's side or over what lies between it and 0.
"""

import numpy as np

from ppl.kernels.config import called
from ppl.kernels.scalar.f64.basic import HALF, NAN, ONE, TWO, ZERO, abs, maximum, minimum, sqrt
from ppl.kernels.scalar.f64.bessel import TWO_PI, log_i0e, log_i0e_curvature, log_i0e_slope
from ppl.kernels.scalar.f64.exponential import exp, log
from ppl.kernels.scalar.f64.normal import ndtri
from ppl.kernels.scalar.f64.trigonometric import cos, sin
from ppl.kernels.scalar.f64.von_mises import COUNT, PI, POINTS, WEIGHTS, reach

f64 = np.float64

ROUNDS = 60
ROUND = f64(3.1416)  # pi, rounded up in either precision
ENOUGH = f64(1e-15)


@called
def _density(a, concentration):
    """exp(concentration (cos a - 1)) / (2 pi I0(concentration) exp(-concentration))."""
    near = sin(HALF * a)
    return exp(-TWO * concentration * near * near - log_i0e(concentration)) / TWO_PI


@called
def _integral(a, length, concentration, order):
    """The integral from `a` over `length` of the derivative of order `order` of the density in the concentration."""
    near, side = sin(HALF * a), cos(HALF * a)
    gap = -log_i0e_slope(concentration)
    spread = log_i0e_curvature(concentration) if order == 2 else ZERO
    total = ZERO
    for n in range(COUNT):
        h = HALF * length * POINTS[n]
        across = sin(h)
        along = sqrt(maximum(ONE - across * across, ZERO))
        p = near * along + side * across  # sin(s / 2)
        rise = TWO * near * side * along + (ONE - TWO * near * near) * across  # sin((s + a) / 2)
        lean = gap - TWO * p * p  # cos s less its mean
        factor = ONE if order == 0 else (lean if order == 1 else lean * lean - spread)
        total += WEIGHTS[n] * factor * exp(-TWO * concentration * rise * across)
    return total * length * _density(a, concentration)


@called
def _tail(a, concentration, order):
    """The integral from `a` >= 0 to pi of the density, or of its derivative in the concentration."""
    near = sin(HALF * a)
    if TWO * near * near > -log_i0e_slope(concentration):
        return _integral(a, reach(near, a, concentration), concentration, order)
    between = _integral(a, -a, concentration, order)
    return (HALF if order == 0 else ZERO) + between


@called
def vonmises_cdf(concentration, x):
    """P(-pi < X <= x) of the centred von Mises variable, for |x| <= pi; NaN beyond or for a negative concentration."""
    if not (concentration >= ZERO and abs(x) <= ROUND):
        return NAN
    tail = _tail(abs(x), concentration, 0)
    return ONE - tail if x > ZERO else tail


@called
def vonmises_cdf_slope(concentration, x, order):
    """The derivative of `vonmises_cdf` in the concentration, of order 1 or 2."""
    if not (concentration >= ZERO and abs(x) <= ROUND):
        return NAN
    tail = _tail(abs(x), concentration, order)
    return -tail if x > ZERO else tail


@called
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
