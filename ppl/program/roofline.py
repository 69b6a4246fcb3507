"""The memory that each step of a program reads and writes, and the best rate of one core: the roofline of a profile."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

MATRIX_SIDE = 512


class Rates(NamedTuple):
    """Floating point operations, and bytes to and from memory, per second on one thread."""

    flops: float
    bytes: float

    def seconds(self, flops: int, moved: int) -> float:
        """The least time for so many operations and bytes."""
        return max(flops / self.flops, moved / self.bytes)


@functools.cache
def measure_rates(dtype: str, footprint: int) -> Rates:
    """Measured now, on one thread: a product of 512 × 512 matrices, and a triad of vectors of `footprint` bytes.

    Parameters
    ----------
    dtype : "float32" or "float64"
    footprint : int
        Where the vectors lie decides how fast they are: that of what the program works on.
    """
    from ppl.kernels.cpu.measurement import triad
    from ppl.kernels.cpu.products import blas  # imports Numba

    gemm = blas.gemm_f32 if dtype == "float32" else blas.gemm_f64
    square, out = np.ones(MATRIX_SIDE * MATRIX_SIDE, dtype), np.empty(MATRIX_SIDE * MATRIX_SIDE, dtype)
    one = np.dtype(dtype).type(1)
    blas.enter_single()
    try:
        seconds = time_best_of(
            lambda: gemm(
                False, False, *[MATRIX_SIDE] * 3, one, square, MATRIX_SIDE, square, MATRIX_SIDE, one, out, MATRIX_SIDE
            )
        )
    finally:
        blas.leave_single()
    n = max(footprint // (3 * out.itemsize), 1 << 12)
    a, b, c = np.ones((3, n), dtype)
    repeats = max(1, (1 << 20) // n)
    passes = time_best_of(lambda: triad(a, b, c, one, repeats))
    return Rates(2 * MATRIX_SIDE**3 / seconds, 3 * n * repeats * out.itemsize / passes)


def time_best_of(call: Callable[[], object], repeats: int = 7) -> float:
    """The least time of some calls, after one that is not counted."""
    call()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
