"""Views and clearing by all threads of a block, sums over slabs, and tests of addresses in the checked build.

The tests run in the simulator alone; devices have no code for them."""

from ppl.errors import MemoryCheckError
from ppl.kernels.cuda.compat import THREADS, cuda, device, inline_device
from ppl.kernels.cuda.teams import add, larger


@inline_device
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
def partition_start(rows, share, shares):
    """The first of the rows of a share."""
    return rows * share // shares


def _slab_reduction(merge):
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


add_slabs, max_slabs = _slab_reduction(add), _slab_reduction(larger)


@device
def merge_slabs(out, at, array, start, size, stride, slabs, j):
    """Write the sum over slabs of entry `j` of an accumulator to ``out[at + j]``."""
    if j < size:
        total = array[start + j]
        for s in range(1, slabs):
            total += array[start + s * stride + j]
        out[at + j] = total


@device
def inside(at, start, size, tag):
    """`at`, which must be one of the `size` entries from `start` on."""
    if at < start or at >= start + size:
        raise MemoryCheckError("an entry outside its buffer", tag)
    return at


@device
def part_of(array, at, count, start, size, tag):
    """The `count` entries of `array` from `at` on, which must lie in the `size` entries from `start` on."""
    if count > 0 and (at < start or at + count > start + size):
        raise MemoryCheckError("entries outside their buffer", tag)
    return array[at : at + max(count, 0)]


@device
def rest_of(array, at, start, size, tag):
    """The entries from `at` on, up to the end of the buffer of `size` entries from `start` on: none behind it."""
    if at < start:
        raise MemoryCheckError("entries outside their buffer", tag)
    end = start + size
    return array[min(at, end) : end]
