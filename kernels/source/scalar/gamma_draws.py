"""Gamma variables by rejection (`real`).

A draw is the logarithm of a standard gamma variable, which underflows at no concentration, and a pure function of a
64-bit key, a column and a stream; rejected attempts have counters of their own (`attempt_words`).
"""

from ppl.kernels.config import inline
from ppl.kernels.scalar.noise import attempt_words, open_uniform_f32, open_uniform_f64
from ppl.kernels.scalar.polynomials import horner8
from ppl.kernels.source.precision import SINGLE, real
from ppl.kernels.source.scalar.basic import HALF, NAN, ONE, ZERO, sqrt
from ppl.kernels.source.scalar.exponential import log, log1p
from ppl.kernels.source.scalar.normal import ndtri

ATTEMPTS = 60
THIRD = real(1 / 3)
if SINGLE:
    REST = tuple(real((-1) ** (n + 1) / n) for n in range(4, 13))

    @inline
    def _log1p_rest(s, log1p_s):
        """log(1 + s) - s + s**2 / 2 - s**3 / 3, whose first terms would cancel; without a branch."""
        square = s * s
        near = s >= real(-0.25) and s <= real(0.25)
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
        accepted = inside and log(open_uniform_f32(w1)) < real(3.0) * d * _log1p_rest(s, log1p_s)
        boost = log(open_uniform_f32(w2)) / concentration if small else ZERO
        return log(d) + real(3.0) * log1p_s + boost if accepted else NAN

else:
    BOOST = 63

    @inline
    def _log1p_rest(s):
        """log(1 + s) - s + s**2 / 2 - s**3 / 3, whose first terms would cancel."""
        if s < real(-0.25) or s > real(0.25):
            return log1p(s) - s + s * s * (HALF - s * THIRD)
        total, power = ZERO, -s * s * s * s
        for n in range(4, 26):
            total += power / real(n)
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
    if SINGLE:
        y = NAN
        for attempt in range(ATTEMPTS):
            y = loggamma_attempt(concentration, key, column, stream, attempt)
            if y == y:
                break
    else:
        small = concentration < ONE
        d = (concentration + ONE if small else concentration) - THIRD
        c = THIRD / sqrt(d)
        s = ZERO
        for attempt in range(ATTEMPTS):
            w0, w1, w2, w3 = attempt_words(key, column, stream, attempt)
            z, u = ndtri(open_uniform_f64(w0, w1)), open_uniform_f64(w2, w3)
            s = c * z
            if s > -ONE and log(u) < real(3.0) * d * _log1p_rest(s):
                break
        y = log(d) + real(3.0) * log1p(s)
        if small:
            w0, w1, w2, w3 = attempt_words(key, column, stream, BOOST)
            y += log(open_uniform_f64(w0, w1)) / concentration
    return y
