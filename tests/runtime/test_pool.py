"""Result arrays are used again only when nobody holds them."""

import numpy as np
import pytest

from ppl.runtime.buffers import ArrayPool
from ppl.tuning import POOLED_ENTRIES


@pytest.mark.tiny
def test_arrays_that_are_held_stay_untouched():
    pool = ArrayPool()
    first = pool.empty("out", POOLED_ENTRIES, np.float32)
    view = first[3:].reshape(-1)
    address = first.ctypes.data
    assert pool.empty("out", POOLED_ENTRIES, np.float32).ctypes.data != address
    del first
    assert pool.empty("out", POOLED_ENTRIES, np.float32).ctypes.data != address, "a view still refers to it"
    del view
    assert pool.empty("out", POOLED_ENTRIES, np.float32).ctypes.data == address
