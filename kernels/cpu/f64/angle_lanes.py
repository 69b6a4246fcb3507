# Made from kernels/source/cpu/angle_lanes.py by `python -m ppl.kernels.source`: change that file instead.
"""Von Mises draws for a run of lanes: an attempt of all lanes of a block together, then of those rejected.

In float64, lanes come one after another.
"""

import numpy as np

from ppl.kernels.cpu.draws.lanes import both_forms, lane_column, lane_key
from ppl.kernels.scalar.f64 import von_mises as angles
from ppl.kernels.symbols import shared

f64 = np.float64

_VECTOR = f64.__name__ + "[::1]"


@shared(*both_forms(_VECTOR, _VECTOR))
def vonmises_row_f64(out, concentration, key, column, stream, n):
    """Write `n` angles to `out`; arguments as for `loggamma_row_f64`."""
    for i in range(n):
        out[i] = angles.vonmises_draw(concentration[i], lane_key(key, i), lane_column(column, i), stream)
