"""Running sums of the rows of one tile."""

from ppl.kernels.config import jit


@jit
def cumulate(x, out, count, d):
    """Running sums of `count` vectors of length `d` in a row."""
    for q in range(count):
        total = x[q * d]
        out[q * d] = total
        for i in range(q * d + 1, (q + 1) * d):
            total += x[i]
            out[i] = total
