"""Matrix products of our own, for the shapes that a slab of rows has.

A BLAS copies its operands to packed panels first, which pays when they are used often. With the 25 to 200 rows of a
slab they are not, so the tiles here (`tiles.py`) read them where they lie.
"""

import numpy as np

from ppl.kernels.config import jit
from ppl.kernels.cpu.products.tiles import DOT_ROWS, LANES, ROWS, VECTORS, dot_tile, outer_tile
from ppl.kernels.symbols import shared
from ppl.tuning import DOT_COLUMNS, DOT_TERMS, NARROW_ROWS, PRODUCT_DEPTH, REREAD_ENTRIES, STREAMED_ENTRIES

_SIZES, _OPERANDS = "int64,int64,int64", "float32,float32[::1],int64,float32[::1],int64,float32,float32[::1],int64"


@shared(f"void(boolean,boolean,{_SIZES},{_OPERANDS})")
def _outer(ta, by_rows, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """C = alpha op(A) B + beta C, B not transposed, tile after tile `by_rows` of C or down its columns."""
    row_step, inner_step = (1, lda) if ta else (lda, 1)
    parts, vectors = (m + ROWS - 1) // ROWS, (n + LANES - 1) // LANES
    strips = (vectors + VECTORS - 1) // VECTORS
    tall, narrow = m - parts * (ROWS - 1), strips * VECTORS - vectors
    period = strips if by_rows else parts
    for l in range(0, k, PRODUCT_DEPTH):  # noqa: E741
        depth, old = (PRODUCT_DEPTH if k - l > PRODUCT_DEPTH else k - l), (np.float32(1) if l else beta)
        for tile in range(parts * strips):
            slow, fast = tile // period, tile % period
            part, strip = (slow, fast) if by_rows else (fast, slow)
            i = part * ROWS - (part - tall if part > tall else 0)
            j = (strip * VECTORS - (strip if strip < narrow else narrow)) * LANES
            # The last strip may be cut, so that it is a wide one where there is one: it has room for that.
            last, end = (VECTORS - 1 - (strip < narrow)) * LANES, n - j - LANES
            left, right = i * row_step + l * inner_step, l * ldb + j
            outer_tile(part < tall, strip >= narrow, a, left, row_step, inner_step, b, right, ldb, depth, alpha,
                       old, c, i * ldc + j, ldc, end if end < last else last)  # fmt: skip


@shared(f"void({_SIZES},{_OPERANDS})")
def _dots(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """C = alpha A B' + beta C."""
    parts = (m + DOT_ROWS - 1) // DOT_ROWS
    tall = m - parts * (DOT_ROWS - 1)
    for start in range(0, n, DOT_COLUMNS):
        j = start if start < n - DOT_COLUMNS else n - DOT_COLUMNS
        fresh = DOT_COLUMNS - (start - j)
        for part in range(parts):
            i = part * DOT_ROWS - (part - tall if part > tall else 0)
            dot_tile(part < tall, a, i * lda, lda, b, j * ldb, ldb, k, alpha, beta, c, i * ldc + j, ldc, fresh)


@jit
def _multiply(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """Compute C as `blas.gemm_f32` describes it and return True, or return False where BLAS should.

    That is where tiles of two heights and widths do not make up the shape, and where they are slower
    (docs/performance.md has the figures).
    """
    if (ta and tb) or (LANES < 16 and (ta or m > NARROW_ROWS)):
        return False
    if tb:
        fits = m >= (m + DOT_ROWS - 1) // DOT_ROWS * (DOT_ROWS - 1) and n >= DOT_COLUMNS
        if fits and k >= DOT_TERMS and m * k <= REREAD_ENTRIES:
            _dots(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
            return True
        return False
    vectors, by_rows = (n + LANES - 1) // LANES, ta and k * n <= REREAD_ENTRIES
    fits = n >= LANES and k >= 1 and m >= (m + ROWS - 1) // ROWS * (ROWS - 1)
    if fits and vectors >= (vectors + VECTORS - 1) // VECTORS * (VECTORS - 1):
        if not ta or m * (n if n > k else k) <= (2 * STREAMED_ENTRIES if by_rows else STREAMED_ENTRIES):
            _outer(ta, by_rows, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
            return True
    return False


@jit
def _decline(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """Return False: BLAS should."""
    return False


multiply = _multiply if LANES else _decline
