"""``python -m benchmarks.threads [--seconds 2]``: steps on 1, 2, 4, 8, 16 and 64 threads, as expected and as measured.

The expected time of a step on n threads is what one thread does alone, plus the rest by the slabs that the busiest
thread takes, plus the regions that it enters:

    T(n) = alone + rest ceil(slabs / n) / slabs + regions enter(n)

`alone`, `rest` and `enter(2)` are measured on one thread and on two; a caller writes a line of memory for each lane, so
that `enter` is taken to grow in proportion. On a machine with more cores the table shows what was measured, too. What
the expectation leaves out: memory that all cores share, and cores that are slower together."""

from __future__ import annotations

import argparse
import datetime
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
from threadpoolctl import threadpool_limits

import ppl
from benchmarks import machine, timing
from benchmarks.data import bits
from ppl.kernels.cpu.threads.pool import start
from ppl.kernels.cpu.threads.regions import on_threads
from ppl.kernels.cpu.threads.thread_count import available_cores
from ppl.kernels.decorators import jit
from ppl.models import gmm, vae
from ppl.tuning import THREADS_WITH_COPIES, UPDATED_BY_ALL

COUNTS = (1, 2, 4, 8, 16, 64)

LINE = 128
"""Bytes that a caller writes for each lane, and for the region."""


class Case(NamedTuple):
    """A step, its slabs, regions, and bytes: of a slab's sums, and of the parameters."""

    label: str
    step: Callable[[], object]
    slabs: int
    regions: int
    sums: int
    params: int

    def shared(self, threads: int) -> int:
        """Bytes that a region's caller writes and its threads read, beside their rows."""
        return LINE * (1 + min(threads, self.slabs))

    def copies(self, threads: int) -> int:
        """Bytes of the copies of the parameters."""
        large = self.params >= 4 * UPDATED_BY_ALL
        return (threads - 1) * self.params if large and threads <= THREADS_WITH_COPIES else 0

    def busiest(self, threads: int) -> int:
        """Slabs of the thread that has most."""
        return -(-self.slabs // min(threads, self.slabs))

    def expected(self, threads: int, one: float, two: float, enter: float) -> float:
        """Seconds of a step on so many threads, from those on one and two."""
        gained = 1 - self.busiest(2) / self.slabs
        rest = min(one, max(0.0, one + self.regions * enter - two) / gained) if gained else 0.0
        alone = one - rest
        entered = self.regions * enter * min(threads, self.slabs) / 2 if threads > 1 else 0.0
        return alone + rest * self.busiest(threads) / self.slabs + entered


def cases() -> Iterator[Case]:
    """A VAE on 100 and 1000 rows, and a mixture on 100,000."""
    objective = ppl.elbo(vae.generative.bind(latent=20, hidden=400), vae.guide.bind(latent=20, hidden=400))
    program = ppl.compile(objective, data=ppl.spec((None, 784), np.float32))
    for rows in (100, 1000):
        yield case(f"VAE 784-400-20, {rows} rows", program, bits()[:rows])
    x = np.random.default_rng(0).normal(size=(100_000, 4)).astype(np.float32)
    program = ppl.compile(gmm.METHODS["marginal"][0], data=ppl.spec((None, 4), np.float32))
    yield case("mixture, 100,000 rows", program, x)


def case(label: str, program: Any, x: np.ndarray) -> Case:
    """A gradient of a program on some rows."""
    state = program.init(0, x)
    exe = program.prepare(x).executable("gradient")
    sizes = exe._sizes({name: len(x) for name in exe.plate_names}, 1, 1)
    sums = 4 * sum(size.evaluate(sizes) for size in exe.memory.slab.values())
    slabs, params = exe._slabs(sizes), 4 * exe.n_params
    return Case(label, lambda: program.value_and_grad(state, x), slabs, exe.regions, sums, params)


@jit
def _nothing(part: int, parts: int, lane: int, out: Any) -> None:
    out[part] = 0


@jit
def _enter(out: Any, threads: int, times: int) -> None:
    for _ in range(times):
        on_threads(_nothing, (out,), out.shape[0], threads)


def entering(threads: int) -> float:
    """Seconds to enter an empty region."""
    start(threads)
    out = np.zeros(threads, np.int64)
    _enter(out, threads, 1)
    times = []
    for _ in range(50):
        began = time.perf_counter()
        _enter(out, threads, 1000)
        times.append((time.perf_counter() - began) / 1000)
    return statistics.median(times)


def median(step: Callable[[], object], threads: int, seconds: float) -> float:
    """Median seconds of a step on so many threads."""
    numba.set_num_threads(threads)
    found: list[float] = []
    step()
    while sum(found) < seconds or len(found) < 5:
        began = time.perf_counter()
        step()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def rows(found: Case, seconds: float, enter: float) -> Iterator[str]:
    """The lines of one case."""
    most = min(available_cores(), numba.config.NUMBA_NUM_THREADS)
    measured = {n: median(found.step, n, seconds) for n in COUNTS if n <= most}
    for n in COUNTS:
        expected = found.expected(n, measured[1], measured[2], enter)
        cells = [found.label, n, found.busiest(n), f"{found.shared(n) / 1024:.1f}", f"{found.sums / 1024:.0f}",
                 f"{found.copies(n) / 2**20:.1f}", timing.duration(expected),
                 timing.duration(measured[n]) if n in measured else "-"]  # fmt: skip
        yield "| " + " | ".join(map(str, cells)) + " |"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write ``threads.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.threads", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds of each figure")
    parser.add_argument("--out", type=Path, default=timing.RESULTS, help="folder for the page")
    options = parser.parse_args(argv)
    if min(available_cores(), numba.config.NUMBA_NUM_THREADS) < 2:
        parser.error("one core: there is nothing to measure")
    with threadpool_limits(1, "blas"):
        enter, info = entering(2), machine.info()
        lines = [
            "# Steps on more threads, as expected and as measured",
            "",
            "`python -m benchmarks.threads` on a machine with more cores fills the last column. Expected: what one "
            "thread does alone, the rest by the slabs of the busiest thread, and the entries of regions, from the "
            "times on one thread and on two. KiB a region: what its caller writes for the others.",
            "",
            f"Entering an empty region with two threads: {timing.duration(enter)}.",
            "",
            "| gradient | threads | slabs of the busiest | KiB a region | KiB of a slab's sums | MiB of copies, in "
            "training | expected | measured |",
            "|---|---|---|---|---|---|---|---|",
            *(line for found in cases() for line in rows(found, options.seconds, enter)),
            "",
            f"{datetime.date.today().isoformat()}, {info['cpu']}, {info['usable_cores']} cores.",
        ]
    page = "\n".join(lines) + "\n"
    print(page)
    (options.out / "threads.md").write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
