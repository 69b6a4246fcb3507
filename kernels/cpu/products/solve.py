"""Triangular systems and running sums of the rows of one tile."""

from ppl.kernels.config import jit


@jit
def solve_lower(tril, b, x, count, d, transposed):
    """x = L^-1 b, or L^-T b if `transposed` is 1, of `count` systems in a row; L is not read above its diagonal.

    By rows of L in both cases: with the transpose, each solved entry is taken out of those before it.
    """
    for q in range(count):
        matrix, y = tril[q * d * d : (q + 1) * d * d], x[q * d : (q + 1) * d]
        for i in range(d):
            y[i] = b[q * d + i]
        for s in range(d):
            i = d - 1 - s if transposed == 1 else s
            if transposed == 1:
                y[i] /= matrix[i * d + i]
                for j in range(i):
                    y[j] -= matrix[i * d + j] * y[i]
            else:
                for j in range(i):
                    y[i] -= matrix[i * d + j] * y[j]
                y[i] /= matrix[i * d + i]


@jit
def cumulate(x, out, count, d):
    """Running sums of `count` vectors of length `d` in a row."""
    for q in range(count):
        total = x[q * d]
        out[q * d] = total
        for i in range(q * d + 1, (q + 1) * d):
            total += x[i]
            out[i] = total
