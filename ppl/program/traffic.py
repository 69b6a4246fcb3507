"""The memory that each step of a program reads and writes, and the best rate of one core: the roofline of a profile."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ppl.compiler.lower.views import Poly, entries
from ppl.compiler.schedule.fusion import Op, Value
from ppl.compiler.schedule.stages import Cluster, Opaque

SIDE = 512


class Rates(NamedTuple):
    """Floating point operations, and bytes to and from memory, per second on one thread."""

    flops: float
    bytes: float

    def seconds(self, flops: int, moved: int) -> float:
        """The least time for so many operations and bytes."""
        return max(flops / self.flops, moved / self.bytes)


def moved(step: Cluster | Opaque, itemsize: int) -> Poly:
    """Bytes that a step over all rows reads and writes, each value once; scratch memory and tables aside."""
    if isinstance(step, Cluster):
        return sum((size * (itemsize if real else 8) for size, real in _of_cluster(step)), Poly())
    args = [] if step.node.op in ("noise", "rowid", "rowkey") else step.node.args
    if step.node.op in ("table_dot", "table_sum"):
        width = step.node.args[0].type.shape[-1]
        total = entries(step.node.args[1].type) * width + entries(step.node.args[2].type)
    else:
        total = sum((entries(a.type) for a in args), Poly())
    return (total + entries(step.node.type) * (2 if step.target.accumulates else 1)) * itemsize


def _of_cluster(cluster: Cluster) -> Iterator[tuple[Poly, bool]]:
    """(entries, whether they are of the program's float type) of every value that is read or written."""
    made = {op.target for op in cluster.ops}
    read: dict[Value, Poly] = {}
    for op in cluster.ops:
        for access in op.reads:
            if access.value not in made and access.value.buffer is not None:
                read[access.value] = _visits(op) if access.gather else access.value.extent()
    for value, size in read.items():
        yield size, value.dtype != "int"
    for value in made:
        if value.buffer is not None and value not in cluster.scratch:
            yield value.extent() * (2 if value.accumulates else 1), value.dtype != "int"


def _visits(op: Op) -> Poly:
    size = Poly.of(1)
    for dim in op.domain:
        size = size * dim.size
    return size


@functools.cache
def rates(dtype: str, footprint: int) -> Rates:
    """Measured now, on one thread: a product of 512 × 512 matrices, and a triad of vectors of `footprint` bytes.

    Parameters
    ----------
    dtype : "float32" or "float64"
    footprint : int
        Where the vectors lie decides how fast they are: that of what the program works on.
    """
    from ppl.kernels.cpu.memory.triad import triad
    from ppl.kernels.cpu.products import blas  # imports Numba

    gemm = blas.gemm_f32 if dtype == "float32" else blas.gemm_f64
    square, out = np.ones(SIDE * SIDE, dtype), np.empty(SIDE * SIDE, dtype)
    one = np.dtype(dtype).type(1)
    blas.enter_single()
    try:
        seconds = best_seconds(lambda: gemm(False, False, *[SIDE] * 3, one, square, SIDE, square, SIDE, one, out, SIDE))
    finally:
        blas.leave_single()
    n = max(footprint // (3 * out.itemsize), 1 << 12)
    a, b, c = np.ones((3, n), dtype)
    repeats = max(1, (1 << 20) // n)
    passes = best_seconds(lambda: triad(a, b, c, one, repeats))
    return Rates(2 * SIDE**3 / seconds, 3 * n * repeats * out.itemsize / passes)


def best_seconds(call: Callable[[], object], repeats: int = 7) -> float:
    """The least time of some calls, after one that is not counted."""
    call()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
