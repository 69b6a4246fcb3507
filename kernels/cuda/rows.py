"""Noise, ids, products and sums inside CUDA kernels: what `ppl.kernels.cpu.draws` and `.products.blas` are on the CPU.

A first version: one thread does the work of one row, entry by entry.
"""

import numpy as np
from numba import cuda

from ppl.kernels.scalar.noise import mix, uniform_f32, uniform_f64

u64, i64, f32 = np.uint64, np.int64, np.float32


def device(fn):
    """A function that kernels call."""
    return cuda.jit(device=True)(fn)


@device
def prefer_full_width():
    """Nothing: vectors are a matter of the CPU."""


@device
def tail(array, start):
    """The flat `array` from entry `start` on."""
    return array[start:]


@device
def part(array, start, size):
    """The `size` entries of a flat array from `start` on."""
    return array[start : start + size]


@device
def clear(array, start, size):
    """Zeros for `size` entries of the flat `array` from `start` on."""
    for j in range(size):
        array[start + j] = 0


@device
def all_set(array, start, size):
    """Whether none of `size` entries from `start` on is 0."""
    for i in range(start, start + size):
        if array[i] == 0:
            return False
    return True


@device
def _row(ids, start, first, i):
    return ids[start + i] if ids.shape[0] > 0 else first + i


def _fills(uniform):
    """`fill_rows` and `fill_columns` of the uniforms of one precision."""

    @device
    def fill_rows(out, ids, start, first, n, base, per_row, key, time, step, purpose):
        for i in range(n):
            entry = (base + _row(ids, start, first, i)) * per_row
            for j in range(per_row):
                out[i * per_row + j] = uniform(entry + j, key, time, step, purpose)

    @device
    def fill_columns(out, first, n, particles, size, total, offset, key, time, step, purpose):
        for k in range(particles):
            entry = ((offset + k) * total + first) * size
            for i in range(n):
                for j in range(size):
                    out[(i * particles + k) * size + j] = uniform(entry + i * size + j, key, time, step, purpose)

    return fill_rows, fill_columns


fill_rows_f32, fill_columns_f32 = _fills(uniform_f32)
fill_rows_f64, fill_columns_f64 = _fills(uniform_f64)


@device
def row_ids(out, ids, start, first, n):
    """Global ids of `n` rows."""
    for i in range(n):
        out[i] = _row(ids, start, first, i)


@device
def row_keys(out, ids, start, first, n, base, per_row, key, step):
    """64-bit keys of `n` rows of `per_row` entries each, as int64."""
    for i in range(n):
        row = base + _row(ids, start, first, i)
        for k in range(per_row):
            out[i * per_row + k] = i64(mix(key, (u64(row * per_row + k) << u64(32)) + u64(step)))


@device
def mix_time(out, time):
    """Mix the time of a loop into keys."""
    for i in range(out.shape[0]):
        out[i] = i64(mix(u64(out[i]), u64(time)))


@device
def _product(ta, tb, m, n, k, a, lda, b, ldb, add, c, ldc):
    for i in range(m):
        for j in range(n):
            total = c[i * ldc + j] if add else c[i * ldc + j] - c[i * ldc + j]
            for q in range(k):
                total += a[q * lda + i if ta else i * lda + q] * b[j * ldb + q if tb else q * ldb + j]
            c[i * ldc + j] = total


@device
def gemm_f32(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """C = A B (beta = 0) or C += A B, by the thread that calls it."""
    if beta == 0:
        for i in range(m):
            for j in range(n):
                c[i * ldc + j] = 0
    _product(ta, tb, m, n, k, a, lda, b, ldb, True, c, ldc)


gemm_f64 = gemm_f32


@device
def cumulate(x, out, count, d):
    """As `ppl.kernels.cpu.products.solve.cumulate`, by the thread that calls it."""
    for q in range(count):
        total = x[q * d]
        out[q * d] = total
        for i in range(q * d + 1, (q + 1) * d):
            total += x[i]
            out[i] = total


@device
def solve_lower(tril, b, x, count, d, transposed):
    """As `ppl.kernels.cpu.products.solve.solve_lower`, by the thread that calls it."""
    for q in range(count):
        at = q * d
        for s in range(d):
            i = d - 1 - s if transposed == 1 else s
            total = b[at + i]
            for j in range(i + 1, d) if transposed == 1 else range(i):
                entry = j * d + i if transposed == 1 else i * d + j
                total -= tril[at * d + entry] * x[at + j]
            x[at + i] = total / tril[at * d + i * d + i]


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
