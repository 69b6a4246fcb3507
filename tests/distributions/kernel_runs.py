"""Scalar kernels run over columns of arguments."""

import numba
import numpy as np

COMPILED = not numba.config.DISABLE_JIT
SIZE = 4000 if COMPILED else 50


def run(function, *columns, dtype):
    """`function` applied to every row of `columns`, compiled."""

    def loop(out, *given):
        for i in range(out.shape[0]):
            out[i] = function(given[0][i], given[1][i])

    out = np.empty(len(columns[0]), dtype)
    numba.njit(error_model="numpy")(loop)(out, *columns)
    return out
