"""Checks of data arrays in one vectorised pass, on all threads where arrays are long."""

import numpy as np
from numba import prange

from ppl.kernels.config import jit, parallel
from ppl.kernels.cpu.memory.vectors import prefer_full_width
from ppl.kernels.cpu.parallel.threads import num_threads, parallel_region
from ppl.tuning import CHECK_CHUNK, CHECKED_BY_ALL

i32 = np.int32


@jit
def _count(x, low, high):
    """How many entries of at most 2**31 lie in [low, high]."""
    prefer_full_width()
    count = i32(0)
    for i in range(x.shape[0]):
        count = i32(count + (i32(1) if (x[i] >= low) & (x[i] <= high) else i32(0)))
    return count


@parallel
def _count_in_chunks(x, low, high):
    total = 0
    for c in prange((x.shape[0] + CHECK_CHUNK - 1) // CHECK_CHUNK):
        total += _count(x[c * CHECK_CHUNK : min(x.shape[0], (c + 1) * CHECK_CHUNK)], low, high)
    return total


def count_inside(x, low, high):
    """How many entries of a flat array lie in [low, high], numbers of its type; NaN does not."""
    if x.shape[0] < CHECKED_BY_ALL or num_threads() == 1:
        return _count(x, low, high)
    with parallel_region():
        return _count_in_chunks(x, low, high)
