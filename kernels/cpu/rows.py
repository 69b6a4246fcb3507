"""Ids and keys of the rows of one tile, and what slabs of rows add up: run-time support of emitted programs.

Rows of a batch carry global ids: either consecutive ones, from `first`, or those of an array `ids` (used if not empty,
from position `start`). Their noise is in `ppl.kernels.cpu.f32.rows` and `f64`.
"""

import numpy as np
from numba import types
from numba.extending import overload

from ppl.kernels.config import jit
from ppl.kernels.scalar.noise import mix

u64, i64 = np.uint64, np.int64


@jit
def row_ids(out, ids, start, first, n):
    """Global ids of `n` rows."""
    for i in range(n):
        out[i] = first + i if ids.shape[0] == 0 else ids[start + i]


@jit
def row_keys(out, ids, start, first, n, base, per_row, key, step):
    """64-bit keys of `n` rows of `per_row` elements each, as int64."""
    for i in range(n):
        row = base + (first + i if ids.shape[0] == 0 else ids[start + i])
        for k in range(per_row):
            element = u64(row * per_row + k)
            out[i * per_row + k] = i64(mix(key, (element << u64(32)) + u64(step)))


@jit
def window_keys(out, ids, start, first, n, base, pieces, size, total, offset, key, step):
    """As `row_keys`, for a window of particles (see `ppl.kernels.cpu.f32.rows.fill_windows_f32`)."""
    for i in range(n):
        row = base + (first + i if ids.shape[0] == 0 else ids[start + i])
        for p in range(pieces):
            for k in range(size):
                element = u64((row * pieces + p) * total + offset + k)
                out[(i * pieces + p) * size + k] = i64(mix(key, (element << u64(32)) + u64(step)))


@jit
def mix_time(out, time):
    """Mix the time of a loop into keys."""
    for i in range(out.shape[0]):
        out[i] = i64(mix(u64(out[i]), u64(time)))


@jit
def slab_start(rows, slab, slabs):
    """The first row of a slab: even shares, moved by up to a twentieth to where a block of 256 uniforms begins."""
    even = rows * slab // slabs
    block = (even + 128) // 256 * 256
    return block if abs(block - even) * slabs * 20 <= rows and slab < slabs else even


@jit
def share_start(size, part, parts):
    """The first of `size` things that belongs to a part: even shares, in multiples of four."""
    return size if part == parts else size * part // parts // 4 * 4


@jit
def add_slabs(array, start, size, stride, slabs):
    """Add the accumulators of slabs 1, 2, ... to those of slab 0, in this order."""
    total = array[start : start + size]
    for s in range(1, slabs):
        more = array[start + s * stride : start + s * stride + size]
        for j in range(size):
            total[j] += more[j]


@jit
def max_slabs(array, start, size, stride, slabs):
    """Maximum over slabs, into slab 0."""
    for s in range(1, slabs):
        for j in range(size):
            array[start + j] = max(array[start + j], array[start + s * stride + j])


@jit
def merge_slabs(out, at, array, start, size, stride, slabs, part, parts):
    """Write the sum over slabs of one accumulator to ``out[at:]``: the share of `part` of its entries."""
    lo, hi = share_start(size, part, parts), share_start(size, part + 1, parts)
    target = out[at + lo : at + hi]
    first = array[start + lo : start + hi]
    if slabs == 1:
        for j in range(hi - lo):  # a slice assignment would bring in the text of its error message
            target[j] = first[j]
        return
    second = array[start + stride + lo : start + stride + hi]
    for j in range(hi - lo):
        target[j] = first[j] + second[j]
    for s in range(2, slabs):
        more = array[start + s * stride + lo : start + s * stride + hi]
        for j in range(hi - lo):
            target[j] += more[j]


def only(result):
    """The single gradient that a user's function returned, as it is or as a tuple of one."""
    return result[0] if isinstance(result, tuple) else result


@overload(only, target="generic")
def _only(result):
    if isinstance(result, types.BaseTuple):
        return lambda result: result[0]
    return lambda result: result
