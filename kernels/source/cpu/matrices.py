"""Linear algebra of `real`s: factors and systems of matrices that lie one after another.

Matrices are cut into blocks. What is done so far is taken out of a block by one product, so that large matrices cost
what products cost, and small ones neither call BLAS nor LAPACK."""

import math

from ppl.kernels.cpu.memory import tail
from ppl.kernels.decorators import jit, shared
from ppl.kernels.source.precision import SINGLE, real
from ppl.tuning import MATRIX_BLOCK

if SINGLE:
    from ppl.kernels.cpu.products.blas import gemm_f32 as gemm
else:
    from ppl.kernels.cpu.products.blas import gemm_f64 as gemm

ZERO, ONE, NAN = real(0.0), real(1.0), real(math.nan)

_FACTOR = "void({0}[::1],{0}[::1],int64,int64)".format(real.__name__)

_SOLVE = "void({0}[::1],{0}[::1],{0}[::1],int64,int64,int64,int64)".format(real.__name__)


@jit
def _substitute_block(a, ld, x, n, upper, transposed, unit):
    """x = T^-1 x, or T^-T x if `transposed`, T a triangle of n rows of `a`, with 1 on its diagonal if `unit`."""
    for s in range(n):
        i = s if upper == transposed else n - 1 - s
        first, count = (i + 1, n - 1 - i) if upper else (0, i)
        row, others = tail(a, i * ld + first), tail(x, first)
        if transposed:
            found = x[i] if unit else x[i] / a[i * ld + i]
            x[i] = found
            for j in range(count):
                others[j] -= row[j] * found
        else:
            total = ZERO
            for j in range(count):
                total += row[j] * others[j]
            x[i] = x[i] - total if unit else (x[i] - total) / a[i * ld + i]


@jit
def _substitute(a, x, k, d, upper, transposed, unit):
    """The same for `k` rows x of d entries, block after block."""
    blocks = (d + MATRIX_BLOCK - 1) // MATRIX_BLOCK
    ascending = upper == transposed
    for s in range(blocks):
        first = (s if ascending else blocks - 1 - s) * MATRIX_BLOCK
        n = min(MATRIX_BLOCK, d - first)
        done, many = (0, first) if ascending else (first + n, d - first - n)
        if many > 0:
            at = done * d + first if transposed else first * d + done
            gemm(False, not transposed, k, n, many, -ONE, tail(x, done), d, tail(a, at), d, ONE, tail(x, first), d)
        for r in range(k):
            _substitute_block(tail(a, first * d + first), d, tail(x, r * d + first), n, upper, transposed, unit)


@shared(_SOLVE)
def solve_lower_real(tril, b, x, count, k, d, transposed):
    """x = L^-1 b, or L^-T b if `transposed` is 1, of `k` rows b for each of `count` L, not read above its diagonal."""
    for i in range(count * k * d):
        x[i] = b[i]
    for q in range(count):
        _substitute(tail(tril, q * d * d), tail(x, q * k * d), k, d, False, transposed == 1, False)


@jit
def _factor_block(a, ld, n):
    """The lower factor of n rows, in their place; whether there is one."""
    for i in range(n):
        row = tail(a, i * ld)
        for j in range(i + 1):
            other, total = tail(a, j * ld), ZERO
            for k in range(j):
                total += row[k] * other[k]
            rest = row[j] - total
            if j < i:
                row[j] = rest / other[j]
            elif rest > ZERO:
                row[i] = math.sqrt(rest)
            else:
                return False
    return True


@jit
def _factor(a, d):
    """The lower factor of a matrix, in its place; whether there is one."""
    for first in range(0, d, MATRIX_BLOCK):
        n = min(MATRIX_BLOCK, d - first)
        rows, corner = tail(a, first * d), tail(a, first * d + first)
        if first > 0:
            gemm(False, True, d - first, n, first, -ONE, rows, d, rows, d, ONE, corner, d)
        if not _factor_block(corner, d, n):
            return False
        for i in range(n, d - first):
            _substitute_block(corner, d, tail(corner, i * d), n, False, False, False)
    return True


