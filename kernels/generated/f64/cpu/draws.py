# Made from kernels/source/cpu/draws.py by `python -m ppl.kernels.source`: change that file instead.
"""Von Mises, Poisson, binomial and gamma draws for a run of lanes, in blocks whose loops vectorise (float64).

An attempt of all lanes of a block is made together, then one of those that were rejected."""

import numpy as np

from ppl.kernels.cpu.noise_keys import draw_signatures, lane_column, lane_key
from ppl.kernels.decorators import shared
from ppl.kernels.generated.f64.scalar import binomial, poisson
from ppl.kernels.generated.f64.scalar import gamma_samplers as draws
from ppl.kernels.generated.f64.scalar import von_mises as angles

f64 = np.float64

_ANGLE_VECTORS = f64.__name__ + "[::1]"


@shared(*draw_signatures(_ANGLE_VECTORS, _ANGLE_VECTORS))
def vonmises_row_f64(out, concentration, key, column, stream, n):
    """Write `n` angles to `out`; arguments as for `loggamma_row_f64`."""
    for i in range(n):
        out[i] = angles.vonmises_draw(concentration[i], lane_key(key, i), lane_column(column, i), stream)


_COUNT_VECTORS = f64.__name__ + "[::1]"


@shared(*draw_signatures("int64[::1]", _COUNT_VECTORS))
def poisson_row_f64(out, rate, key, column, stream, n):
    """Write `n` Poisson counts to the int64 vector `out`; arguments as for `loggamma_row_f64`."""
    for i in range(n):
        out[i] = poisson.poisson_draw(rate[i], lane_key(key, i), lane_column(column, i), stream)


@shared(*draw_signatures("int64[::1]", _COUNT_VECTORS, _COUNT_VECTORS, _COUNT_VECTORS))
def binomial_row_f64(out, total, one, zero, key, column, stream, n):
    """Write `n` binomial counts to the int64 vector `out`; arguments as for `loggamma_row_f64`."""
    for i in range(n):
        at, k = lane_column(column, i), lane_key(key, i)
        out[i] = binomial.binomial_draw(total[i], one[i], zero[i], k, at, stream)


_GAMMA_VECTORS = f64.__name__ + "[::1]"

_SLOPES = "void({0},{0},{0},int64)"


@shared(*draw_signatures(_GAMMA_VECTORS, _GAMMA_VECTORS))
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


@shared(_SLOPES.format(_GAMMA_VECTORS))
def loggamma_slope_lanes_f64(out, y, concentration, n):
    """Write the slopes of `n` logarithms `y` of gamma variables to `out`."""
    for i in range(n):
        out[i] = draws.loggamma_slope(y[i], concentration[i])
