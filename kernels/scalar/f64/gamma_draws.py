# Made from kernels/source/scalar/gamma_draws.py by `python -m ppl.kernels.source`: change that file instead.
"""Gamma variables by rejection (float64).

A draw is the logarithm of a standard gamma variable, which underflows at no concentration, and a pure function of a
64-bit key, a column and a stream; rejected attempts have counters of their own (`attempt_words`).
"""

import numpy as np

from ppl.kernels.config import inline
from ppl.kernels.scalar.f64.basic import HALF, ONE, ZERO, sqrt
from ppl.kernels.scalar.f64.exponential import log, log1p
from ppl.kernels.scalar.f64.normal import ndtri
from ppl.kernels.scalar.noise import attempt_words, open_uniform_f64

f64 = np.float64

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
