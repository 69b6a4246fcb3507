# Made from kernels/source/cpu/count_lanes.py by `python -m ppl.kernels.source`: change that file instead.
"""Poisson and binomial counts for a run of lanes, in blocks whose loops vectorise where all means are large.

Large means make an attempt of all lanes together, then of those rejected. Where some are small, lanes come one after
another: going up from 0 all together, until the last has reached its count, takes 3 to 9 times as long on AVX2. What a
lane gets is what the scalar sampler gives it. In float64, too, lanes come one after another.
"""

import numpy as np

from ppl.kernels.config import jit
from ppl.kernels.cpu.draws.lanes import both_forms, lane_column, lane_key, rejected, still_rejected
from ppl.kernels.cpu.memory.stack import stacked
from ppl.kernels.cpu.memory.vectors import prefer_full_width
from ppl.kernels.scalar.f32 import binomial, poisson
from ppl.kernels.scalar.f32.basic import maximum, minimum
from ppl.kernels.symbols import shared
from ppl.tuning import DRAW_LANES

f32, i64 = np.float32, np.int64

_VECTOR = f32.__name__ + "[::1]"


@jit
def _many(out, rate, key, column, stream, start, count):
    """Poisson counts of rates from 10 on."""
    waiting, shift = stacked(DRAW_LANES, i64), stacked(DRAW_LANES, f32)
    prefer_full_width()
    for i in range(count):
        at, k = lane_column(column, start + i), lane_key(key, start + i)
        shift[i] = poisson.poisson_shift(rate[i], k, at, stream, 0)
    for i in range(count):
        out[i] = poisson.poisson_sum(rate[i], shift[i])
    left = rejected(waiting, shift, count)
    for attempt in range(1, poisson.ATTEMPTS):
        if left == 0:
            break
        for j in range(left):
            i = waiting[j]
            at, k = lane_column(column, start + i), lane_key(key, start + i)
            shift[j] = poisson.poisson_shift(rate[i], k, at, stream, attempt)
        for j in range(left):
            out[waiting[j]] = poisson.poisson_sum(rate[waiting[j]], shift[j])
        left = still_rejected(waiting, shift, left)


@shared(*both_forms("int64[::1]", _VECTOR))
def poisson_row_f32(out, rate, key, column, stream, n):
    """Write `n` Poisson counts to the int64 vector `out`; arguments as for `loggamma_row_f32`."""
    for start in range(0, n, DRAW_LANES):
        count = min(DRAW_LANES, n - start)
        lanes, rates = out[start : start + count], rate[start : start + count]
        small = i64(0)
        for i in range(count):
            small += i64(1) if rates[i] < poisson.FEW else i64(0)
        if small == 0:
            _many(lanes, rates, key, column, stream, start, count)
        else:
            for i in range(count):
                at, k = lane_column(column, start + i), lane_key(key, start + i)
                lanes[i] = poisson.poisson_draw(rates[i], k, at, stream)


@jit
def _many_trials(out, total, p, q, key, column, stream, start, count):
    """Binomial counts of means from 10 on."""
    waiting, found, top = stacked(DRAW_LANES, i64), stacked(DRAW_LANES, f32), stacked(DRAW_LANES, f32)
    prefer_full_width()
    for i in range(count):
        top[i] = binomial.binomial_top(total[i], p[i], q[i])
    for i in range(count):
        at, k = lane_column(column, start + i), lane_key(key, start + i)
        found[i] = binomial.binomial_attempt(total[i], p[i], q[i], top[i], k, at, stream, 0)
    for i in range(count):
        out[i] = i64(found[i])
    left = rejected(waiting, found, count)
    for attempt in range(1, binomial.ATTEMPTS):
        if left == 0:
            break
        for j in range(left):
            i = waiting[j]
            at, k = lane_column(column, start + i), lane_key(key, start + i)
            found[j] = binomial.binomial_attempt(total[i], p[i], q[i], top[i], k, at, stream, attempt)
        for j in range(left):
            out[waiting[j]] = i64(found[j])
        left = still_rejected(waiting, found, left)


@shared(*both_forms("int64[::1]", _VECTOR, _VECTOR, _VECTOR))
def binomial_row_f32(out, total, one, zero, key, column, stream, n):
    """Write `n` binomial counts to the int64 vector `out`; arguments as for `loggamma_row_f32`."""
    p, q = stacked(DRAW_LANES, f32), stacked(DRAW_LANES, f32)
    prefer_full_width()
    for start in range(0, n, DRAW_LANES):
        count = min(DRAW_LANES, n - start)
        lanes, trials = out[start : start + count], total[start : start + count]
        ones, zeros = one[start : start + count], zero[start : start + count]
        small = i64(0)
        for i in range(count):
            p[i], q[i] = minimum(ones[i], zeros[i]), maximum(ones[i], zeros[i])
            small += i64(1) if trials[i] * p[i] < binomial.FEW else i64(0)
        if small == 0:
            _many_trials(lanes, trials, p, q, key, column, stream, start, count)
            for i in range(count):
                lanes[i] = i64(trials[i]) - lanes[i] if ones[i] > zeros[i] else lanes[i]
        else:
            for i in range(count):
                at, k = lane_column(column, start + i), lane_key(key, start + i)
                lanes[i] = binomial.binomial_draw(trials[i], ones[i], zeros[i], k, at, stream)
