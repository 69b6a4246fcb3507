"""The order of rows in an epoch: rows sorted by the SplitMix64 sequence of a key (Steele, Lea and Flood, 2014)."""

import numpy as np

from ppl.kernels.config import inline, jit
from ppl.kernels.cpu.vectors import prefer_wide

u64, i64, i32 = np.uint64, np.int64, np.int32


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

    Rows go to as many buckets as there are rows, by the leading bits of their numbers; those that share one are then
    put in order.
    """
    prefer_wide()
    bits = 1
    while (1 << bits) < n:
        bits += 1
    numbers, bucket = np.empty(n, np.uint64), np.empty(n, np.int32)
    for i in range(n):
        z = _number(key, i)
        numbers[i] = z
        bucket[i] = i32(z >> u64(64 - bits))
    ends = np.zeros(1 << bits, np.int32)
    for i in range(n):
        ends[bucket[i]] += i32(1)
    start = 0
    for b in range(ends.shape[0]):
        size = ends[b]
        ends[b] = start
        start += size
    rows = np.empty(n, np.int64)
    for i in range(n):
        rows[ends[bucket[i]]] = i
        ends[bucket[i]] += i32(1)
    for k in range(1, n):
        row = rows[k]
        j = k
        while j > 0 and numbers[rows[j - 1]] > numbers[row]:
            rows[j] = rows[j - 1]
            j -= 1
        rows[j] = row
    return rows
