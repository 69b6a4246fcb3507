"""What the kernels over blocks of lanes have in common: noise keys and columns, lists of lanes.

A kernel of draws takes a `key` and a `column` that are either one number for all lanes (the key of a row and the column
of its first lane) or a vector with an entry per lane.
"""

import numpy as np
from numba import types
from numba.extending import overload

from ppl.kernels.config import jit

i64 = np.int64

ONE_KEY, OWN_KEYS = "uint64,int64,int64,int64", "int64[::1],int64[::1],int64,int64"
"""The last arguments of a kernel of draws, of either form: key, column, stream, and the number of lanes."""


def both_forms(*vectors: str) -> tuple[str, str]:
    """The signatures of a kernel whose first arguments are these `vectors`."""
    first = ",".join(vectors)
    return f"void({first},{ONE_KEY})", f"void({first},{OWN_KEYS})"


def lane_key(key, i):
    """The key of lane `i`."""
    return key[i] if isinstance(key, np.ndarray) else key


def lane_column(column, i):
    """The column of lane `i`."""
    return column[i] if isinstance(column, np.ndarray) else column + i


@overload(lane_key, jit_options={"forceinline": True})
def _lane_key(key, i):
    if isinstance(key, types.Array):
        return lambda key, i: key[i]
    return lambda key, i: key


@overload(lane_column, jit_options={"forceinline": True})
def _lane_column(column, i):
    if isinstance(column, types.Array):
        return lambda column, i: column[i]
    return lambda column, i: column + i


@jit
def rejected(waiting, found, count):
    """List the lanes, of the first `count`, in which the first attempt `found` NaN; how many."""
    left = i64(0)
    for i in range(count):
        waiting[left] = i
        left += i64(1) if np.isnan(found[i]) else i64(0)
    return left


@jit
def still_rejected(waiting, found, left):
    """Keep those of the first `left` lanes on the list whose attempt `found` NaN; how many."""
    again = i64(0)
    for j in range(left):
        waiting[again] = waiting[j]
        again += i64(1) if np.isnan(found[j]) else i64(0)
    return again


@jit
def chosen(members, kind, wanted, count):
    """List the lanes, of the first `count`, that are of the `wanted` kind; how many."""
    found = i64(0)
    for i in range(count):
        members[found] = i
        found += i64(1) if kind[i] == wanted else i64(0)
    return found
