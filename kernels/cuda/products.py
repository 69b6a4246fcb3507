"""Products of a block's rows, by all its threads; running sums and triangular systems, by one thread each."""

from ppl.kernels.cuda.compat import THREADS, cuda, device


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
