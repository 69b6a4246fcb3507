# Made from kernels/source/scalar/gamma_slope.py by `python -m ppl.kernels.source`: change that file instead.
"""How a gamma variable moves with its concentration at a fixed quantile (float32).

Three regimes; in float32 each has a fixed number of steps without branches, so that blocks of lanes of one regime
vectorise (`ppl.kernels.cpu.f32.gamma_lanes`).
"""

import numpy as np

from ppl.kernels.config import inline
from ppl.kernels.scalar import gamma_series as series
from ppl.kernels.scalar.f32.basic import ONE, TWO, ZERO, maximum
from ppl.kernels.scalar.f32.exponential import exp, log
from ppl.kernels.scalar.f32.gamma import digamma

f32, i32 = np.float32, np.int32

LARGE = f32(4.0)
BELOW = f32(-2.0)
ABOVE = f32(1.0)
"""Temme's expansion serves concentrations from LARGE on where y - log(concentration) is between BELOW and ABOVE."""
ROWS = 6
COLUMNS = 12
SLOPE = tuple(f32(series.SLOPE[row * series.COLUMNS + n]) for row in range(ROWS) for n in range(COLUMNS))
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
