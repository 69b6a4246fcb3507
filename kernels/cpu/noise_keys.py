"""Ids and noise keys of the rows of one tile, and the lists of lanes by which draws are rejected and drawn again.

Rows of a batch carry global ids: either consecutive ones, from `first`, or those of an array `ids` (used if not
empty, from position `start`). A kernel of draws takes a `key` and a `column` that are either one number for all
lanes (the key of a row and the column of its first lane) or a vector with an entry per lane. The draws are in
`ppl.kernels.generated.f32.cpu.draws` and its twin."""

import numpy as np
from numba import types
from numba.extending import overload

from ppl.kernels.decorators import jit
from ppl.kernels.scalar.noise import mix

u64, i64 = np.uint64, np.int64


@jit
def row_ids(out, ids, start, first, n):
    """Global ids of `n` rows."""
    for i in range(n):
        out[i] = first + i if ids.shape[0] == 0 else ids[start + i]


@jit
def row_keys(out, ids, start, first, n, base, per_row, key, step):
    """64-bit keys of `n` rows of `per_row` entries each, as int64."""
    for i in range(n):
        row = base + (first + i if ids.shape[0] == 0 else ids[start + i])
        for k in range(per_row):
            entry = u64(row * per_row + k)
            out[i * per_row + k] = i64(mix(key, (entry << u64(32)) + u64(step)))


@jit
def window_keys(out, ids, start, first, n, base, pieces, size, total, offset, key, step):
    """As `row_keys`, for a window of particles (see `ppl.kernels.generated.f32.cpu.noise.fill_windows_f32`)."""
    for i in range(n):
        row = base + (first + i if ids.shape[0] == 0 else ids[start + i])
        for p in range(pieces):
            for k in range(size):
                entry = u64((row * pieces + p) * total + offset + k)
                out[(i * pieces + p) * size + k] = i64(mix(key, (entry << u64(32)) + u64(step)))


@jit
def mix_time(out, time):
    """Mix the time of a loop into keys."""
    for i in range(out.shape[0]):
        out[i] = i64(mix(u64(out[i]), u64(time)))


uint64 = np.uint64


@jit
def run_length(ids, start, stop):
    """Length of the run of consecutive ids that begins at `start`."""
    end = start + 1
    while end < stop and ids[end] == ids[end - 1] + 1:
        end += 1
    return end - start


@jit
def entry_numbers(out, ids, start, n, base, per_row):
    """Write the global numbers of the entries of `n` rows to `out`."""
    for i in range(n):
        first = uint64((base + ids[start + i]) * per_row)
        for j in range(per_row):
            out[i * per_row + j] = first + uint64(j)


int64 = np.int64

ONE_KEY, OWN_KEYS = "uint64,int64,int64,int64", "int64[::1],int64[::1],int64,int64"
"""The last arguments of a kernel of draws, of either form: key, column, stream, and the number of lanes."""


def draw_signatures(*vectors: str) -> tuple[str, str]:
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
def list_rejected(waiting, found, count):
    """List the lanes, of the first `count`, in which the first attempt `found` NaN; how many."""
    left = int64(0)
    for i in range(count):
        waiting[left] = i
        left += int64(1) if np.isnan(found[i]) else int64(0)
    return left


@jit
def keep_rejected(waiting, found, left):
    """Keep those of the first `left` lanes on the list whose attempt `found` NaN; how many."""
    again = int64(0)
    for j in range(left):
        waiting[again] = waiting[j]
        again += int64(1) if np.isnan(found[j]) else int64(0)
    return again


@jit
def list_lanes_of_kind(members, kind, wanted, count):
    """List the lanes, of the first `count`, that are of the `wanted` kind; how many."""
    found = int64(0)
    for i in range(count):
        members[found] = i
        found += int64(1) if kind[i] == wanted else int64(0)
    return found
