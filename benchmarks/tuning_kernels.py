"""Thresholds of `ppl.tuning` that compiled kernels choose their way by; both ways are called here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np

from benchmarks.tuning import Question, Way, around, crossover
from ppl.kernels.cpu import data_checks
from ppl.kernels.cpu.products import blas, tiled
from ppl.kernels.cpu.products.sparse_algorithms import add_rows_f32, pack_nonzeros, tabled_f32
from ppl.kernels.cpu.threads.pool import start
from ppl.kernels.cpu.threads.thread_count import num_threads
from ppl.kernels.cpu.training import optimizers, parallel_optimizers
from ppl.runtime.buffers import aligned_zeros

ROWS, INNER, COLUMNS = 50, 784, 200

ONE, ZERO = np.float32(1), np.float32(0)


@numba.njit(nogil=True)
def _gemm(ta, tb, m, n, k, a, lda, b, ldb, beta, c):  # type: ignore[no-untyped-def]
    """The product that dense data take."""
    blas.gemm_f32(ta, tb, m, n, k, ONE, a, lda, b, ldb, beta, c, n)


@numba.njit(nogil=True)
def _library(ta, tb, m, n, k, a, lda, b, ldb, beta, c):  # type: ignore[no-untyped-def]
    """BLAS."""
    blas._blas_gemm(tb, ta, n, m, k, ONE, b, ldb, a, lda, beta, c, n)


@numba.njit(nogil=True)
def _dots(m, n, k, a, b, c):  # type: ignore[no-untyped-def]
    """Tiles of scalar products."""
    tiled._dots(m, n, k, ONE, a, k, b, k, ZERO, c, n)


@numba.njit(nogil=True)
def _outer(by_rows, m, n, k, a, b, c):  # type: ignore[no-untyped-def]
    """Tiles of outer products, the first operand transposed and the result added to."""
    tiled._outer(True, by_rows, m, n, k, ONE, a, m, b, n, ONE, c, n)


@numba.njit(nogil=True)
def _add_rows(m, n, k, a, b, c):  # type: ignore[no-untyped-def]
    """Selected rows added up."""
    add_rows_f32(m, n, k, pack_nonzeros(m, k, a, False, k), a, k, 1, b, n, True, c, n)


@numba.njit(nogil=True)
def _tabled(m, n, k, a, b, c):  # type: ignore[no-untyped-def]
    """Tables of the sums of four rows."""
    tabled_f32(m, n, k, pack_nonzeros(m, k, a, False, k), b, False, n, True, c, n)


def numbers(size: int) -> np.ndarray:
    """An array that begins at a cache line."""
    out = aligned_zeros(size, np.float32)
    out[:] = np.random.default_rng(0).normal(size=size)
    return out


def data(m: int, share: float) -> np.ndarray:
    """Zeros and ones, of which a share are ones."""
    out = aligned_zeros(m * INNER, np.float32)
    out[:] = np.random.default_rng(1).random(m * INNER) < share
    return out


def questions() -> Iterator[Question]:
    """Times around each number; products on one thread."""
    blas.enter_single()
    try:
        yield from products()
    finally:
        blas.leave_single()
    yield crossover("UPDATED_BY_ALL", "parameters of a step of Adam, one thread and all", updates,
                    around("UPDATED_BY_ALL"), shared=True)  # fmt: skip
    yield crossover(
        "CHECKED_BY_ALL", "entries of a data array, one thread and all", passes, around("CHECKED_BY_ALL"), shared=True
    )


def products() -> Iterator[Question]:
    """Products of dense data, of data that are mostly zeros, and of bits."""
    shape = f"{ROWS} x {INNER} x {COLUMNS}"
    yield crossover("ZEROS_PER_ROW", f"entries per non-zero, {shape}: dense, rows added up",
                    lambda ratio: sparse(ROWS, 1 / ratio, dense_way), (2, 3, 4, 6, 8))  # fmt: skip
    yield crossover("ZEROS_PER_BIT", f"entries per one, bits, {shape}: tables, rows added up",
                    lambda ratio: sparse(ROWS, 1 / ratio, tabled_way), (2, 3, 5, 8, 12))  # fmt: skip
    yield crossover("TABLED_ROWS", f"rows of bits, half of them ones, x {INNER} x {COLUMNS}: dense, tables",
                    tables, (4, 8, 12, 16, 24, 32))  # fmt: skip
    yield crossover("DOT_TERMS", "terms of 50 x 200 scalar products: BLAS, tiles",
                    lambda k: dots(50, 200, k), (24, 48, 96, 192))  # fmt: skip
    yield crossover("REREAD_ENTRIES", "entries of x in x Wᵀ, 256 columns, 512 terms: tiles, BLAS",
                    lambda size: dots(size // 512, 256, 512)[::-1], around("REREAD_ENTRIES"))  # fmt: skip
    yield crossover("STREAMED_ENTRIES", "entries of a weight gradient of 100 rows, tiles down its columns: tiles, BLAS",
                    outer, around("STREAMED_ENTRIES"))  # fmt: skip


def dense_way(m: int, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> Way:
    """The product as if nothing were known of the data."""
    return lambda: _gemm(False, False, m, COLUMNS, INNER, a, INNER, b, COLUMNS, ZERO, c)


def tabled_way(m: int, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> Way:
    """The product by tables."""
    return lambda: _tabled(m, COLUMNS, INNER, a, b, c)


def sparse(m: int, share: float, other: Callable[..., Way]) -> tuple[Way, Way]:
    """Another way, and selected rows added up."""
    a, b, c = data(m, share), numbers(INNER * COLUMNS), numbers(m * COLUMNS)
    return other(m, a, b, c), lambda: _add_rows(m, COLUMNS, INNER, a, b, c)


def tables(m: int) -> tuple[Way, Way]:
    """Dense, and by tables."""
    arrays = data(m, 0.5), numbers(INNER * COLUMNS), numbers(m * COLUMNS)
    return dense_way(m, *arrays), tabled_way(m, *arrays)


def dots(m: int, n: int, k: int) -> tuple[Way, Way]:
    """BLAS, and tiles of scalar products."""
    a, b, c = numbers(m * k), numbers(n * k), numbers(m * n)
    return lambda: _library(False, True, m, n, k, a, k, b, k, ZERO, c), lambda: _dots(m, n, k, a, b, c)


def outer(size: int) -> tuple[Way, Way]:
    """Tiles of outer products, and BLAS, for a gradient of so many entries."""
    m, n, k = size // 512, 512, 100
    a, b, c = numbers(m * k), numbers(n * k), numbers(m * n)
    return lambda: _outer(False, m, n, k, a, b, c), lambda: _library(True, False, m, n, k, a, m, b, n, ONE, c)


def updates(size: int) -> tuple[Way, Way]:
    """Adam on one thread, and on all."""
    arrays: list[Any] = [numbers(size) for _ in range(7)]
    arrays[6][:] = np.abs(arrays[6])
    rest = (np.float32(1e-3), np.float32(0.9), np.float32(0.999), np.float32(1e-8), 3, ONE)

    def shared() -> None:
        start(num_threads())
        parallel_optimizers.adam_into(*arrays, *rest, num_threads())

    return lambda: optimizers.adam_into(*arrays, *rest), shared


def passes(size: int) -> tuple[Way, Way]:
    """A count of what lies between two numbers, on one thread and on all."""
    x, low, high = numbers(size), np.float32(-1), np.float32(1)
    counts = np.zeros(-(-size // data_checks.CHECK_CHUNK), np.int64)

    def shared() -> None:
        start(num_threads())
        data_checks._count_in_chunks(counts, x, low, high, num_threads())

    return lambda: data_checks._count(x, low, high), shared
