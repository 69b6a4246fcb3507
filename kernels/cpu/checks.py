"""Checks of data arrays in one vectorised pass."""

from ppl.kernels.config import jit


@jit
def count_inside(x, low, high):
    """How many entries of a flat array lie in [low, high]; NaN does not."""
    count = 0
    for i in range(x.shape[0]):
        count += (x[i] >= low) & (x[i] <= high)
    return count
