"""How a gamma variable moves with its concentration at a fixed quantile (float32).

Three regimes, each of a fixed number of steps without branches, so that blocks of lanes of one regime vectorise
(`ppl.kernels.cpu.draws.slope_lanes_f32`).
"""

import numpy as np

from ppl.kernels.config import inline
from ppl.kernels.scalar.f32.basic import ONE, TWO, ZERO, maximum
from ppl.kernels.scalar.f32.exponential import exp, log
from ppl.kernels.scalar.f32.gamma import digamma

f32, i32 = np.float32, np.int32

LARGE, BELOW, ABOVE = f32(4.0), f32(-2.0), f32(1.0)
"""Temme's expansion serves concentrations from LARGE on where y - log(concentration) is between BELOW and ABOVE."""
EXPANSION, SERIES, FRACTION = 0, 1, 2
SERIES_TERMS, FRACTION_TERMS, STRIDE = 16, 12, 4
ROWS, COLUMNS = 6, 12
# alpha * slope in powers of l = y - log(alpha), row after row in powers of 1 / alpha; row 0 is l / (e**l - 1)
# (`ppl.kernels.scalar.fit_gamma`)
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
            2.0876757e-8,
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
            3.48756549e-8,
            3.17051408e-9,
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
            1.4031016e-8,
            1.16496892e-8,
            -0.00952380952,
            0.00833333333,
            -0.00178571429,
            -0.000595238095,
            0.000302128427,
            6.31313131e-6,
            -2.41540867e-5,
            2.0003145e-6,
            1.38564313e-6,
            -2.21821278e-7,
            -6.44295586e-8,
            1.55593242e-8,
            -0.00357142857,
            0.0,
            0.0018037518,
            -0.000721500722,
            -5.5037555e-5,
            9.15750916e-5,
            -9.78959312e-6,
            -6.47500648e-6,
            1.52186295e-6,
            3.10007021e-7,
            -1.29947661e-7,
            -9.34819599e-9,
            0.00360750361,
            -0.00396825397,
            0.00116272616,
            0.000387575388,
            -0.000311031561,
            2.52062752e-5,
            3.03676897e-5,
            -7.78199133e-6,
            -1.60861546e-6,
            8.59295689e-7,
            2.63999364e-8,
            -6.53357238e-8,
        ),
    )
)


@inline
def slope_regime(y, a):
    """Which formula serves y and concentration a: EXPANSION, SERIES or FRACTION."""
    ratio = y - log(a)
    near = a >= LARGE and ratio >= BELOW and ratio <= ABOVE
    left = exp(y) <= maximum(TWO, a + ONE)
    return i32(EXPANSION) if near else (i32(SERIES) if left else i32(FRACTION))


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
