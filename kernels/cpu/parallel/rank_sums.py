"""Weighted sums of the vectors of several processes, in the order of their ranks."""

import numpy as np

from ppl.kernels.config import jit


@jit
def scaled(out, x, weight):
    """out = weight x."""
    w = out.dtype.type(weight)
    for i in range(out.shape[0]):
        out[i] = w * x[i]


@jit
def add_scaled(out, x, weight):
    """out += weight x."""
    w = out.dtype.type(weight)
    for i in range(out.shape[0]):
        out[i] += w * x[i]


def weighted_into(out, parts, weights):
    """out = Σ_r weights[r] parts[r], from rank 0 on; ranks of weight 0 are left out, whatever they hold.

    Parameters
    ----------
    out : vector of floats.
    parts : vectors of as many entries and the same type, one a rank.
    weights : float64, one a rank.
    """
    used = [(part, float(weight)) for part, weight in zip(parts, weights, strict=True) if weight]
    if not used:
        out[:] = 0
    for i, (part, weight) in enumerate(used):
        (add_scaled if i else scaled)(out, part, weight)


def weighted(parts, weights):
    """`weighted_into` a fresh vector."""
    out = np.empty(len(parts[0]), parts[0].dtype)
    weighted_into(out, parts, weights)
    return out
