# Made from kernels/source/scalar/gamma_samplers.py by `python -m ppl.kernels.source`: change that file instead.
"""The sampler of log-gamma variables, and the derivative of a draw in the concentration (float64)."""

import numpy as np

from ppl.kernels.decorators import inline
from ppl.kernels.generated.f64.scalar.basic import HALF, ONE, TWO, ZERO, maximum, minimum, sqrt
from ppl.kernels.generated.f64.scalar.exponential import exp, log, log1p
from ppl.kernels.generated.f64.scalar.gamma import digamma
from ppl.kernels.generated.f64.scalar.normal import ndtri
from ppl.kernels.scalar import series as series_module
from ppl.kernels.scalar.noise import attempt_words, open_uniform_f64

f64 = np.float64

LARGE = f64(12.0)

BELOW = f64(-1.0)

ABOVE = f64(1.0)
"""Temme's expansion serves concentrations from LARGE on where y - log(concentration) is between BELOW and ABOVE."""

ROWS = 7

COLUMNS = 18

SLOPE = tuple(
    f64(series_module.SLOPE[row * series_module.SLOPE_COLUMNS + n]) for row in range(ROWS) for n in range(COLUMNS)
)


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


ATTEMPTS = 60

THIRD = f64(1 / 3)

BOOST = 63


@inline
def _log1p_rest(s):
    """log(1 + s) - s + s**2 / 2 - s**3 / 3, whose first terms would cancel."""
    if s < f64(-0.25) or s > f64(0.25):
        return log1p(s) - s + s * s * (HALF - s * THIRD)
    total, power = ZERO, -s * s * s * s
    for n in range(4, 26):
        total += power / f64(n)
        power *= -s
    return total


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
    small = concentration < ONE
    d = (concentration + ONE if small else concentration) - THIRD
    c = THIRD / sqrt(d)
    s = ZERO
    for attempt in range(ATTEMPTS):
        w0, w1, w2, w3 = attempt_words(key, column, stream, attempt)
        z, u = ndtri(open_uniform_f64(w0, w1)), open_uniform_f64(w2, w3)
        s = c * z
        if s > -ONE and log(u) < f64(3.0) * d * _log1p_rest(s):
            break
    y = log(d) + f64(3.0) * log1p(s)
    if small:
        w0, w1, w2, w3 = attempt_words(key, column, stream, BOOST)
        y += log(open_uniform_f64(w0, w1)) / concentration
    return y
