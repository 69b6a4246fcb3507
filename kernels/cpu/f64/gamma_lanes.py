# Made from kernels/source/cpu/gamma_lanes.py by `python -m ppl.kernels.source`: change that file instead.
"""Gamma draws and their slopes for a run of lanes, in blocks in which all lanes do the same: their loops vectorise.

A draw's first attempt is made for all lanes of a block together, then the few rejected lanes are gathered and try again
together. What a lane gets is what the scalar function gives it, a function of key, column and stream.
In float64, lanes come one after another.
"""

import numpy as np

from ppl.kernels.cpu.draws.lanes import both_forms, lane_column, lane_key
from ppl.kernels.scalar.f64 import gamma_draws as draws
from ppl.kernels.scalar.f64 import gamma_slope as slopes
from ppl.kernels.symbols import shared

f64 = np.float64

_VECTOR = f64.__name__ + "[::1]"
_SLOPES = "void({0},{0},{0},int64)"


@shared(*both_forms(_VECTOR, _VECTOR))
def loggamma_row_f64(out, concentration, key, column, stream, n):
    """Write `n` logarithms of gamma draws to `out`.

    Parameters
    ----------
    out, concentration : float64 vectors, at least `n` long.
    key : uint64, or a vector
        Of the row and particle.
    column : int, or a vector
        Of the first lane, or of each.
    stream : int
        Which of the gamma draws of an entry.
    """
    for i in range(n):
        out[i] = draws.loggamma_draw(concentration[i], lane_key(key, i), lane_column(column, i), stream)


@shared(_SLOPES.format(_VECTOR))
def loggamma_slope_lanes_f64(out, y, concentration, n):
    """Write the slopes of `n` logarithms `y` of gamma variables to `out`."""
    for i in range(n):
        out[i] = slopes.loggamma_slope(y[i], concentration[i])
