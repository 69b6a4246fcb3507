"""Ids of the rows of a tile: what the noise of either precision needs of them."""

import numpy as np

from ppl.kernels.config import jit

u64 = np.uint64


@jit
def run_length(ids, start, stop):
    """Length of the run of consecutive ids that begins at `start`."""
    end = start + 1
    while end < stop and ids[end] == ids[end - 1] + 1:
        end += 1
    return end - start


@jit
def entries(out, ids, start, n, base, per_row):
    """Write the global numbers of the entries of `n` rows to `out`."""
    for i in range(n):
        first = u64((base + ids[start + i]) * per_row)
        for j in range(per_row):
            out[i * per_row + j] = first + u64(j)
