"""Sums of what is added to rows of a table, row by row: what several processes exchange of its gradient."""

import numpy as np

from ppl.kernels.config import jit


@jit
def add_rows(out, places, coefs, rows, repeat):
    """out[places[e]] += coefs[e] rows[e // repeat], in the order of the additions.

    Parameters
    ----------
    out : (touched, width) floats, updated.
    places : int64, per addition the row of `out`.
    coefs : one factor an addition, or empty for ones.
    rows : (additions / repeat, width), what is added.
    repeat : additions that share a row of `rows`.
    """
    width = out.shape[1]
    for e in range(places.shape[0]):
        source = rows[e // repeat]
        target = out[places[e]]
        factor = coefs[e] if coefs.shape[0] > 0 else out.dtype.type(1.0)
        for j in range(width):
            target[j] += factor * source[j]


def touched(index, length):
    """The rows that additions name, sorted, and per addition its place among them; out of range is the nearest row."""
    return np.unique(np.clip(index, 0, length - 1), return_inverse=True)
