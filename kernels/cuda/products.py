"""Products: of a block's rows, by all its threads; of all rows, by a block for each tile of the result.

Running sums are the work of one thread each, and so is the linear algebra of small matrices, which
`ppl.kernels.source.cpu.matrices` has for the CPU."""

import math

import numba

from ppl.kernels.cpu.sums import cumulate as _cumulate
from ppl.kernels.cuda.compat import THREADS, TILE, cuda, device, here, strides

ROWS_AT_ONCE = THREADS // TILE
"""Rows of a tile that the threads of a block take at once."""

ENTRIES_PER_THREAD = TILE // ROWS_AT_ONCE
"""Entries of a tile that a thread computes, one below the other."""

TILES = 2 * TILE * TILE * 8
"""Bytes of shared memory that a launch of a product needs: a tile of either operand."""


def tiles(m, n):
    """Blocks of a product with `m` rows and `n` columns."""
    return max(1, -(-m // TILE) * -(-n // TILE))


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


def _product_of_type(kind):
    """The product of all rows, of which `block` says the tile; the terms of an entry are added up in their order."""

    @device
    def product(block, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        held = cuda.shared.array(0, kind)
        tid, across = cuda.threadIdx.x, (n + TILE - 1) // TILE
        row0 = block // across * TILE
        column0 = block % across * TILE
        x, y = tid % TILE, tid // TILE
        totals = cuda.local.array(ENTRIES_PER_THREAD, kind)
        for s in range(ENTRIES_PER_THREAD):
            totals[s] = kind(0)
        for q0 in range(0, k, TILE):
            first = here(y)  # else addresses of all entries would stay in registers
            for s in range(ENTRIES_PER_THREAD):
                i = first + s * ROWS_AT_ONCE
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
            q = 0
            step = strides(ROWS_AT_ONCE)
            while q < TILE:
                for u in range(ROWS_AT_ONCE):  # so many turns are unrolled: of all, registers would be too few
                    right = held[TILE * TILE + (q + u) * TILE + x]
                    for s in range(ENTRIES_PER_THREAD):
                        totals[s] += held[(y + s * ROWS_AT_ONCE) * TILE + q + u] * right
                q += step
            cuda.syncthreads()
        for s in range(ENTRIES_PER_THREAD):
            i, j = row0 + y + s * ROWS_AT_ONCE, column0 + x
            if i < m and j < n:
                c[i * ldc + j] = totals[s] if beta == 0 else c[i * ldc + j] + totals[s]

    return product


product_f32, product_f64 = _product_of_type(numba.float32), _product_of_type(numba.float64)


cumulate = device(_cumulate.py_func)


@device
def substitute(a, at, x, x0, d, upper, transposed, unit):
    """x = T^-1 x, or T^-T x if `transposed`, T a triangle of the matrix at `at`, with 1 on its diagonal if `unit`."""
    for s in range(d):
        i = s if upper == transposed else d - 1 - s
        first, last = (i + 1, d) if upper else (0, i)
        if transposed:
            found = x[x0 + i] if unit else x[x0 + i] / a[at + i * d + i]
            x[x0 + i] = found
            for j in range(first, last):
                x[x0 + j] -= a[at + i * d + j] * found
        else:
            total = x[x0 + i]
            for j in range(first, last):
                total -= a[at + i * d + j] * x[x0 + j]
            x[x0 + i] = total if unit else total / a[at + i * d + i]


@device
def solve_lower(tril, b, x, count, k, d, transposed):
    """Systems of lower triangles."""
    for i in range(count * k * d):
        x[i] = b[i]
    for r in range(count * k):
        substitute(tril, r // k * d * d, x, r * d, d, False, transposed == 1, False)


@device
def cholesky(x, out, count, d):
    """Lower factors."""
    for q in range(count):
        at, found = q * d * d, True
        for i in range(d):
            for j in range(d):
                total = x[at + i * d + j]
                if j > i:
                    out[at + i * d + j] = total - total
                    continue
                for k in range(j):
                    total -= out[at + i * d + k] * out[at + j * d + k]
                if j < i:
                    out[at + i * d + j] = total / out[at + j * d + j]
                else:
                    found = found and total > 0
                    out[at + i * d + i] = math.sqrt(total) if found else total
        if not found:
            for i in range(d):
                for j in range(i + 1):
                    out[at + i * d + j] = math.nan


@device
def lu(x, out, count, d):
    """Both triangles, rows taken, sign and determinant."""
    for q in range(count):
        at = q * (d * d + d + 2)
        for i in range(d * d):
            out[at + i] = x[q * d * d + i]
        sign, product = 1.0, 1.0
        for p in range(d):
            best, where = abs(out[at + p * d + p]), p
            for i in range(p + 1, d):
                size = abs(out[at + i * d + p])
                if size > best:
                    best, where = size, i
            out[at + d * d + p] = where
            if where != p:
                sign, product = -sign, -product
                for j in range(d):
                    kept = out[at + p * d + j]
                    out[at + p * d + j] = out[at + where * d + j]
                    out[at + where * d + j] = kept
            pivot = out[at + p * d + p]
            product *= pivot
            sign *= 1.0 if pivot > 0 else -1.0 if pivot < 0 else pivot
            for i in range(p + 1, d):
                factor = out[at + i * d + p]
                factor = factor / pivot if pivot != 0 else factor
                out[at + i * d + p] = factor
                for j in range(p + 1, d):
                    out[at + i * d + j] -= factor * out[at + p * d + j]
        out[at + d * d + d] = sign
        out[at + d * d + d + 1] = product


@device
def lu_solve(lu, b, x, count, k, d, transposed):
    """Systems of any matrices."""
    for r in range(count * k):
        at, x0 = r // k * (d * d + d + 2), r * d
        singular, back = lu[at + d * d + d] == 0, transposed == 1
        for i in range(d):
            x[x0 + i] = math.nan if singular else b[x0 + i]
        if singular:
            continue
        if back:
            substitute(lu, at, x, x0, d, True, True, False)
            substitute(lu, at, x, x0, d, False, True, True)
        for s in range(d):
            i = d - 1 - s if back else s
            j = int(lu[at + d * d + i])
            kept = x[x0 + i]
            x[x0 + i] = x[x0 + j]
            x[x0 + j] = kept
        if not back:
            substitute(lu, at, x, x0, d, False, False, True)
            substitute(lu, at, x, x0, d, True, False, False)
