"""Dense float32 products of a slab of rows on one thread: BLAS, and the tiles that stand in for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from ppl.kernels.cpu.products import blas, tiled
from ppl.runtime.buffers import aligned_zeros

SLABS = (25, 50, 100, 200)

LAYERS = ((784, 400), (400, 784), (784, 256), (200, 256), (200, 200), (400, 40), (1024, 1024))

TURNS, SECONDS = 15, 2e-3

FORMS = (
    ("forward, x W", False, False, lambda rows, a, b: (rows, b, a)),
    ("backward, δ Wᵀ", False, True, lambda rows, a, b: (rows, a, b)),
    ("weight gradient, + xᵀ δ", True, False, lambda rows, a, b: (a, b, rows)),
)
"""Name, which operands are transposed, and the sizes m, n and k for a layer from a to b units."""


@numba.njit(nogil=True)
def _ours(count, ta, tb, m, n, k, a, lda, b, ldb, beta, c):  # type: ignore[no-untyped-def]
    """Multiply `count` times as `blas.gemm_f32` does where it takes tiles; return whether it does."""
    done = True
    for _ in range(count):
        done &= tiled.try_multiply(ta, tb, m, n, k, np.float32(1), a, lda, b, ldb, beta, c, n)
    return done


@numba.njit(nogil=True)
def _blas(count, ta, tb, m, n, k, a, lda, b, ldb, beta, c):  # type: ignore[no-untyped-def]
    """Multiply `count` times by BLAS."""
    for _ in range(count):
        blas._blas_gemm(tb, ta, n, m, k, np.float32(1), b, ldb, a, lda, beta, c, n)


def _seconds(function: Callable[..., Any], count: int, arguments: tuple[Any, ...]) -> float:
    begin = time.perf_counter()
    function(count, *arguments)
    return (time.perf_counter() - begin) / count


def _numbers(size: int) -> np.ndarray:
    """An array that begins at a cache line, as the buffers of programs do."""
    out = aligned_zeros(size, np.float32)
    out[:] = np.random.default_rng(0).normal(size=size)
    return out


def rates(ta: bool, tb: bool, m: int, n: int, k: int) -> tuple[float, float | None]:
    """Gflop/s of BLAS, and of tiles where they are taken; the fastest of turns that alternate."""
    beta = np.float32(1) if ta else np.float32(0)
    arguments = ta, tb, m, n, k, _numbers(m * k), m if ta else k, _numbers(k * n), k if tb else n, beta, _numbers(m * n)
    taken = _ours(1, *arguments)
    count = max(1, round(SECONDS / _seconds(_blas, 2, arguments)))
    pairs = [(_seconds(_blas, count, arguments), _seconds(_ours, count, arguments)) for _ in range(TURNS)]
    theirs, ours = (2e-9 * m * n * k / min(column) for column in zip(*pairs, strict=True))
    return theirs, ours if taken else None


def run(peers: list[str]) -> dict[str, Any]:
    """A table for each form, of layers and rows."""
    blas.enter_single()
    try:
        tables = [
            {
                "columns": [name, *(f"{rows} rows" for rows in SLABS)],
                "rows": [
                    [f"{a} → {b}", *(_cell(*rates(ta, tb, *sizes(rows, a, b))) for rows in SLABS)] for a, b in LAYERS
                ],
            }
            for name, ta, tb, sizes in FORMS
        ]
    finally:
        blas.leave_single()
    return {
        "title": "Products of a slab of rows, float32, one thread",
        "tables": tables,
        "notes": ["Gflop/s of BLAS → of what `ppl` does; a single figure where that is BLAS."],
    }


def _cell(theirs: float, ours: float | None) -> str:
    return f"{theirs:.0f}" if ours is None else f"{theirs:.0f} → {ours:.0f}"
