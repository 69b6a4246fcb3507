"""Plain sums: running sums of rows, weighted sums of the vectors of several ranks, additions to rows of a table.

Vectors of ranks are added up in the order of the ranks; additions to a table are what ranks exchange of its
gradient."""

import numpy as np

from ppl.kernels.decorators import jit


@jit
def cumulate(x, out, count, d):
    """Running sums of `count` vectors of length `d` in a row."""
    for q in range(count):
        total = x[q * d]
        out[q * d] = total
        for i in range(q * d + 1, (q + 1) * d):
            total += x[i]
            out[i] = total


@jit
def scale_into(out, x, weight):
    """out = weight x."""
    w = out.dtype.type(weight)
    for i in range(out.shape[0]):
        out[i] = w * x[i]


@jit
def add_scaled_into(out, x, weight):
    """out += weight x."""
    w = out.dtype.type(weight)
    for i in range(out.shape[0]):
        out[i] += w * x[i]


def weighted_sum_into(out, parts, weights):
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
        (add_scaled_into if i else scale_into)(out, part, weight)


def weighted(parts, weights):
    """`weighted_sum_into` a fresh vector."""
    out = np.empty(len(parts[0]), parts[0].dtype)
    weighted_sum_into(out, parts, weights)
    return out


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
