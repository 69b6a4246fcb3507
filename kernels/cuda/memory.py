"""Views and clearing, by all threads of a block, and sums over slabs, by one thread an entry."""

from ppl.kernels.cuda.compat import THREADS, cuda, device, inlined
from ppl.kernels.cuda.teams import add, larger


@inlined
def tail(array, start):
    """The flat `array` from entry `start` on."""
    return array[start:]


@device
def prefer_full_width():
    """Nothing: vectors are a matter of the CPU."""


@device
def fill(array, start, size, value):
    """`value` for `size` entries of the flat `array` from `start` on."""
    for j in range(cuda.threadIdx.x, size, THREADS):
        array[start + j] = value


@device
def clear(array, start, size):
    """Zeros for `size` entries of the flat `array` from `start` on."""
    fill(array, start, size, 0)


@device
def all_set(array, start, size):
    """Whether none of `size` entries from `start` on is 0; nobody changes them before all threads know."""
    found = True
    for i in range(start, start + size):
        if array[i] == 0:
            found = False
            break
    cuda.syncthreads()
    return found


@device
def share_start(rows, share, shares):
    """The first of the rows of a share."""
    return rows * share // shares


def _totals(merge):
    """Entries of the accumulators of all slabs, merged into those of slab 0 by all threads of a block.

    Threads share entries, and slabs where there are fewer entries; the order follows from the sizes alone.
    """

    @device
    def totals(array, start, size, stride, slabs):
        lanes = THREADS
        while lanes > 1 and lanes * size > THREADS:
            lanes //= 2
        team = cuda.threadIdx.x // lanes
        lane = cuda.threadIdx.x - team * lanes
        for first in range(0, size, THREADS // lanes):
            j = min(first + team, size - 1)
            total = array[start + min(lane, slabs - 1) * stride + j]
            for s in range(lane + lanes, slabs, lanes):
                total = merge(total, array[start + s * stride + j])
            cuda.syncthreads()
            step = lanes // 2
            while step > 0:
                if lane < min(lanes, slabs) and first + team < size:
                    array[start + lane * stride + j] = total
                cuda.syncthreads()
                if lane + step < min(lanes, slabs) and lane < step:
                    total = merge(total, array[start + (lane + step) * stride + j])
                cuda.syncthreads()
                step //= 2
            if lane == 0 and first + team < size:
                array[start + j] = total
        cuda.syncthreads()

    return totals


add_slabs, max_slabs = _totals(add), _totals(larger)


@device
def merge_slabs(out, at, array, start, size, stride, slabs, j):
    """Write the sum over slabs of entry `j` of an accumulator to ``out[at + j]``."""
    if j < size:
        total = array[start + j]
        for s in range(1, slabs):
            total += array[start + s * stride + j]
        out[at + j] = total