@shared(_FACTOR)
def cholesky_real(x, out, count, d):
    """Lower factors of `count` matrices, of which the lower triangle is read; NaN where there is none, 0 above."""
    for q in range(count):
        a, matrix = tail(out, q * d * d), tail(x, q * d * d)
        for i in range(d):
            for j in range(i + 1):
                a[i * d + j] = matrix[i * d + j]
        found = _factor(a, d)
        for i in range(d):
            for j in range(d):
                a[i * d + j] = ZERO if j > i else a[i * d + j] if found else NAN


@jit
def _swap(x, y, n):
    """Exchange n entries."""
    for j in range(n):
        x[j], y[j] = y[j], x[j]


@jit
def _eliminate(a, taken, d, first, n):
    """Eliminate n columns from the `first` on below their diagonal, with row exchanges; 1 or -1 by their number."""
    sign = ONE
    for p in range(first, first + n):
        best, at = abs(a[p * d + p]), p
        for i in range(p + 1, d):
            if abs(a[i * d + p]) > best:
                best, at = abs(a[i * d + p]), i
        taken[p] = at
        if at != p:
            sign = -sign
            _swap(tail(a, p * d), tail(a, at * d), d)
        pivot, row, count = a[p * d + p], tail(a, p * d + p + 1), first + n - p - 1
        for i in range(p + 1, d):
            factor = a[i * d + p] / pivot if pivot != ZERO else a[i * d + p]
            a[i * d + p] = factor
            other = tail(a, i * d + p + 1)
            for j in range(count):
                other[j] -= factor * row[j]
    return sign


@shared(_FACTOR)
def lu_real(x, out, count, d):
    """L and U of `count` matrices: d * d entries of both, d rows that were taken, sign and value of the determinant."""
    for q in range(count):
        a, matrix = tail(out, q * (d * d + d + 2)), tail(x, q * d * d)
        for i in range(d * d):
            a[i] = matrix[i]
        taken, sign = tail(a, d * d), ONE
        for first in range(0, d, MATRIX_BLOCK):
            n = min(MATRIX_BLOCK, d - first)
            sign *= _eliminate(a, taken, d, first, n)
            later, below = d - first - n, first + n
            if later > 0:
                for i in range(first + 1, below):
                    right = tail(a, i * d + below)
                    for p in range(first, i):
                        factor, upper = a[i * d + p], tail(a, p * d + below)
                        for j in range(later):
                            right[j] -= factor * upper[j]
                gemm(False, False, later, later, n, -ONE, tail(a, below * d + first), d, tail(a, first * d + below), d,
                     ONE, tail(a, below * d + below), d)  # fmt: skip
        product = sign
        for i in range(d):
            pivot = a[i * d + i]
            product *= pivot
            sign *= ONE if pivot > ZERO else -ONE if pivot < ZERO else pivot
        taken[d], taken[d + 1] = sign, product


@shared(_SOLVE)
def lu_solve_real(lu, b, x, count, k, d, transposed):
    """x = A^-1 b, or A^-T b if `transposed` is 1, of `k` rows b for each of `count` A; NaN where A is singular."""
    for q in range(count):
        a, y = tail(lu, q * (d * d + d + 2)), tail(x, q * k * d)
        taken, right = tail(a, d * d), tail(b, q * k * d)
        singular = taken[d] == ZERO
        for i in range(k * d):
            y[i] = NAN if singular else right[i]
        if singular:
            continue
        if transposed == 1:
            _substitute(a, y, k, d, True, True, False)
            _substitute(a, y, k, d, False, True, True)
            _reorder(y, taken, k, d, True)
        else:
            _reorder(y, taken, k, d, False)
            _substitute(a, y, k, d, False, False, True)
            _substitute(a, y, k, d, True, False, False)


@jit
def _reorder(x, taken, k, d, back):
    """Exchange entries of `k` rows as those of the matrix were, or back."""
    for r in range(k):
        row = tail(x, r * d)
        for s in range(d):
            i = d - 1 - s if back else s
            j = int(taken[i])
            row[i], row[j] = row[j], row[i]
