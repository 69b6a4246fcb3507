"""User functions for external nodes."""

import numba
import numpy as np


@numba.njit
def area(y, s):
    return y[0] * y[1] + y[2] * s


@numba.njit
def area_gradient(y, s, g):
    out = np.empty_like(y)
    out[0], out[1], out[2] = y[1] * g, y[0] * g, s * g
    return out, y[2] * g


@numba.njit
def keyed(key, y):
    out = np.empty_like(y[:2])
    out[0] = y[0] + (key & np.uint64(7))
    out[1] = y[1]
    return out


@numba.njit
def square(y):
    return y[0] * y[0] + y[1]


@numba.njit
def square_gradient(y, g):
    out = np.empty_like(y)
    out[0], out[1] = 2 * y[0] * g, g
    return out


@numba.njit
def square_gradient_tuple(y, g):
    return (square_gradient(y, g),)
