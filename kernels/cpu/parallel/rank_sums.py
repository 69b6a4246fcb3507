"""Weighted sums of the vectors of several processes, in the order of their ranks."""

import numpy as np

from ppl.kernels.config import jit


@jit
def weighted_into(out, parts, weights):
    """out = Σ_r weights[r] parts[r], from rank 0 on; ranks of weight 0 are left out, whatever they hold.

    Parameters
    ----------
    out : vector of floats.
    parts : (ranks, entries) of the same type.
    weights : float64, one a rank.
    """
    first = True
    for r in range(parts.shape[0]):
        if weights[r] == 0.0:
            continue
        w = out.dtype.type(weights[r])
        if first:
            for i in range(out.shape[0]):
                out[i] = w * parts[r, i]
        else:
            for i in range(out.shape[0]):
                out[i] += w * parts[r, i]
        first = False
    if first:
        for i in range(out.shape[0]):
            out[i] = 0


def weighted(parts, weights):
    """`weighted_into` a fresh vector."""
    out = np.empty(parts.shape[1], parts.dtype)
    weighted_into(out, parts, np.ascontiguousarray(weights, np.float64))
    return out
