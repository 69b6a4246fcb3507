"""Count the entries of data arrays that lie in a range, in one vectorised pass, on all threads where arrays are
long."""

import numpy as np

from ppl.kernels.cpu.memory import prefer_full_width
from ppl.kernels.cpu.threads.pool import start
from ppl.kernels.cpu.threads.regions import on_threads
from ppl.kernels.cpu.threads.thread_count import num_threads
from ppl.kernels.decorators import jit
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


@jit
def _count_chunk(chunk, chunks, lane, counts, x, low, high):
    counts[chunk] = _count(x[chunk * CHECK_CHUNK : min(x.shape[0], (chunk + 1) * CHECK_CHUNK)], low, high)


@jit
def _count_in_chunks(counts, x, low, high, threads):
    """Write how many entries of each chunk lie in [low, high]."""
    on_threads(_count_chunk, (counts, x, low, high), counts.shape[0], threads)


def count_in_range(x, low, high):
    """How many entries of a flat array lie in [low, high], numbers of its type; NaN does not."""
    threads = 1 if x.shape[0] < CHECKED_BY_ALL else num_threads()
    if threads == 1:
        return _count(x, low, high)
    start(threads)
    counts = np.zeros(-(-x.shape[0] // CHECK_CHUNK), np.int64)
    _count_in_chunks(counts, x, low, high, threads)
    return counts.sum()
