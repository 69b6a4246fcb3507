"""Arithmetic without approximation: absolute value, rounding, selection, square root (`real`)."""

import math

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.source.precision import SINGLE, integer, real

NAN, INF = real(np.nan), real(np.inf)

ZERO, HALF, ONE, TWO = real(0.0), real(0.5), real(1.0), real(2.0)


@inline
def select(condition, a, b):
    """`a` where `condition` holds, else `b`; both are evaluated."""
    return a if condition else b


@inline
def abs(x):
    """Absolute value."""
    return real(math.fabs(x))


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
    """The largest integer not above `x`, as a `real`."""
    small = real(math.fabs(x)) < real(8388608.0 if SINGLE else 4503599627370496.0)
    t = real(integer(x if small else ZERO))
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
    return real(math.sqrt(x if x >= ZERO else ZERO)) if x >= ZERO else NAN
