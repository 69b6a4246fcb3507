"""Products: of a block's rows, by all its threads; of all rows, by a block for each tile of the result.

Running sums are added up by one thread each.
"""

import numba

from ppl.kernels.cpu.products.running import cumulate as _cumulate
from ppl.kernels.cuda.compat import THREADS, TILE, cuda, device

ABREAST = THREADS // TILE
"""Rows of a tile that the threads of a block take at once."""
EACH = TILE // ABREAST
"""Entries of a tile that a thread computes, one below the other."""
TILES = 2 * TILE * TILE * 8
"""Bytes of shared memory that a launch of a product needs: a tile of either operand."""


def tiles(m, n):
    """Blocks, threads and shared memory of a product with `m` rows and `n` columns."""
    return max(1, -(-m // TILE) * -(-n // TILE)), THREADS, TILES


@device
def gemm_f32(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """C = A B (beta = 0) or C += A B; A and B may be transposed."""
    for e in range(cuda.threadIdx.x, m * n, THREADS):
        i = e // n
        j = e - i * n
        total = alpha - alpha
        for q in range(k):
            total += a[q * lda + i if ta else i * lda + q] * b[j * ldb + q if tb else q * ldb + j]
        c[i * ldc + j] = total if beta == 0 else c[i * ldc + j] + total


gemm_f64 = gemm_f32


def _product(kind):
    """The product of all rows; the terms of an entry are added up in their order."""

    @device
    def product(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        held = cuda.shared.array(0, kind)
        tid, across = cuda.threadIdx.x, (n + TILE - 1) // TILE
        row0 = cuda.blockIdx.x // across * TILE
        column0 = cuda.blockIdx.x % across * TILE
        x, y = tid % TILE, tid // TILE
        totals = cuda.local.array(EACH, kind)
        for s in range(EACH):
            totals[s] = kind(0)
        for q0 in range(0, k, TILE):
            for s in range(EACH):
                i = y + s * ABREAST
                # neighbouring threads read neighbouring entries, whichever operand is transposed
                r, q = (row0 + x, q0 + i) if ta else (row0 + i, q0 + x)
                inside = r < m and q < k
                at = x * TILE + i if ta else i * TILE + x
                held[at] = (a[q * lda + r] if ta else a[r * lda + q]) if inside else kind(0)
                q, j = (q0 + x, column0 + i) if tb else (q0 + i, column0 + x)
                inside = q < k and j < n
                at = x * TILE + i if tb else i * TILE + x
                held[TILE * TILE + at] = (b[j * ldb + q] if tb else b[q * ldb + j]) if inside else kind(0)
            cuda.syncthreads()
            for q in range(TILE):
                right = held[TILE * TILE + q * TILE + x]
                for s in range(EACH):
                    totals[s] += held[(y + s * ABREAST) * TILE + q] * right
            cuda.syncthreads()
        for s in range(EACH):
            i, j = row0 + y + s * ABREAST, column0 + x
            if i < m and j < n:
                c[i * ldc + j] = totals[s] if beta == 0 else c[i * ldc + j] + totals[s]

    return product


product_f32, product_f64 = _product(numba.float32), _product(numba.float64)


cumulate = device(_cumulate.py_func)
