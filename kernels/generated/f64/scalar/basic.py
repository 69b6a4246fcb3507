# Made from kernels/source/scalar/basic.py by `python -m ppl.kernels.source`: change that file instead.
"""Arithmetic without approximation: absolute value, rounding, selection, square root (float64)."""

import math

import numpy as np

from ppl.kernels.decorators import inline

f64, i64 = np.float64, np.int64

NAN, INF = f64(np.nan), f64(np.inf)

ZERO, HALF, ONE, TWO = f64(0.0), f64(0.5), f64(1.0), f64(2.0)


@inline
def select(condition, a, b):
    """`a` where `condition` holds, else `b`; both are evaluated."""
    return a if condition else b


@inline
def abs(x):
    """Absolute value."""
    return f64(math.fabs(x))


@inline
def plus(a, b):
    """a + b, which a loop that may reassociate sums computes as it stands."""
    return a + b


@inline
def minimum(a, b):
    """The smaller of two numbers; NaN if either is, as in NumPy."""
    return a if (a < b or a != a) else b


@inline
def maximum(a, b):
    """The larger of two numbers; NaN if either is, as in NumPy."""
    return a if (a > b or a != a) else b


@inline
def sign(x):
    """-1, 0 or 1; NaN for NaN."""
    up = ONE if x > ZERO else ZERO
    down = ONE if x < ZERO else ZERO
    return x if x != x else up - down


@inline
def floor(x):
    """The largest integer not above `x`, as a float64."""
    small = f64(math.fabs(x)) < f64(4503599627370496.0)
    t = f64(i64(x if small else ZERO))
    t = t - ONE if t > x else t
    return t if small else x


@inline
def square(x):
    """x * x."""
    return x * x


@inline
def reciprocal(x):
    """1 / x."""
    return ONE / x


@inline
def sqrt(x):
    """Square root; NaN below zero."""
    return f64(math.sqrt(x if x >= ZERO else ZERO)) if x >= ZERO else NAN
