"""The order of rows in an epoch: rows sorted by the SplitMix64 sequence of a key (Steele, Lea and Flood, 2014)."""

import numpy as np

from ppl.kernels.config import inline, jit
from ppl.kernels.cpu.memory.vectors import prefer_full_width

u64, u32, i64, i32 = np.uint64, np.uint32, np.int64, np.int32


@inline
def _number(key, i):
    """Number i of the sequence; numbers are distinct."""
    z = key + u64(i + 1) * u64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> u64(30))) * u64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> u64(27))) * u64(0x94D049BB133111EB)
    return z ^ (z >> u64(31))


@jit
def shuffled(key, n):
    """The rows 0 … n-1 in the order of their numbers, int64.

    Rows go to as many buckets as there are rows, by the leading bits of their numbers, and with them the leading 32
    bits; those that share a bucket are then put in order, by all bits where 32 do not decide.
    """
    prefer_full_width()
    bits = 1
    while (1 << bits) < n:
        bits += 1
    shift, leading = u32(32 - bits), np.empty(n, np.uint32)
    for i in range(n):
        leading[i] = u32(_number(key, i) >> u64(32))
    ends = np.zeros(1 << bits, np.int32)
    for i in range(n):
        ends[i64(leading[i] >> shift)] += i32(1)
    start = 0
    for b in range(ends.shape[0]):
        size = ends[b]
        ends[b] = start
        start += size
    rows, order = np.empty(n, np.int64), np.empty(n, np.uint32)
    for i in range(n):
        b = i64(leading[i] >> shift)
        at = i64(ends[b])
        rows[at], order[at] = i, leading[i]
        ends[b] = at + 1
    for k in range(1, n):
        z, row, j = order[k], rows[k], k
        if order[k - 1] < z:
            continue
        while j > 0 and (order[j - 1] > z or (order[j - 1] == z and _number(key, rows[j - 1]) > _number(key, row))):
            rows[j], order[j] = rows[j - 1], order[j - 1]
            j -= 1
        rows[j], order[j] = row, z
    return rows
