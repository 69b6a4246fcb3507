"""Ids and keys of the rows of one tile.

Rows of a batch carry global ids: either consecutive ones, from `first`, or those of an array `ids` (used if not empty,
from position `start`). Their noise is in `ppl.kernels.cpu.f32.rows` and `f64`.
"""

import numpy as np

from ppl.kernels.config import jit
from ppl.kernels.scalar.noise import mix

u64, i64 = np.uint64, np.int64


@jit
def row_ids(out, ids, start, first, n):
    """Global ids of `n` rows."""
    for i in range(n):
        out[i] = first + i if ids.shape[0] == 0 else ids[start + i]


@jit
def row_keys(out, ids, start, first, n, base, per_row, key, step):
    """64-bit keys of `n` rows of `per_row` entries each, as int64."""
    for i in range(n):
        row = base + (first + i if ids.shape[0] == 0 else ids[start + i])
        for k in range(per_row):
            entry = u64(row * per_row + k)
            out[i * per_row + k] = i64(mix(key, (entry << u64(32)) + u64(step)))


@jit
def window_keys(out, ids, start, first, n, base, pieces, size, total, offset, key, step):
    """As `row_keys`, for a window of particles (see `ppl.kernels.cpu.f32.rows.fill_windows_f32`)."""
    for i in range(n):
        row = base + (first + i if ids.shape[0] == 0 else ids[start + i])
        for p in range(pieces):
            for k in range(size):
                entry = u64((row * pieces + p) * total + offset + k)
                out[(i * pieces + p) * size + k] = i64(mix(key, (entry << u64(32)) + u64(step)))


@jit
def mix_time(out, time):
    """Mix the time of a loop into keys."""
    for i in range(out.shape[0]):
        out[i] = i64(mix(u64(out[i]), u64(time)))
