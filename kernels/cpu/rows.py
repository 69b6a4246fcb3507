"""Noise, ids and keys of the rows of one tile: run-time support of emitted programs.

Rows of a batch carry global ids: either consecutive ones, from `first`, or those of an array `ids` (used if not empty,
from position `start`). Runs of consecutive ids are filled in one go.
"""

import numpy as np
from numba import types
from numba.extending import overload

from ppl.kernels.config import jit
from ppl.kernels.cpu.noise import FEW, fill_at_f32, fill_at_f64, fill_uniform_f32, fill_uniform_f64
from ppl.kernels.cpu.views import part
from ppl.kernels.scalar.noise import mix
from ppl.kernels.symbols import shared

u64, i64 = np.uint64, np.int64

_FILL = "void({}[::1],int64[::1],int64,int64,int64,int64,int64,uint64,int64,int64,int64)"


@jit
def _run_length(ids, start, stop):
    """Length of the run of consecutive ids that begins at `start`."""
    end = start + 1
    while end < stop and ids[end] == ids[end - 1] + 1:
        end += 1
    return end - start


@jit
def _elements(ids, start, n, base, per_row):
    """Global numbers of the elements of `n` rows."""
    elements = np.empty(n * per_row, np.uint64)
    for i in range(n):
        first = u64((base + ids[start + i]) * per_row)
        for j in range(per_row):
            elements[i * per_row + j] = first + u64(j)
    return elements


@shared(_FILL.format("float32"))
def fill_rows_f32(out, ids, start, first, n, base, per_row, key, time, step, purpose):
    """Uniforms of `n` rows of `per_row` elements each; row r has global number ``base + id(r)``."""
    if ids.shape[0] == 0:
        fill_uniform_f32(part(out, 0, n * per_row), (base + first) * per_row, key, time, step, purpose)
        return
    i = 0
    while i < n:
        run = _run_length(ids, start + i, start + n)
        first = i
        while i < n and run * per_row <= FEW:
            i += run
            run = _run_length(ids, start + i, start + n) if i < n else 0
        if i > first:
            elements = _elements(ids, start + first, i - first, base, per_row)
            fill_at_f32(part(out, first * per_row, (i - first) * per_row), elements, key, time, step, purpose)
        if run > 0:
            element = (base + ids[start + i]) * per_row
            fill_uniform_f32(part(out, i * per_row, run * per_row), element, key, time, step, purpose)
        i += run


@shared(_FILL.format("float64"))
def fill_rows_f64(out, ids, start, first, n, base, per_row, key, time, step, purpose):
    """As `fill_rows_f32`."""
    if ids.shape[0] == 0:
        fill_uniform_f64(part(out, 0, n * per_row), (base + first) * per_row, key, time, step, purpose)
        return
    i = 0
    while i < n:
        run = _run_length(ids, start + i, start + n)
        first = i
        while i < n and run * per_row <= FEW:
            i += run
            run = _run_length(ids, start + i, start + n) if i < n else 0
        if i > first:
            elements = _elements(ids, start + first, i - first, base, per_row)
            fill_at_f64(part(out, first * per_row, (i - first) * per_row), elements, key, time, step, purpose)
        if run > 0:
            element = (base + ids[start + i]) * per_row
            fill_uniform_f64(part(out, i * per_row, run * per_row), element, key, time, step, purpose)
        i += run


@jit
def fill_windows_f32(out, ids, start, first, n, base, pieces, size, total, offset, key, time, step, purpose):
    """Uniforms of a window of particles: of every piece of `total` elements, the `size` ones from `offset` on.

    A row has `pieces` pieces; piece p of row r begins at element ``((base + id(r)) * pieces + p) * total``.
    """
    if size == total:
        fill_rows_f32(out, ids, start, first, n, base, pieces * size, key, time, step, purpose)
        return
    for i in range(n):
        row = base + (first + i if ids.shape[0] == 0 else ids[start + i])
        for p in range(pieces):
            piece = part(out, (i * pieces + p) * size, size)
            fill_uniform_f32(piece, (row * pieces + p) * total + offset, key, time, step, purpose)


@jit
def fill_windows_f64(out, ids, start, first, n, base, pieces, size, total, offset, key, time, step, purpose):
    """As `fill_windows_f32`."""
    if size == total:
        fill_rows_f64(out, ids, start, first, n, base, pieces * size, key, time, step, purpose)
        return
    for i in range(n):
        row = base + (first + i if ids.shape[0] == 0 else ids[start + i])
        for p in range(pieces):
            piece = part(out, (i * pieces + p) * size, size)
            fill_uniform_f64(piece, (row * pieces + p) * total + offset, key, time, step, purpose)


@jit
def fill_columns_f32(out, first, n, particles, size, total, offset, key, time, step, purpose):
    """Uniforms of `n` pieces of `size` elements, from piece `first` of `total` on, of each of several particles.

    Particle k of the window that begins at `offset` has its pieces at element ``(offset + k) * total * size``; in
    `out` a piece has the particles one after another.
    """
    if particles == 1:
        fill_uniform_f32(out[: n * size], (offset * total + first) * size, key, time, step, purpose)
        return
    own = np.empty(n * size, out.dtype)
    for k in range(particles):
        fill_uniform_f32(own, ((offset + k) * total + first) * size, key, time, step, purpose)
        for i in range(n):
            for j in range(size):
                out[(i * particles + k) * size + j] = own[i * size + j]


@jit
def fill_columns_f64(out, first, n, particles, size, total, offset, key, time, step, purpose):
    """As `fill_columns_f32`."""
    if particles == 1:
        fill_uniform_f64(out[: n * size], (offset * total + first) * size, key, time, step, purpose)
        return
    own = np.empty(n * size, out.dtype)
    for k in range(particles):
        fill_uniform_f64(own, ((offset + k) * total + first) * size, key, time, step, purpose)
        for i in range(n):
            for j in range(size):
                out[(i * particles + k) * size + j] = own[i * size + j]


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
    """As `row_keys`, for a window of particles (see `fill_windows_f32`)."""
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
    """Write the sum over slabs of one accumulator to ``out[at:]``: part `part` of `parts` equal ones of its entries."""
    lo, hi = size * part // parts, size * (part + 1) // parts
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
