"""Draws by rejection for a run of columns under one key: first attempts together, the rejected lanes again one by one.

The first attempt has no branch, so that its loop vectorises; a few lanes in a hundred are rejected. What a lane gets is
what the scalar sampler gives it, a function of key, column and stream.
"""

import numpy as np

from ppl.kernels.config import jit
from ppl.kernels.cpu.vectors import prefer_wide
from ppl.kernels.scalar.f32 import gamma_draws as single
from ppl.kernels.scalar.f32 import poisson as single_counts
from ppl.kernels.scalar.f32.exponential import exp, expm1
from ppl.kernels.scalar.f64 import gamma_draws as double
from ppl.kernels.scalar.f64 import poisson as double_counts
from ppl.kernels.scalar.noise import attempt_words, fine_uniform_f32

f32, i64 = np.float32, np.int64
LANES = 512


@jit
def loggamma_row_f32(out, concentration, key, stream, n):
    """Write `n` logarithms of gamma draws, of columns 0 to n - 1, to `out`.

    Parameters
    ----------
    out, concentration : float32 vectors, at least `n` long.
    key : uint64
        Of the row and particle.
    stream : int
        Which of the gamma draws of an element.
    """
    prefer_wide()
    for start in range(0, n, LANES):
        count = min(LANES, n - start)
        lanes, a = out[start : start + count], concentration[start : start + count]
        for i in range(count):
            lanes[i] = single.loggamma_first(a[i], key, start + i, stream)
        for i in range(count):
            if np.isnan(lanes[i]):
                lanes[i] = single.loggamma_draw(a[i], key, start + i, stream)


@jit
def loggamma_row_f64(out, concentration, key, stream, n):
    """As `loggamma_row_f32`, lane by lane."""
    for i in range(n):
        out[i] = double.loggamma_draw(concentration[i], key, i, stream)


@jit
def _few(out, rate, key, stream, start, count):
    """Counts of rates below 10: all lanes go up together, until the last has reached its count."""
    mass, total, left = np.empty(LANES, f32), np.empty(LANES, f32), np.empty(LANES, f32)
    prefer_wide()
    for i in range(count):
        w0, w1, _, _ = attempt_words(key, start + i, stream, 0)
        t, more = fine_uniform_f32(w0, w1), -expm1(-rate[i])
        some = t < more
        left[i] = f32(1.0) - t / more if some else f32(0.0)
        mass[i] = rate[i] * exp(-rate[i]) / more if some else f32(1.0)
        total[i] = mass[i]
        out[i] = i64(1) if some else i64(0)
    for k in range(2, 201):
        inverse, going = f32(1.0) / f32(k), i64(0)
        for i in range(count):
            more = left[i] > total[i]
            out[i] += i64(1) if more else i64(0)
            going += i64(1) if more else i64(0)
            mass[i] *= rate[i] * inverse
            total[i] += mass[i] if more else f32(0.0)
        if going == 0:
            break


@jit
def _many(out, rate, key, stream, start, count):
    """Counts of rates from 10 on: an attempt of all lanes together, then of those rejected, until none is left."""
    waiting, shift = np.empty(LANES, i64), np.empty(LANES, f32)
    prefer_wide()
    for i in range(count):
        shift[i] = single_counts.poisson_shift(rate[i], key, start + i, stream, 0)
    for i in range(count):
        out[i] = single_counts.poisson_sum(rate[i], shift[i])
    left = i64(0)
    for i in range(count):
        waiting[left] = i
        left += i64(1) if np.isnan(shift[i]) else i64(0)
    for attempt in range(1, single_counts.ATTEMPTS):
        for j in range(left):
            i = waiting[j]
            shift[j] = single_counts.poisson_shift(rate[i], key, start + i, stream, attempt)
        again = i64(0)
        for j in range(left):
            i = waiting[j]
            out[i] = single_counts.poisson_sum(rate[i], shift[j])
            waiting[again] = i
            again += i64(1) if np.isnan(shift[j]) else i64(0)
        left = again
        if left == 0:
            break


@jit
def poisson_row_f32(out, rate, key, stream, n):
    """Write `n` Poisson counts, of columns 0 to n - 1, to the int64 vector `out`; arguments as for gamma draws."""
    for start in range(0, n, LANES):
        count = min(LANES, n - start)
        lanes, rates = out[start : start + count], rate[start : start + count]
        small = i64(0)
        for i in range(count):
            small += i64(1) if rates[i] < single_counts.FEW else i64(0)
        if small == count:
            _few(lanes, rates, key, stream, start, count)
        elif small == 0:
            _many(lanes, rates, key, stream, start, count)
        else:
            for i in range(count):
                lanes[i] = single_counts.poisson_draw(rates[i], key, start + i, stream)


@jit
def poisson_row_f64(out, rate, key, stream, n):
    """As `poisson_row_f32`, lane by lane."""
    for i in range(n):
        out[i] = double_counts.poisson_draw(rate[i], key, i, stream)
