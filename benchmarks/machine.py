"""What a timing means on this machine: its description, and the time of bare matrix products in NumPy.

The time of a training step is judged against the sum of its products in NumPy, measured in the same run,
because that sum is what the machine itself charges for the work.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_info

PACKAGES = ("numba-ppl", "numba", "numpy", "scipy", "torch", "jax")


class Product(NamedTuple):
    """A matrix product (m, k) @ (k, n), done ``calls`` times in a step.

    ``transposed`` names the operand, ``"a"``, ``"b"`` or neither (``""``), that lies transposed in memory, as
    the activations do in the gradient of a weight matrix.
    """

    m: int
    k: int
    n: int
    calls: int = 1
    transposed: str = ""
    label: str = ""

    @property
    def flops(self) -> int:
        """Floating-point operations of all ``calls`` products."""
        return 2 * self.m * self.k * self.n * self.calls


class ProductTimes(NamedTuple):
    """Median seconds of every product (all its calls), and of one pass through them all."""

    each: tuple[float, ...]
    total: float


def product_times(
    products: Sequence[Product], dtype: str = "float32", repeats: int = 200, warmup: int = 20
) -> ProductTimes:
    """Time the products in NumPy, with its own threads, one pass after the other.

    Parameters
    ----------
    products : sequence of Product
        What one step multiplies, in its order.
    dtype : str
        Of all operands.
    repeats, warmup : int
        Passes timed, and passes before them.

    Returns
    -------
    ProductTimes
        Medians over the passes. Results go to buffers that exist before the clock starts.
    """
    calls = [call_of(product, dtype, seed) for seed, product in enumerate(products)]
    passes = [_one_pass(products, calls) for _ in range(warmup + repeats)][warmup:]
    each = tuple(statistics.median(column) for column in zip(*passes, strict=True))
    return ProductTimes(each, statistics.median(map(sum, passes)))


def _one_pass(products: Sequence[Product], calls: Sequence[Callable[[], object]]) -> list[float]:
    """Run every product once; return the seconds of each."""
    seconds = []
    for product, call in zip(products, calls, strict=True):
        begin = time.perf_counter()
        for _ in range(product.calls):
            call()
        seconds.append(time.perf_counter() - begin)
    return seconds


def call_of(product: Product, dtype: str, seed: int) -> Callable[[], object]:
    """Return a function that does one of the products, on operands of its own."""
    rng = np.random.default_rng(seed)
    left = _operand(rng, product.m, product.k, dtype, product.transposed == "a")
    right = _operand(rng, product.k, product.n, dtype, product.transposed == "b")
    out = np.empty((product.m, product.n), dtype)
    return lambda: np.dot(left, right, out=out)


def _operand(rng: np.random.Generator, rows: int, columns: int, dtype: str, transposed: bool) -> np.ndarray:
    """Return a random (rows, columns) matrix, in C order or as the transpose of one in C order."""
    if transposed:
        return rng.standard_normal((columns, rows)).astype(dtype).T
    return rng.standard_normal((rows, columns)).astype(dtype)


def info() -> dict[str, object]:
    """Return the processor, the system and the versions a result was measured with."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "blas": sorted(
            f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}".strip()
            + f", {pool['num_threads']} threads"
            for pool in threadpool_info()
            if pool["user_api"] == "blas"
        ),
    }


def cpu_model() -> str:
    """Return the processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _version(name: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
