"""Products whose first operand may be mostly zeros (bits, bags of words, binary units): zeros cost nothing.

`data_gemm_f32` and `data_gemm_f64` take the arguments of `blas.gemm_*`. They count its non-zeros and, where
at most one entry in `SPARSE` is one, add up the rows of the second operand that they select, four at a time, instead of
calling BLAS. The count decides, so equal data always takes the same path and gives the same bits.
"""

import numpy as np

from ppl.kernels.config import jit
from ppl.kernels.cpu.blas import gemm_f32, gemm_f64

SPARSE = 4
"""Entries per non-zero from which skipping zeros is faster than BLAS."""


@jit
def _is_sparse(a, rows, columns, lda):
    """Whether at most one entry in `SPARSE` is not zero."""
    count = 0
    for r in range(rows):
        row = a[r * lda : r * lda + columns]
        for j in range(columns):
            count += row[j] != 0
        if SPARSE * count > rows * columns:
            return False
    return True


@jit
def _add_rows(out, index, weight, count, b, ldb):
    """out += the rows `index[:count]` of b times `weight[:count]`."""
    n = out.shape[0]
    whole = count - count % 4
    for q in range(0, whole, 4):
        b0 = b[index[q] * ldb : index[q] * ldb + n]
        b1 = b[index[q + 1] * ldb : index[q + 1] * ldb + n]
        b2 = b[index[q + 2] * ldb : index[q + 2] * ldb + n]
        b3 = b[index[q + 3] * ldb : index[q + 3] * ldb + n]
        w0, w1, w2, w3 = weight[q], weight[q + 1], weight[q + 2], weight[q + 3]
        for i in range(n):
            out[i] += w0 * b0[i] + w1 * b1[i] + w2 * b2[i] + w3 * b3[i]
    for q in range(whole, count):
        b0, w0 = b[index[q] * ldb : index[q] * ldb + n], weight[q]
        for i in range(n):
            out[i] += w0 * b0[i]


@jit
def _sparse(m, n, k, a, step_row, step_inner, b, ldb, beta, c, ldc):
    """c = a b + beta c row by row; entry (i, l) of a lies at i step_row + l step_inner."""
    index = np.empty(k + 1, np.int64)
    weight = np.empty(k + 1, a.dtype)
    for i in range(m):
        count = 0
        for l in range(k):  # noqa: E741
            x = a[i * step_row + l * step_inner]
            index[count] = l
            weight[count] = x
            count += x != 0
        out = c[i * ldc : i * ldc + n]
        if beta == 0:
            out[:] = 0
        _add_rows(out, index, weight, count, b, ldb)


@jit
def data_gemm_f32(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """`blas.gemm_f32` for data `a` that may be sparse; alpha must be 1 and beta 0 or 1."""
    rows, columns = (k, m) if ta else (m, k)
    if tb or not _is_sparse(a, rows, columns, lda):
        gemm_f32(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
    else:
        _sparse(m, n, k, a, 1 if ta else lda, lda if ta else 1, b, ldb, beta, c, ldc)


@jit
def data_gemm_f64(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """`blas.gemm_f64` for data `a` that may be sparse; alpha must be 1 and beta 0 or 1."""
    rows, columns = (k, m) if ta else (m, k)
    if tb or not _is_sparse(a, rows, columns, lda):
        gemm_f64(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
    else:
        _sparse(m, n, k, a, 1 if ta else lda, lda if ta else 1, b, ldb, beta, c, ldc)
