"""Tests of addresses in the checked build, in the simulator; devices have no code for them."""

from ppl.errors import MemoryCheckError
from ppl.kernels.cuda.compat import device


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
