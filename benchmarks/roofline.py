"""What the machine charges for a step: its products at the measured rate of sgemm, its bytes at that of a triad."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from benchmarks.machine import Product
from benchmarks.peer import THREADS
from ppl.kernels.cpu.measurement import triad
from ppl.program.roofline import time_best_of

SIDE = 384


class Work(NamedTuple):
    """What a step cannot do without: floating-point operations of its products, and bytes to and from memory.

    The bytes are those of parameters and optimizer state, read and written once, and of the data read; activations and
    gradients can stay in cache. `footprint` is the size of all of them in memory.
    """

    flops: int
    bytes: int
    footprint: int


class Roof(NamedTuple):
    """Seconds that the flops and the bytes of a step take at the measured rates, and those rates per second."""

    flops_seconds: float
    bytes_seconds: float
    flops_rate: float
    bytes_rate: float

    @property
    def seconds(self) -> float:
        """The larger of the two: no step is faster."""
        return max(self.flops_seconds, self.bytes_seconds)


def work(parameters: int, words: int, data: int = 0, products: Sequence[Product] = ()) -> Work:
    """The work of a step on float32 parameters of which `words` numbers are read or written each, and `data` numbers.

    `words` is 2 for SGD (the parameter in and out), 6 for Adam (two moments besides).
    """
    numbers = parameters * words // 2
    return Work(sum(p.flops for p in products), 4 * (parameters * words + data), 4 * (numbers + data))


def roof(step: Work) -> Roof:
    """The roof of a step, by rates measured now."""
    flops_rate, bytes_rate = gemm_rate(), triad_rate(step.footprint)
    return Roof(step.flops / flops_rate, step.bytes / bytes_rate, flops_rate, bytes_rate)


class Pace:
    """The calibration product: one of 384 × 384 matrices on each of two threads at once, BLAS on one thread each.

    A call returns its median seconds over some repeats: what the machine, and whoever shares it, allows at the moment.
    Every thread keeps to a core of its own, where the system can: after a pause it may wake both on one.
    """

    def __init__(self, threads: int = THREADS):
        rng = np.random.default_rng(0)
        self.left, self.right = rng.standard_normal((2, SIDE, SIDE)).astype(np.float32)
        self.outs = [np.empty_like(self.left) for _ in range(threads)]
        self.workers = [ThreadPoolExecutor(1, initializer=_keep_to, initargs=(i,)) for i in range(threads)]
        self()

    def __call__(self, repeats: int = 5) -> float:
        """Median seconds of the products."""
        return float(np.median([self._once() for _ in range(repeats)]))

    def _once(self) -> float:
        pairs = zip(self.workers, self.outs, strict=True)
        begin = time.perf_counter()
        for done in [worker.submit(np.dot, self.left, self.right, out) for worker, out in pairs]:
            done.result()
        return time.perf_counter() - begin


def _keep_to(core: int) -> None:
    """Keep the calling thread on one of the process's cores."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[core % len(cores)]})


@functools.cache
def gemm_rate(side: int = 1024, repeats: int = 7) -> float:
    """Best flops per second of two float32 products of `side` × `side` matrices, each on one thread."""
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, side, side)).astype(np.float32)
    outs = [np.empty_like(left) for _ in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        seconds = time_best_of(lambda: [*pool.map(lambda out: np.dot(left, right, out=out), outs)], repeats)
    return THREADS * 2 * side**3 / seconds


@functools.cache
def triad_rate(footprint: int, repeats: int = 15) -> float:
    """Best bytes per second of a = b + 3 c on two threads, three float32 arrays of `footprint` bytes together."""
    n = max(footprint // 12, 1 << 15)
    a, b, c = np.ones((3, n), np.float32)
    with ThreadPoolExecutor(THREADS) as pool:
        parts = [(x[0], x[1], x[2]) for x in zip(*(np.array_split(v, THREADS) for v in (a, b, c)), strict=True)]
        inner = max(1, (1 << 22) // n)
        seconds = time_best_of(lambda: [*pool.map(lambda part: triad(*part, np.float32(3), inner), parts)], repeats)
    return 12 * n * inner / seconds
