"""Draws by rejection for a run of columns under one key: first attempts together, the rejected lanes again one by one.

The first attempt has no branch, so that its loop vectorises; a few lanes in a hundred are rejected. What a lane gets is
what the scalar sampler gives it, a function of key, column and stream.
"""

import numpy as np

from ppl.kernels.config import jit
from ppl.kernels.cpu.vectors import prefer_wide
from ppl.kernels.scalar.f32 import gamma_draws as single
from ppl.kernels.scalar.f64 import gamma_draws as double

LANES = 512


@jit
def loggamma_row_f32(out, concentration, key, stream, n):
    """Write `n` logarithms of gamma draws, of columns 0 to n - 1, to `out`.

    Parameters
    ----------
    out, concentration : float32 vectors, at least `n` long.
    key : uint64
        Of the row and particle.
    stream : int
        Which of the gamma draws of an element.
    """
    prefer_wide()
    for start in range(0, n, LANES):
        count = min(LANES, n - start)
        lanes, a = out[start : start + count], concentration[start : start + count]
        for i in range(count):
            lanes[i] = single.loggamma_first(a[i], key, start + i, stream)
        for i in range(count):
            if np.isnan(lanes[i]):
                lanes[i] = single.loggamma_draw(a[i], key, start + i, stream)


@jit
def loggamma_row_f64(out, concentration, key, stream, n):
    """As `loggamma_row_f32`, lane by lane."""
    for i in range(n):
        out[i] = double.loggamma_draw(concentration[i], key, i, stream)
