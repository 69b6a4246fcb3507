"""Large result arrays whose memory is used again once nobody holds them.

A fresh array of a megabyte costs more in page faults than in the work of filling it. An array is handed out again only
if the pool has the last reference: neither the array nor a view of it (which refers to it) is alive elsewhere.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ppl.checked import CHECKED
from ppl.runtime.guards import framed
from ppl.tuning import POOLED_ARRAYS, POOLED_ENTRIES

_sample = [np.zeros(1)]
_ALONE = sys.getrefcount(_sample[0])


class Pool:
    """Arrays of one thread; of each size and purpose up to `kept` are used again."""

    def __init__(self, kept: int = POOLED_ARRAYS) -> None:
        self._kept = kept
        self._arrays: dict[tuple[str, int, Any], list[np.ndarray]] = {}

    def empty(self, purpose: str, size: int, dtype: Any) -> np.ndarray:
        """An uninitialised vector that nobody else refers to."""
        if CHECKED:
            return framed(size, dtype)
        if size < POOLED_ENTRIES:
            return np.empty(size, dtype)
        arrays = self._arrays.setdefault((purpose, size, dtype), [])
        for i in range(len(arrays)):
            if sys.getrefcount(arrays[i]) == _ALONE:
                return arrays[i]
        made = np.empty(size, dtype)
        if len(arrays) < self._kept:
            arrays.append(made)
        return made


def aligned(size: int, dtype: Any) -> np.ndarray:
    """A vector of zeros that begins at a cache line of 64 bytes."""
    if CHECKED:
        out = framed(size, dtype)
        out[:] = 0
        return out
    itemsize = np.dtype(dtype).itemsize
    raw = np.zeros(size + 64 // itemsize, dtype)
    start = -raw.ctypes.data % 64 // itemsize
    return raw[start : start + size]
