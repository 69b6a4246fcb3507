"""Guard words of the checked build: a pattern between and around buffers, looked at after every call.

They show what no test of an address sees: writes of BLAS, of vectors written out for LLVM, of plain pointers. The
pattern reads as NaN, and so does memory that nothing has been written to yet.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.compiler.schedule.memory import WORDS
from ppl.errors import MemoryCheckError

if TYPE_CHECKING:
    from ppl.compiler.lower.views import Poly
    from ppl.compiler.schedule.memory import Memory

EDGE = 64
"""Bytes before and behind a whole array."""

PATTERN = 0xFF
"""Every byte of a guard: NaN as a float, -1 as an integer."""

Contents = Sequence[tuple[np.ndarray, bytes]]
"""Arrays and what they held."""

_frames: list[tuple[weakref.ref[np.ndarray], int, int]] = []


def framed(size: int, dtype: Any) -> np.ndarray:
    """A vector that begins at a cache line, of the pattern, with a guard on either side."""
    count = size * np.dtype(dtype).itemsize
    raw = np.full(count + 3 * EDGE, PATTERN, np.uint8)
    start = -raw.ctypes.data % EDGE + EDGE
    _frames[:] = [f for f in _frames if f[0]() is not None]
    _frames.append((weakref.ref(raw), start, start + count))
    return raw[start : start + count].view(dtype)


def verify_frames() -> None:
    """Raise an error if a guard around an array has changed."""
    for reference, start, stop in list(_frames):
        raw = reference()
        if raw is not None and not (np.all(raw[:start] == PATTERN) and np.all(raw[stop:] == PATTERN)):
            raw[:start] = raw[stop:] = PATTERN
            raise MemoryCheckError(f"compiled code wrote outside an array of {stop - start} bytes")


def _places(memory: Memory, v: np.ndarray, parts: tuple[int, int]) -> list[tuple[str, str, int]]:
    """Array, the buffer before it, and position of every guard, in a workspace of so many slabs and lanes."""
    sizes = dict(zip(memory.header, v[: len(memory.header)].tolist(), strict=True))
    found = []
    for array, name, offset in memory.guards:
        for known in _areas(memory, array, offset, sizes, parts):
            found.append((array, name, offset.evaluate(sizes | known)))
    return found


def _areas(
    memory: Memory, array: str, offset: Poly, sizes: dict[str, int], parts: tuple[int, int]
) -> list[dict[str, int]]:
    """Where the areas of all slabs begin if `offset` counts from there, or those of all lanes."""
    start, slab, lane = (area[array].evaluate(sizes) for area in memory.areas)
    if f"slab_{array}" in offset.names:
        return [{f"slab_{array}": start + i * slab} for i in range(parts[0])]
    if f"lane_{array}" in offset.names:
        return [{f"lane_{array}": start + parts[0] * slab + i * lane} for i in range(parts[1])]
    return [{}]


def paint(memory: Memory, w: np.ndarray, v: np.ndarray, parts: tuple[int, int]) -> None:
    """Write all guards of a workspace."""
    arrays = {"w": w, "v": v}
    for array, _, at in _places(memory, v, parts):
        arrays[array][at : at + WORDS].view(np.uint8)[:] = PATTERN


def contents(arrays: Sequence[np.ndarray]) -> Contents:
    """Arrays that a call only reads, and what is in them."""
    return [(x, x.tobytes()) for x in arrays]


def verify(memory: Memory, w: np.ndarray, v: np.ndarray, parts: tuple[int, int], read: Contents = ()) -> None:
    """Raise an error if a guard of a workspace, one around an array, or what is only `read`, has changed."""
    arrays = {"w": w.view(np.uint8), "v": v.view(np.uint8)}
    width = {"w": w.itemsize, "v": v.itemsize}
    for array, name, at in _places(memory, v, parts):
        if np.any(arrays[array][at * width[array] : (at + WORDS) * width[array]] != PATTERN):
            raise MemoryCheckError(f"compiled code wrote to the guard words behind '{name}' in {array}[{at}]")
    verify_frames()
    if any(x.tobytes() != before for x, before in read):
        raise MemoryCheckError("compiled code wrote to an array that it only reads")
