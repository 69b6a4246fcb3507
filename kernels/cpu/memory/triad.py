"""The sum of a vector and a multiple of another, over and over: how fast memory is."""

from ppl.kernels.config import jit
from ppl.kernels.cpu.memory.vectors import prefer_full_width


@jit
def triad(a, b, c, factor, repeats):
    """a = b + factor c, `repeats` times, for vectors of one length and type."""
    prefer_full_width()
    for _ in range(repeats):
        for i in range(a.shape[0]):
            a[i] = b[i] + factor * c[i]
