"""Uniforms, ids and keys of rows, by all threads of a block; entries and bits are those of `ppl.kernels.cpu`."""

import numpy as np

from ppl.kernels.cuda.compat import THREADS, cuda, device, signed
from ppl.kernels.cuda.scalar import mix, uniform_f32, uniform_f64

u64 = np.uint64


@device
def numbered(ids, start, first, i):
    """The global id of row `i` behind row `start`, which has number `first` where rows are consecutive."""
    return ids[start + i] if ids.shape[0] > 0 else first + i


def _fills(uniform):
    """`fill_rows` and `fill_columns` of the uniforms of one precision."""

    @device
    def fill_rows(out, ids, start, first, n, base, per_row, key, time, step, purpose):
        for e in range(cuda.threadIdx.x, n * per_row, THREADS):
            i = e // per_row
            entry = (base + numbered(ids, start, first, i)) * per_row + e - i * per_row
            out[e] = uniform(entry, key, time, step, purpose)

    @device
    def fill_columns(out, first, n, particles, size, total, offset, key, time, step, purpose):
        for e in range(cuda.threadIdx.x, n * particles * size, THREADS):
            piece = e // size
            i = piece // particles
            k = piece - i * particles
            entry = ((offset + k) * total + first + i) * size + e - piece * size
            out[e] = uniform(entry, key, time, step, purpose)

    return fill_rows, fill_columns


fill_rows_f32, fill_columns_f32 = _fills(uniform_f32)
fill_rows_f64, fill_columns_f64 = _fills(uniform_f64)


@device
def row_ids(out, ids, start, first, n):
    """Global ids of `n` rows."""
    for i in range(cuda.threadIdx.x, n, THREADS):
        out[i] = numbered(ids, start, first, i)


@device
def row_keys(out, ids, start, first, n, base, per_row, key, step):
    """64-bit keys of `n` rows of `per_row` entries each, as int64."""
    for e in range(cuda.threadIdx.x, n * per_row, THREADS):
        i = e // per_row
        entry = (base + numbered(ids, start, first, i)) * per_row + e - i * per_row
        out[e] = signed(mix(key, (u64(entry) << u64(32)) + u64(step)))


@device
def mix_time(out, time):
    """Mix the time of a loop into keys."""
    for i in range(cuda.threadIdx.x, out.shape[0], THREADS):
        out[i] = signed(mix(u64(out[i]), u64(time)))
