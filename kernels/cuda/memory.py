"""Views and clearing, by all threads of a block, and sums over slabs, by one thread an entry."""

from ppl.kernels.cuda.compat import THREADS, cuda, device, inlined


@inlined
def tail(array, start):
    """The flat `array` from entry `start` on."""
    return array[start:]


@inlined
def part(array, start, size):
    """The `size` entries of a flat array from `start` on."""
    return array[start : start + size]


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


@device
def add_slabs(array, start, size, stride, slabs, j):
    """Add entry `j` of the accumulators of slabs 1, 2, ... to that of slab 0."""
    if j < size:
        total = array[start + j]
        for s in range(1, slabs):
            total += array[start + s * stride + j]
        array[start + j] = total


@device
def max_slabs(array, start, size, stride, slabs, j):
    """Maximum of entry `j` over slabs, into slab 0."""
    if j < size:
        for s in range(1, slabs):
            array[start + j] = max(array[start + j], array[start + s * stride + j])


@device
def merge_slabs(out, at, array, start, size, stride, slabs, j):
    """Write the sum over slabs of entry `j` of an accumulator to ``out[at + j]``."""
    if j < size:
        total = array[start + j]
        for s in range(1, slabs):
            total += array[start + s * stride + j]
        out[at + j] = total
