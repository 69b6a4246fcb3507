"""Sums and largest numbers over teams: runs of neighbouring threads of a block, a power of two of them.

All threads of a block call these functions together, and all of a team get its result. Within a warp numbers are
exchanged by shuffles; the simulator has none, and larger teams span warps: they exchange in shared memory, of which a
launch is given `SHARED` bytes. The order of additions follows from the team's width alone."""

import numba

from ppl.kernels.cuda.compat import SIMULATED, THREADS, WARP, cuda, device, f32, f64

ALL_THREADS = 0xFFFFFFFF

SHARED = 16 * THREADS
"""Bytes of shared memory that a launch needs: two numbers a thread."""


@device
def add(a, b):
    """The sum."""
    return a + b


@device
def larger(a, b):
    """The larger whole number."""
    return max(a, b)


def _in_shared_memory(merge, kind):
    """`merge` over a team of any width, in shared memory."""

    @device
    def exchanged(x, width):
        held = cuda.shared.array(0, kind)
        tid = cuda.threadIdx.x
        held[tid] = x
        cuda.syncthreads()
        step = width // 2
        while step > 0:
            other = held[tid ^ step]
            cuda.syncthreads()
            x = merge(x, other)
            held[tid] = x
            cuda.syncthreads()
            step //= 2
        return x

    return exchanged


def _team_reduction(merge, kind):
    """`merge` over a team."""
    exchanged = _in_shared_memory(merge, kind)
    if SIMULATED:
        return exchanged

    @device
    def merged(x, width):
        x = kind(x)
        if width <= WARP:
            step = width // 2
            while step > 0:
                x = merge(x, cuda.shfl_xor_sync(ALL_THREADS, x, step))
                step //= 2
            return x
        return exchanged(x, width)

    return merged


def _team_argmax(kind):
    """The index of the largest number of a team, the first of several, and the number."""

    @device
    def argmax(index, best, width):
        numbers = cuda.shared.array(0, kind)
        places = cuda.shared.array(0, numba.int64)
        tid = cuda.threadIdx.x
        numbers[tid] = best
        places[THREADS + tid] = index
        cuda.syncthreads()
        first = tid - tid % width
        for i in range(first, first + width):
            if numbers[i] > best or (numbers[i] == best and places[THREADS + i] < index):
                best = numbers[i]
                index = places[THREADS + i]
        cuda.syncthreads()
        return index, best

    return argmax


sum_float32, sum_float64 = _team_reduction(add, numba.float32), _team_reduction(add, numba.float64)

sum_int64 = _team_reduction(add, numba.int64)

amax_float32, amax_float64 = _team_reduction(f32.maximum, numba.float32), _team_reduction(f64.maximum, numba.float64)

amax_int64 = _team_reduction(larger, numba.int64)

argmax_float32, argmax_float64 = _team_argmax(numba.float32), _team_argmax(numba.float64)

argmax_int64 = _team_argmax(numba.int64)


@device
def team_together(width):
    """Wait for all threads of the team, and see what they have written."""
    if SIMULATED or width > WARP:
        cuda.syncthreads()
    else:
        cuda.syncwarp()
