"""Arrays for calls: aligned, reused once nobody holds them, and framed by guard words in the checked build.

A fresh array of a megabyte costs more in page faults than in the work of filling it, so large results are taken from
a pool. An array is handed out again only if the pool has the last reference to it. In the checked build (`ppl.checked`)
a pattern stands between and around all buffers and is compared after every call. It shows what no test of an address
sees: writes of BLAS, of vectors written out for LLVM, of plain pointers. The pattern reads as NaN, and so does memory
that nothing has been written to yet."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.checked import CHECKED
from ppl.compiler.schedule.memory import GUARD_WORDS
from ppl.errors import MemoryCheckError
from ppl.tuning import POOLED_ARRAYS, POOLED_ENTRIES

if TYPE_CHECKING:
    from ppl.compiler.lower.sizes import Poly
    from ppl.compiler.schedule.memory import MemoryLayout

GUARD_LENGTH = 64
"""Bytes before and behind a whole array."""

GUARD_PATTERN = 0xFF
"""Every byte of a guard: NaN as a float, -1 as an integer."""

ArrayContents = Sequence[tuple[np.ndarray, bytes]]
"""Arrays and what they held."""

_guarded_arrays: list[tuple[weakref.ref[np.ndarray], int, int]] = []


def guarded_array(size: int, dtype: Any) -> np.ndarray:
    """A vector that begins at a cache line, of the pattern, with a guard on either side."""
    count = size * np.dtype(dtype).itemsize
    raw = np.full(count + 3 * GUARD_LENGTH, GUARD_PATTERN, np.uint8)
    start = -raw.ctypes.data % GUARD_LENGTH + GUARD_LENGTH
    _guarded_arrays[:] = [f for f in _guarded_arrays if f[0]() is not None]
    _guarded_arrays.append((weakref.ref(raw), start, start + count))
    return raw[start : start + count].view(dtype)


def check_array_guards() -> None:
    """Raise an error if a guard around an array has changed."""
    for reference, start, stop in list(_guarded_arrays):
        raw = reference()
        if raw is not None and not (np.all(raw[:start] == GUARD_PATTERN) and np.all(raw[stop:] == GUARD_PATTERN)):
            raw[:start] = raw[stop:] = GUARD_PATTERN
            raise MemoryCheckError(f"compiled code wrote outside an array of {stop - start} bytes")


def _guard_places(memory: MemoryLayout, v: np.ndarray, parts: tuple[int, int]) -> list[tuple[str, str, int]]:
    """Array, the buffer before it, and position of every guard, in a workspace of so many slabs and lanes."""
    sizes = dict(zip(memory.header, v[: len(memory.header)].tolist(), strict=True))
    found = []
    for array, name, offset in memory.guards:
        for known in _area_starts(memory, array, offset, sizes, parts):
            found.append((array, name, offset.evaluate(sizes | known)))
    return found


def _area_starts(
    memory: MemoryLayout, array: str, offset: Poly, sizes: dict[str, int], parts: tuple[int, int]
) -> list[dict[str, int]]:
    """Where the areas of all slabs begin if `offset` counts from there, or those of all lanes."""
    start, slab, lane = (area[array].evaluate(sizes) for area in memory.areas)
    if f"slab_{array}" in offset.names:
        return [{f"slab_{array}": start + i * slab} for i in range(parts[0])]
    if f"lane_{array}" in offset.names:
        return [{f"lane_{array}": start + parts[0] * slab + i * lane} for i in range(parts[1])]
    return [{}]


def write_guards(memory: MemoryLayout, w: np.ndarray, v: np.ndarray, parts: tuple[int, int]) -> None:
    """Write all guards of a workspace."""
    arrays = {"w": w, "v": v}
    for array, _, at in _guard_places(memory, v, parts):
        arrays[array][at : at + GUARD_WORDS].view(np.uint8)[:] = GUARD_PATTERN


def copy_contents(arrays: Sequence[np.ndarray]) -> ArrayContents:
    """Arrays that a call only reads, and what is in them."""
    return [(x, x.tobytes()) for x in arrays]


def check_guards(
    memory: MemoryLayout, w: np.ndarray, v: np.ndarray, parts: tuple[int, int], read: ArrayContents = ()
) -> None:
    """Raise an error if a guard of a workspace, one around an array, or what is only `read`, has changed."""
    arrays = {"w": w.view(np.uint8), "v": v.view(np.uint8)}
    width = {"w": w.itemsize, "v": v.itemsize}
    for array, name, at in _guard_places(memory, v, parts):
        if np.any(arrays[array][at * width[array] : (at + GUARD_WORDS) * width[array]] != GUARD_PATTERN):
            raise MemoryCheckError(f"compiled code wrote to the guard words behind '{name}' in {array}[{at}]")
    check_array_guards()
    if any(x.tobytes() != before for x, before in read):
        raise MemoryCheckError("compiled code wrote to an array that it only reads")


_sample_list = [np.zeros(1)]

_SOLE_REFERENCE_COUNT = sys.getrefcount(_sample_list[0])


class ArrayPool:
    """Arrays of one thread; of each size and purpose up to `kept` are used again."""

    def __init__(self, kept: int = POOLED_ARRAYS) -> None:
        self._kept = kept
        self._arrays: dict[tuple[str, int, Any], list[np.ndarray]] = {}

    def empty(self, purpose: str, size: int, dtype: Any) -> np.ndarray:
        """An uninitialised vector that nobody else refers to."""
        if CHECKED:
            return guarded_array(size, dtype)
        if size < POOLED_ENTRIES:
            return np.empty(size, dtype)
        arrays = self._arrays.setdefault((purpose, size, dtype), [])
        for i in range(len(arrays)):
            if sys.getrefcount(arrays[i]) == _SOLE_REFERENCE_COUNT:
                return arrays[i]
        made = np.empty(size, dtype)
        if len(arrays) < self._kept:
            arrays.append(made)
        return made


def aligned_zeros(size: int, dtype: Any) -> np.ndarray:
    """A vector of zeros that begins at a cache line of 64 bytes."""
    if CHECKED:
        out = guarded_array(size, dtype)
        out[:] = 0
        return out
    itemsize = np.dtype(dtype).itemsize
    raw = np.zeros(size + 64 // itemsize, dtype)
    start = -raw.ctypes.data % 64 // itemsize
    return raw[start : start + size]
