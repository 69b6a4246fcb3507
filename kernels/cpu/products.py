"""Matrix products of our own, for the shapes that a slab of rows has.

A BLAS copies its operands to packed panels first, which pays when they are used often. With the 25 to 200 rows of a
slab they are not, so the tiles here (`tiles.py`) read them where they lie.
"""

import numpy as np

from ppl.kernels.config import jit
from ppl.kernels.cpu.tiles import COLUMNS, DOT_ROWS, LANES, ROWS, VECTORS, dot_tile, outer_tile
from ppl.kernels.symbols import shared

DEPTH = 512
"""Terms that an outer tile adds up at a time, so that what a strip of tiles reads of B stays in the second cache."""

LONG, SMALL, LARGE, FEW = 96, 1 << 18, 1 << 20, 128
"""Terms from which a sum over lanes pays; entries of a first operand that are read again for every four columns; of one
that is read again for every strip, and of a result that is written with few terms; rows, where vectors are short."""


_SIZES, _OPERANDS = "int64,int64,int64", "float32,float32[::1],int64,float32[::1],int64,float32,float32[::1],int64"


@jit
def _parts(total, size):
    """How many parts of `size` and of `size` - 1 make up `total`; the first is negative where there is no way."""
    count = (total + size - 1) // size
    small = count * size - total
    return count - small, small


@jit
def _by_rows(ta, n, k):
    """Whether tiles go along rows of C: much of it is written in order, and B stays in the second cache."""
    return ta and k * n <= SMALL


@shared(f"void(boolean,{_SIZES},{_OPERANDS})")
def _outer(ta, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """C = alpha op(A) B + beta C, B not transposed; arguments as for `blas.gemm_f32`."""
    row_step, inner_step = (1, lda) if ta else (lda, 1)
    tall, short = _parts(m, ROWS)
    wide, narrow = _parts((n + LANES - 1) // LANES, VECTORS)
    by_rows = _by_rows(ta, n, k)
    period = narrow + wide if by_rows else tall + short
    for l in range(0, k, DEPTH):  # noqa: E741
        depth, old = min(DEPTH, k - l), beta if l == 0 else np.float32(1)
        for tile in range((tall + short) * (narrow + wide)):
            slow, fast = tile // period, tile % period
            part, strip = (slow, fast) if by_rows else (fast, slow)
            i = part * ROWS - max(part - tall, 0)
            j = (strip * VECTORS - min(strip, narrow)) * LANES
            # The last strip may be cut, so that it is a wide one where there is one: it has room for that.
            last = min((VECTORS - 1 - (strip < narrow)) * LANES, n - j - LANES)
            left, right = i * row_step + l * inner_step, l * ldb + j
            outer_tile(part < tall, strip >= narrow, a, left, row_step, inner_step, b, right, ldb, depth, alpha,
                       old, c, i * ldc + j, ldc, last)  # fmt: skip


@shared(f"void({_SIZES},{_OPERANDS})")
def _dots(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """C = alpha A B' + beta C; arguments as for `blas.gemm_f32`."""
    tall, short = _parts(m, DOT_ROWS)
    for start in range(0, n, COLUMNS):
        j = min(start, n - COLUMNS)
        fresh = COLUMNS - (start - j)
        for part in range(tall + short):
            i = part * DOT_ROWS - max(part - tall, 0)
            dot_tile(part < tall, a, i * lda, lda, b, j * ldb, ldb, k, alpha, beta, c, i * ldc + j, ldc, fresh)


@jit
def _suits(ta, tb, m, n, k):
    """Whether the tiles fit the shape and are at least as fast as BLAS (measured: docs/performance.md)."""
    if (ta and tb) or (LANES < 16 and (ta or m > FEW)):
        return False
    if tb:
        return _parts(m, DOT_ROWS)[0] >= 0 and n >= COLUMNS and k >= LONG and m * k <= SMALL
    vectors = (n + LANES - 1) // LANES
    if n < LANES or k < 1 or _parts(m, ROWS)[0] < 0 or _parts(vectors, VECTORS)[0] < 0:
        return False
    return not ta or m * max(n, k) <= (2 * LARGE if _by_rows(ta, n, k) else LARGE)


@jit
def _multiply(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """Compute C as `blas.gemm_f32` describes it and return True, or return False where BLAS should."""
    if not _suits(ta, tb, m, n, k):
        return False
    if tb:
        _dots(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
    else:
        _outer(ta, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
    return True


@jit
def _decline(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """Return False: BLAS should."""
    return False


multiply = _multiply if LANES else _decline
