"""Von Mises draws for a run of lanes: an attempt of all lanes of a block together, then of those rejected.

In float64, lanes come one after another.
"""

from ppl.kernels.cpu.draws.lanes import both_forms, lane_column, lane_key, rejected, still_rejected
from ppl.kernels.cpu.memory.stack import stacked
from ppl.kernels.cpu.memory.vectors import prefer_full_width
from ppl.kernels.source.precision import SINGLE, i64, real
from ppl.kernels.source.scalar import von_mises as angles
from ppl.kernels.symbols import shared
from ppl.tuning import DRAW_LANES

_VECTOR = real.__name__ + "[::1]"


@shared(*both_forms(_VECTOR, _VECTOR))
def vonmises_row_real(out, concentration, key, column, stream, n):
    """Write `n` angles to `out`; arguments as for `loggamma_row_real`."""
    if SINGLE:
        prefer_full_width()
        waiting, found = stacked(DRAW_LANES, i64), stacked(DRAW_LANES, real)
        for start in range(0, n, DRAW_LANES):
            count = min(DRAW_LANES, n - start)
            lanes, kappa = out[start : start + count], concentration[start : start + count]
            for i in range(count):
                at, k = lane_column(column, start + i), lane_key(key, start + i)
                lanes[i] = angles.vonmises_attempt(kappa[i], k, at, stream, 0)
            left = rejected(waiting, lanes, count)
            for attempt in range(1, angles.ATTEMPTS):
                if left == 0:
                    break
                for j in range(left):
                    i = waiting[j]
                    at, k = lane_column(column, start + i), lane_key(key, start + i)
                    found[j] = angles.vonmises_attempt(kappa[i], k, at, stream, attempt)
                for j in range(left):
                    lanes[waiting[j]] = found[j]
                left = still_rejected(waiting, found, left)
            for i in range(count):
                lanes[i] = angles.vonmises_angle(lanes[i])
    else:
        for i in range(n):
            out[i] = angles.vonmises_draw(concentration[i], lane_key(key, i), lane_column(column, i), stream)
