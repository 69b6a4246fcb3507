"""Gamma variables by rejection, and how they move with the concentration (float32).

Both work on the logarithm y of a standard gamma variable, which underflows at no concentration. A draw is a pure
function of a 64-bit key, a column and a stream; rejected attempts have counters of their own (`words`).
"""

import numpy as np

from ppl.kernels.config import inline
from ppl.kernels.scalar.f32.basic import HALF, NAN, ONE, ZERO, maximum, minimum, sqrt
from ppl.kernels.scalar.f32.exponential import exp, log, log1p
from ppl.kernels.scalar.f32.gamma import digamma
from ppl.kernels.scalar.f32.normal import ndtri
from ppl.kernels.scalar.noise import attempt_words, open_uniform_f32
from ppl.kernels.scalar.polynomials import horner8

f32 = np.float32

ATTEMPTS = 60
ROWS = 3
THIRD = f32(1 / 3)
REST = tuple(f32((-1) ** (n + 1) / n) for n in range(4, 13))
# alpha * slope in powers of l = y - log(alpha), row after row in powers of 1 / alpha; row 0 is l / (e**l - 1)
# (`ppl.kernels.scalar.fit_gamma`)
COLUMNS = 10
SLOPE = tuple(
    map(
        f32,
        (
            1.0,
            -0.5,
            0.0833333333,
            0.0,
            -0.00138888889,
            0.0,
            3.30687831e-5,
            0.0,
            -8.26719577e-7,
            0.0,
            0.166666667,
            -0.0833333333,
            0.00833333333,
            0.00277777778,
            -0.000496031746,
            -9.92063492e-5,
            2.31481481e-5,
            3.30687831e-6,
            -9.39454064e-7,
            -1.04383785e-7,
            0.0166666667,
            0.0,
            -0.00476190476,
            0.00119047619,
            0.000198412698,
            -9.92063492e-5,
            -4.20875421e-6,
            5.71188071e-6,
            -8.01116873e-8,
            -2.7323316e-7,
        ),
    )
)


@inline
def _log1p_rest(s, log1p_s):
    """log(1 + s) - s + s**2 / 2 - s**3 / 3, whose first terms would cancel; without a branch."""
    square = s * s
    near = s >= f32(-0.25) and s <= f32(0.25)
    series = square * square * horner8(s, *REST)
    return series if near else log1p_s - s + square * (HALF - s * THIRD)


@inline
def _attempt(concentration, key, column, stream, attempt):
    """The logarithm of one proposed gamma draw, NaN where it is rejected; without a branch, so that loops vectorise."""
    small = concentration < ONE
    d = (concentration + ONE if small else concentration) - THIRD
    w0, w1, w2, _ = attempt_words(key, column, stream, attempt)
    s = THIRD / sqrt(d) * ndtri(open_uniform_f32(w0))
    inside = s > -ONE
    s = s if inside else ZERO
    log1p_s = log1p(s)
    accepted = inside and log(open_uniform_f32(w1)) < f32(3.0) * d * _log1p_rest(s, log1p_s)
    boost = log(open_uniform_f32(w2)) / concentration if small else ZERO
    return log(d) + f32(3.0) * log1p_s + boost if accepted else NAN


@inline
def loggamma_first(concentration, key, column, stream):
    """The first attempt of `loggamma_draw`: NaN where it is rejected."""
    return _attempt(concentration, key, column, stream, 0)


@inline
def loggamma_draw(concentration, key, column, stream):
    """The logarithm of a standard gamma draw (Marsaglia & Tsang 2000, boosted below concentration 1).

    Parameters
    ----------
    concentration : positive.
    key : uint64
        One per row and particle, of this node and step.
    column, stream : int
        Event element, and which of the gamma draws of that element (below 1024).
    """
    y = NAN
    for attempt in range(ATTEMPTS):
        y = _attempt(concentration, key, column, stream, attempt)
        if y == y:
            break
    return y


@inline
def _slope_series(y, a):
    """From the power series of the lower incomplete gamma function; for x up to about a + 1."""
    x = exp(y)
    term, harmonic, total, moved = ONE, ZERO, ONE, ZERO
    for n in range(1, 400):
        step = ONE / (a + f32(n))
        term *= x * step
        harmonic += step
        total += term
        moved += term * harmonic
        if term * (ONE + harmonic) < f32(1e-8) * total:
            break
    return (total * (digamma(a + ONE) - y) + moved) / a


@inline
def _slope_fraction(y, a):
    """From the continued fraction of the upper incomplete gamma function, evaluated backwards; for x > a + 1."""
    x = exp(y)
    last = int(minimum(f32(16.0) + f32(40.0) / x, f32(400.0)))
    value, moved = x + f32(2 * last + 1) - a, -ONE
    for k in range(last, 0, -1):
        weight = f32(k) * (a - f32(k)) / value
        moved = -ONE + (f32(k) - weight * moved) / value
        value = x + f32(2 * k - 1) - a + weight
    return (y - digamma(a)) / value - moved / (value * value)


@inline
def _slope_expansion(y, a):
    """Temme's uniform expansion, differentiated; for a >= 12 and x within a factor e of a."""
    ratio = y - log(a)
    inverse = ONE / a
    total = ZERO
    for row in range(ROWS - 1, -1, -1):
        value = ZERO
        for n in range(COLUMNS - 1, -1, -1):
            value = value * ratio + SLOPE[row * COLUMNS + n]
        total = total * inverse + value
    return total * inverse


@inline
def loggamma_slope(y, concentration):
    """dy / d concentration at a fixed quantile, -(dF / d concentration) / (x p(x)) with x = exp(y).

    Relative error 2e-5 against quadrature, from concentration 1e-3 to 1e6 (Figurnov, Mohamed & Mnih 2018; the
    expansion is Temme's, DLMF 8.12).
    """
    a = concentration
    if a >= f32(12.0) and -ONE <= y - log(a) <= ONE:
        return _slope_expansion(y, a)
    if exp(y) <= maximum(f32(2.0), a + ONE):
        return _slope_series(y, a)
    return _slope_fraction(y, a)
