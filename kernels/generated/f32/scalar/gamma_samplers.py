# Made from kernels/source/scalar/gamma_samplers.py by `python -m ppl.kernels.source`: change that file instead.
"""The sampler of log-gamma variables, and the derivative of a draw in the concentration (float32)."""

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.generated.f32.scalar.basic import HALF, NAN, ONE, TWO, ZERO, maximum, sqrt
from ppl.kernels.generated.f32.scalar.exponential import exp, log, log1p
from ppl.kernels.generated.f32.scalar.gamma import digamma
from ppl.kernels.generated.f32.scalar.normal import ndtri
from ppl.kernels.scalar import series as series_module
from ppl.kernels.scalar.noise import attempt_words, open_uniform_f32
from ppl.kernels.scalar.polynomials import horner8

f32, i32 = np.float32, np.int32

LARGE = f32(4.0)

BELOW = f32(-2.0)

ABOVE = f32(1.0)
"""Temme's expansion serves concentrations from LARGE on where y - log(concentration) is between BELOW and ABOVE."""

ROWS = 6

COLUMNS = 12

SLOPE = tuple(
    f32(series_module.SLOPE[row * series_module.SLOPE_COLUMNS + n]) for row in range(ROWS) for n in range(COLUMNS)
)

EXPANSION, SERIES, FRACTION = 0, 1, 2
SERIES_TERMS, FRACTION_TERMS, STRIDE = 16, 12, 4


@inline
def slope_expansion(y, a):
    """Temme's uniform expansion, differentiated; for a >= 4 and exp(-2) <= x / a <= e."""
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
def slope_regime(y, a):
    """Which formula serves y and concentration a: EXPANSION, SERIES or FRACTION."""
    ratio = y - log(a)
    near = a >= LARGE and ratio >= BELOW and ratio <= ABOVE
    left = exp(y) <= maximum(TWO, a + ONE)
    return i32(EXPANSION) if near else (i32(SERIES) if left else i32(FRACTION))


@inline
def series_pair(x, a, k, total, moved):
    """Terms k + 1 and k of `series_terms`, with one division."""
    low, high = a + k, a + (k + ONE)
    both = ONE / (low * high)
    r = both * low
    t = x * r
    moved, total = t * (moved - r * total), ONE + t * total
    r = both * high
    t = x * r
    return ONE + t * total, t * (moved - r * total)


@inline
def series_terms(x, a, k, total, moved):
    """Terms k + 3 to k of S = 1 + x / (a + 1) (1 + x / (a + 2) (1 + ...)) and of dS / da, by Horner's rule."""
    total, moved = series_pair(x, a, k + TWO, total, moved)
    return series_pair(x, a, k, total, moved)


@inline
def slope_of_series(y, a, total, moved):
    """The slope from S and dS / da, the power series of the lower incomplete gamma function."""
    return (total * (digamma(a + ONE) - y) - moved) / a


@inline
def fraction_start(x, a):
    """Where `fraction_terms` begin: the last denominator and its derivative."""
    return x + f32(2 * FRACTION_TERMS + 1) - a, -ONE


@inline
def fraction_term(x, a, k, value, moved):
    """Step k of the continued fraction's denominator and its derivative in a."""
    inverse = ONE / value
    weight = k * (a - k) * inverse
    return x + (TWO * k - ONE) - a + weight, (k - weight * moved) * inverse - ONE


@inline
def fraction_terms(x, a, k, value, moved):
    """Steps k + 3 to k of the continued fraction of the upper incomplete gamma function, backwards."""
    value, moved = fraction_term(x, a, k + f32(3.0), value, moved)
    value, moved = fraction_term(x, a, k + TWO, value, moved)
    value, moved = fraction_term(x, a, k + ONE, value, moved)
    return fraction_term(x, a, k, value, moved)


@inline
def slope_of_fraction(y, a, value, moved):
    """The slope from the continued fraction's denominator and its derivative."""
    inverse = ONE / value
    return (y - digamma(a) - moved * inverse) * inverse


@inline
def loggamma_slope(y, concentration):
    """dy / d concentration at a fixed quantile, -(dF / d concentration) / (x p(x)) with x = exp(y).

    Relative error 2e-5 against quadrature, from concentration 1e-3 to 1e6 (Figurnov, Mohamed & Mnih 2018; the
    expansion is Temme's, DLMF 8.12; the truncated series and fraction are right to 6e-7).
    """
    a, regime = concentration, slope_regime(y, concentration)
    if regime == EXPANSION:
        return slope_expansion(y, a)
    x = exp(y)
    if regime == SERIES:
        total, moved = ONE, ZERO
        for k in range(SERIES_TERMS - STRIDE + 1, 0, -STRIDE):
            total, moved = series_terms(x, a, f32(k), total, moved)
        return slope_of_series(y, a, total, moved)
    value, moved = fraction_start(x, a)
    for k in range(FRACTION_TERMS - STRIDE + 1, 0, -STRIDE):
        value, moved = fraction_terms(x, a, f32(k), value, moved)
    return slope_of_fraction(y, a, value, moved)


ATTEMPTS = 60

THIRD = f32(1 / 3)

REST = tuple(f32((-1) ** (n + 1) / n) for n in range(4, 13))


@inline
def _log1p_rest(s, log1p_s):
    """log(1 + s) - s + s**2 / 2 - s**3 / 3, whose first terms would cancel; without a branch."""
    square = s * s
    near = s >= f32(-0.25) and s <= f32(0.25)
    series = square * square * horner8(s, *REST)
    return series if near else log1p_s - s + square * (HALF - s * THIRD)


@inline
def loggamma_attempt(concentration, key, column, stream, attempt):
    """The logarithm of one proposed draw, NaN where it is rejected; without a branch, so that loops vectorise."""
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
def loggamma_draw(concentration, key, column, stream):
    """The logarithm of a standard gamma draw (Marsaglia & Tsang 2000, boosted below concentration 1).

    Parameters
    ----------
    concentration : positive.
    key : uint64
        One per row and particle, of this node and step.
    column, stream : int
        Event entry, and which of the gamma draws of that entry (below 1024).
    """
    y = NAN
    for attempt in range(ATTEMPTS):
        y = loggamma_attempt(concentration, key, column, stream, attempt)
        if y == y:
            break
    return y
