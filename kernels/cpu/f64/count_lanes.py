# Made from kernels/source/cpu/count_lanes.py by `python -m ppl.kernels.source`: change that file instead.
"""Poisson and binomial counts for a run of lanes, in blocks whose loops vectorise where all means are large.

Large means make an attempt of all lanes together, then of those rejected. Where some are small, lanes come one after
another: going up from 0 all together, until the last has reached its count, takes 3 to 9 times as long on AVX2. What a
lane gets is what the scalar sampler gives it. In float64, too, lanes come one after another.
"""

import numpy as np

from ppl.kernels.cpu.draws.lanes import both_forms, lane_column, lane_key
from ppl.kernels.scalar.f64 import binomial, poisson
from ppl.kernels.symbols import shared

f64 = np.float64

_VECTOR = f64.__name__ + "[::1]"


@shared(*both_forms("int64[::1]", _VECTOR))
def poisson_row_f64(out, rate, key, column, stream, n):
    """Write `n` Poisson counts to the int64 vector `out`; arguments as for `loggamma_row_f64`."""
    for i in range(n):
        out[i] = poisson.poisson_draw(rate[i], lane_key(key, i), lane_column(column, i), stream)


@shared(*both_forms("int64[::1]", _VECTOR, _VECTOR, _VECTOR))
def binomial_row_f64(out, total, one, zero, key, column, stream, n):
    """Write `n` binomial counts to the int64 vector `out`; arguments as for `loggamma_row_f64`."""
    for i in range(n):
        at, k = lane_column(column, i), lane_key(key, i)
        out[i] = binomial.binomial_draw(total[i], one[i], zero[i], k, at, stream)
