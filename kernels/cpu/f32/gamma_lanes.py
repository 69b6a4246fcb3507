# Made from kernels/source/cpu/gamma_lanes.py by `python -m ppl.kernels.source`: change that file instead.
"""Gamma draws and their slopes for a run of lanes, in blocks in which all lanes do the same: their loops vectorise.

A draw's first attempt is made for all lanes of a block together, then the few rejected lanes are gathered and try again
together. What a lane gets is what the scalar function gives it, a function of key, column and stream.
In float64, lanes come one after another.
"""

import numpy as np

from ppl.kernels.cpu.draws.lanes import both_forms, chosen, lane_column, lane_key, rejected, still_rejected
from ppl.kernels.cpu.memory.stack import stacked
from ppl.kernels.cpu.memory.vectors import prefer_full_width
from ppl.kernels.scalar.f32 import gamma_draws as draws
from ppl.kernels.scalar.f32 import gamma_slope as slopes
from ppl.kernels.scalar.f32.basic import ONE, ZERO
from ppl.kernels.scalar.f32.exponential import exp
from ppl.kernels.symbols import shared
from ppl.tuning import DRAW_LANES

f32, i32, i64 = np.float32, np.int32, np.int64

_VECTOR = f32.__name__ + "[::1]"
_SLOPES = "void({0},{0},{0},int64)"


@shared(*both_forms(_VECTOR, _VECTOR))
def loggamma_row_f32(out, concentration, key, column, stream, n):
    """Write `n` logarithms of gamma draws to `out`.

    Parameters
    ----------
    out, concentration : float32 vectors, at least `n` long.
    key : uint64, or a vector
        Of the row and particle.
    column : int, or a vector
        Of the first lane, or of each.
    stream : int
        Which of the gamma draws of an entry.
    """
    prefer_full_width()
    waiting, found = stacked(DRAW_LANES, i64), stacked(DRAW_LANES, f32)
    for start in range(0, n, DRAW_LANES):
        count = min(DRAW_LANES, n - start)
        lanes, a = out[start : start + count], concentration[start : start + count]
        for i in range(count):
            at, k = lane_column(column, start + i), lane_key(key, start + i)
            lanes[i] = draws.loggamma_attempt(a[i], k, at, stream, 0)
        left = rejected(waiting, lanes, count)
        for attempt in range(1, draws.ATTEMPTS):
            if left == 0:
                break
            for j in range(left):
                i = waiting[j]
                at, k = lane_column(column, start + i), lane_key(key, start + i)
                found[j] = draws.loggamma_attempt(a[i], k, at, stream, attempt)
            for j in range(left):
                lanes[waiting[j]] = found[j]
            left = still_rejected(waiting, found, left)


@shared("void(float32[::1],float32[::1],float32[::1],int64)")
def _expansion(y, a, slope, count):
    """Slopes of `count` lanes by Temme's expansion."""
    prefer_full_width()
    for j in range(count):
        slope[j] = slopes.slope_expansion(y[j], a[j])


@shared("void(float32[::1],float32[::1],float32[::1],float32[::1],float32[::1],int64)")
def _series(x, y, a, total, slope, count):
    """Slopes of `count` lanes by the power series; `x` and `total` are scratch."""
    prefer_full_width()
    for j in range(count):
        x[j], total[j], slope[j] = exp(y[j]), ONE, ZERO
    for k in range(slopes.SERIES_TERMS - slopes.STRIDE + 1, 0, -slopes.STRIDE):
        term = f32(k)
        for j in range(count):
            total[j], slope[j] = slopes.series_terms(x[j], a[j], term, total[j], slope[j])
    for j in range(count):
        slope[j] = slopes.slope_of_series(y[j], a[j], total[j], slope[j])


@shared("void(float32[::1],float32[::1],float32[::1],float32[::1],float32[::1],int64)")
def _fraction(x, y, a, total, slope, count):
    """Slopes of `count` lanes by the continued fraction; `x` and `total` are scratch."""
    prefer_full_width()
    for j in range(count):
        x[j] = exp(y[j])
        total[j], slope[j] = slopes.fraction_start(x[j], a[j])
    for k in range(slopes.FRACTION_TERMS - slopes.STRIDE + 1, 0, -slopes.STRIDE):
        term = f32(k)
        for j in range(count):
            total[j], slope[j] = slopes.fraction_terms(x[j], a[j], term, total[j], slope[j])
    for j in range(count):
        slope[j] = slopes.slope_of_fraction(y[j], a[j], total[j], slope[j])


@shared(_SLOPES.format(_VECTOR))
def loggamma_slope_lanes_f32(out, y, concentration, n):
    """Write the slopes of `n` logarithms `y` of gamma variables to `out`: the lanes of one formula at a time."""
    prefer_full_width()
    kind, members = stacked(DRAW_LANES, i32), stacked(DRAW_LANES, i64)
    own_y, own_a, slope = stacked(DRAW_LANES, f32), stacked(DRAW_LANES, f32), stacked(DRAW_LANES, f32)
    x, total = stacked(DRAW_LANES, f32), stacked(DRAW_LANES, f32)
    for start in range(0, n, DRAW_LANES):
        count = min(DRAW_LANES, n - start)
        lanes, ys, a = out[start : start + count], y[start : start + count], concentration[start : start + count]
        for i in range(count):
            kind[i] = slopes.slope_regime(ys[i], a[i])
        for regime in range(3):
            found = chosen(members, kind, i32(regime), count)
            if found == 0:
                continue
            for j in range(found):
                own_y[j], own_a[j] = ys[members[j]], a[members[j]]
            if regime == slopes.EXPANSION:
                _expansion(own_y, own_a, slope, found)
            elif regime == slopes.SERIES:
                _series(x, own_y, own_a, total, slope, found)
            else:
                _fraction(x, own_y, own_a, total, slope, found)
            for j in range(found):
                lanes[members[j]] = slope[j]
