"""Linear algebra of small matrices, each by the thread that calls it: `ppl.kernels.source.cpu.matrices` on devices."""

import math

from ppl.kernels.cuda.compat import device


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
