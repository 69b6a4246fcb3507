# Made from kernels/source/scalar/gamma_draws.py by `python -m ppl.kernels.source`: change that file instead.
"""Gamma variables by rejection (float32).

A draw is the logarithm of a standard gamma variable, which underflows at no concentration, and a pure function of a
64-bit key, a column and a stream; rejected attempts have counters of their own (`attempt_words`).
"""

import numpy as np

from ppl.kernels.config import inline
from ppl.kernels.scalar.f32.basic import HALF, NAN, ONE, ZERO, sqrt
from ppl.kernels.scalar.f32.exponential import log, log1p
from ppl.kernels.scalar.f32.normal import ndtri
from ppl.kernels.scalar.noise import attempt_words, open_uniform_f32
from ppl.kernels.scalar.polynomials import horner8

f32 = np.float32

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
