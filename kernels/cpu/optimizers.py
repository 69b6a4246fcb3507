"""Optimizer updates in place on flat vectors, for float32 and float64.

Serial and vectorised; a parallel driver calls them on disjoint slices. Every hyperparameter is cast to the
type of the parameters, so that nothing is computed in double precision by accident.
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

from ppl.kernels.config import jit


def _cast(like, value):
    """`value` in the type of the array `like`."""
    return like.dtype.type(value)


@overload(_cast, inline="never")
def _cast_overload(like, value):
    if like.dtype == types.float32:
        return lambda like, value: np.float32(value)
    return lambda like, value: np.float64(value)


@jit
def sgd(p, g, lr):
    """p -= lr g.

    Parameters
    ----------
    p, g : one-dimensional contiguous arrays of one type
        Parameters (updated) and gradient of the loss.
    lr : float
        Learning rate.
    """
    rate = _cast(p, lr)
    for i in range(p.shape[0]):
        p[i] -= rate * g[i]


@jit
def momentum(p, g, buf, lr, beta):
    """buf = beta buf + g; p -= lr buf (heavy ball, without dampening); `buf` starts at zero."""
    rate, decay = _cast(p, lr), _cast(p, beta)
    for i in range(p.shape[0]):
        b = decay * buf[i] + g[i]
        buf[i] = b
        p[i] -= rate * b


@jit
def adam(p, g, m, v, lr, b1, b2, eps, t):
    """One step of Adam (Kingma and Ba, 2015), with bias correction; `t` counts steps from 1, `m` and `v`
    start at 0.

    ``m = b1 m + (1 - b1) g``; ``v = b2 v + (1 - b2) g**2``;
    ``p -= lr / (1 - b1**t) m / (sqrt(v / (1 - b2**t)) + eps)``.
    """
    first, second = _cast(p, b1), _cast(p, b2)
    first_rest, second_rest = _cast(p, 1.0 - b1), _cast(p, 1.0 - b2)
    rate = _cast(p, lr / (1.0 - b1**t))
    scale = _cast(p, 1.0 / math.sqrt(1.0 - b2**t))
    tiny = _cast(p, eps)
    for i in range(p.shape[0]):
        gi = g[i]
        mi = first * m[i] + first_rest * gi
        vi = second * v[i] + second_rest * (gi * gi)
        m[i] = mi
        v[i] = vi
        p[i] -= rate * mi / (math.sqrt(vi) * scale + tiny)
