"""Arrays that lie in files (`np.memmap`): the system reads the pages that are asked for, and may drop them again."""

from __future__ import annotations

import mmap
from typing import Any


def is_mapped(array: Any) -> bool:
    """Whether the memory of an array is that of a mapped file."""
    while array is not None:
        if isinstance(array, mmap.mmap):
            return True
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    return False
