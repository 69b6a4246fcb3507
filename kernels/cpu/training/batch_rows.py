"""Rows of training: shuffled order, gathered batches, and lists of additions to rows of tables.

The order is that of the rows' numbers in the SplitMix64 sequence of a key (Steele, Lea and Flood, 2014)."""

import numpy as np

from ppl.kernels.cpu.memory import prefer_full_width, to_read
from ppl.kernels.cpu.threads.slabs import slab_start
from ppl.kernels.decorators import inline, jit

u64, u32, i64, i32 = np.uint64, np.uint32, np.int64, np.int32


@inline
def _splitmix(key, i):
    """Number i of the sequence; numbers are distinct."""
    z = key + u64(i + 1) * u64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> u64(30))) * u64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> u64(27))) * u64(0x94D049BB133111EB)
    return z ^ (z >> u64(31))


@jit
def shuffled_rows(key, n):
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
        leading[i] = u32(_splitmix(key, i) >> u64(32))
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
        while j > 0 and (order[j - 1] > z or (order[j - 1] == z and _splitmix(key, rows[j - 1]) > _splitmix(key, row))):
            rows[j], order[j] = rows[j - 1], order[j - 1]
            j -= 1
        rows[j], order[j] = row, z
    return rows


ROW_HASH = np.uint64(0x9E3779B1)

LOW_BITS = np.uint64(0xFFFFFFFF)

HALF_BITS = np.uint64(32)


@inline
def owner_of_row(row, slabs):
    """The slab that adds up and updates a table row: a hash, so that frequent rows are shared out evenly."""
    return np.int64((((np.uint64(row) * ROW_HASH) & LOW_BITS) * np.uint64(slabs)) >> HALF_BITS)


@jit
def owned(index, mine, last, slab, slabs):
    """Put the numbers of those additions into `mine` that go to rows of `slab`, in order; returns how many they are.

    index : int64, the row of every addition; out of range means the nearest row, `last` at most.
    """
    count = 0
    for e in range(index.shape[0]):
        mine[count] = e
        count += 1 if owner_of_row(min(max(index[e], 0), last), slabs) == slab else 0
    return count


@jit
def link(index, base, head, following, touched, found, slab, slabs):
    """Put the additions to rows of `slab` in front of their rows' lists; returns the number of rows touched so far.

    Parameters
    ----------
    index : int64, the row of every addition; out of range means the nearest row.
    base : number of the first addition among those of all terms.
    head : int32, per row the first addition of its list, -1 for none.
    following : int32, per addition the next one in its list.
    touched, found : int32, the rows that have a list, and how many there are.
    """
    last = head.shape[0] - 1
    for e in range(index.shape[0] - 1, -1, -1):
        row = min(max(index[e], 0), last)
        if owner_of_row(row, slabs) == slab:
            if head[row] < 0:
                touched[found] = row
                found += 1
            following[base + e] = head[row]
            head[row] = base + e
    return found


@jit
def gather_rows(out, data, rows):
    """Rows of `data` one after the other, both flat; the next row is fetched while one is copied."""
    count = rows.shape[0]
    width, line = out.shape[0] // max(count, 1), 64 // out.itemsize
    if width == 1:
        for i in range(count):
            out[i] = data[max(rows[i], 0)]
        return
    for i in range(count):
        at = max(rows[i], 0) * width  # an index that may be negative would be wrapped around
        ahead = max(rows[min(i + 1, count - 1)], 0) * width
        target, source = out[i * width : i * width + width], data[at : at + width]
        for j in range(0, width, line):
            to_read(data, ahead + j)
        for j in range(width):
            target[j] = source[j]


@jit
def gather_share(out, data, rows, slab, slabs):
    """`gather_rows` of the rows that `slab` will read."""
    count = rows.shape[0]
    width = out.shape[0] // max(count, 1)
    lo, hi = slab_start(count, slab, slabs), slab_start(count, slab + 1, slabs)
    gather_rows(out[lo * width : hi * width], data, rows[lo:hi])
