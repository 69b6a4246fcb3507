# Made from kernels/source/cpu/angle_lanes.py by `python -m ppl.kernels.source`: change that file instead.
"""Von Mises draws for a run of lanes: an attempt of all lanes of a block together, then of those rejected.

In float64, lanes come one after another.
"""

from ppl.kernels.config import jit
from ppl.kernels.cpu.draws.lanes import lane_column, lane_key
from ppl.kernels.scalar.f64 import von_mises as angles


@jit
def vonmises_row_f64(out, concentration, key, column, stream, n):
    """Write `n` angles to `out`; arguments as for `loggamma_row_f64`."""
    for i in range(n):
        out[i] = angles.vonmises_draw(concentration[i], lane_key(key, i), lane_column(column, i), stream)
