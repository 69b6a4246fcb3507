"""Rows of tables that a step touches: lists of the additions to every row, and batches gathered by row number."""

import numpy as np

from ppl.kernels.config import inline, jit
from ppl.kernels.cpu.memory.prefetch import to_read
from ppl.kernels.cpu.parallel.slabs import slab_start

HASH = np.uint64(0x9E3779B1)
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


@inline
def owner(row, slabs):
    """The slab that adds up and updates a table row: a hash, so that frequent rows are shared out evenly."""
    return np.int64((((np.uint64(row) * HASH) & LOW) * np.uint64(slabs)) >> HALF)


@jit
def owned(index, mine, last, slab, slabs):
    """Put the numbers of those additions into `mine` that go to rows of `slab`, in order; returns how many they are.

    index : int64, the row of every addition; out of range means the nearest row, `last` at most.
    """
    count = 0
    for e in range(index.shape[0]):
        mine[count] = e
        count += 1 if owner(min(max(index[e], 0), last), slabs) == slab else 0
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
        if owner(row, slabs) == slab:
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
