# Made from kernels/source/scalar/gamma_slope.py by `python -m ppl.kernels.source`: change that file instead.
"""How a gamma variable moves with its concentration at a fixed quantile (float64).

Three regimes; in float32 each has a fixed number of steps without branches, so that blocks of lanes of one regime
vectorise (`ppl.kernels.cpu.f32.gamma_lanes`).
"""

import numpy as np

from ppl.kernels.config import inline
from ppl.kernels.scalar import gamma_series as series
from ppl.kernels.scalar.f64.basic import ONE, TWO, ZERO, maximum, minimum
from ppl.kernels.scalar.f64.exponential import exp, log
from ppl.kernels.scalar.f64.gamma import digamma

f64 = np.float64

LARGE = f64(12.0)
BELOW = f64(-1.0)
ABOVE = f64(1.0)
"""Temme's expansion serves concentrations from LARGE on where y - log(concentration) is between BELOW and ABOVE."""
ROWS = 7
COLUMNS = 18
SLOPE = tuple(f64(series.SLOPE[row * series.COLUMNS + n]) for row in range(ROWS) for n in range(COLUMNS))


@inline
def slope_expansion(y, a):
    """Temme's uniform expansion, differentiated; for a >= 12 and x near a."""
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
def _slope_series(y, a):
    """From the power series of the lower incomplete gamma function; for x up to about a + 1."""
    x = exp(y)
    term, harmonic, total, moved = ONE, ZERO, ONE, ZERO
    for n in range(1, 400):
        step = ONE / (a + f64(n))
        term *= x * step
        harmonic += step
        total += term
        moved += term * harmonic
        if term * (ONE + harmonic) < f64(1e-17) * total:
            break
    return (total * (digamma(a + ONE) - y) + moved) / a


@inline
def _slope_fraction(y, a):
    """From the continued fraction of the upper incomplete gamma function, evaluated backwards; for x > a + 1."""
    x = exp(y)
    last = int(minimum(f64(40.0) + f64(90.0) / x, f64(400.0)))
    value, moved = x + f64(2 * last + 1) - a, -ONE
    for k in range(last, 0, -1):
        weight = f64(k) * (a - f64(k)) / value
        moved = -ONE + (f64(k) - weight * moved) / value
        value = x + f64(2 * k - 1) - a + weight
    return (y - digamma(a)) / value - moved / (value * value)


@inline
def loggamma_slope(y, concentration):
    """dy / d concentration at a fixed quantile, -(dF / d concentration) / (x p(x)) with x = exp(y).

    Relative error 1e-9 against quadrature, from concentration 1e-3 to 1e6 (Figurnov, Mohamed & Mnih 2018; the
    expansion is Temme's, DLMF 8.12).
    """
    a = concentration
    if a >= LARGE and BELOW <= y - log(a) <= ABOVE:
        return slope_expansion(y, a)
    if exp(y) <= maximum(TWO, a + ONE):
        return _slope_series(y, a)
    return _slope_fraction(y, a)
