"""``python -m benchmarks.embedding [--seconds 2]``: what a call from C costs over the same call from Numba.

A loop in C calls `program.cfunc()` by its address; a loop in Numba calls `program.njit` with the same arguments. Both
update the parameters, so that no call can be left out. They take turns; a figure is the least of many short ones, since
other work on the machine only adds. One goal: a call from C takes at most 50 ns more. Besides, the CPU time of a worker
process that reads a pickled program and takes a step, with its machine code on disk: the goal is one second.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import functools
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np

import ppl
from benchmarks import machine, timing
from ppl import Bernoulli, Normal
from ppl.estimators import Rebar, ScoreFunction
from ppl.models import vae

MORE, START = 50e-9, 1.0
"""The goals, in seconds: what a call from C takes more, and the CPU time of a worker's start."""
PLACES = 12
"""Times that all arrays are allocated again: where they lie in memory is worth some tens of nanoseconds."""

LOOP = """
#include "program.h"
#include <time.h>
double loop(program_fn fn, int64_t steps, REAL *params, REAL *grad, REAL *aux, REAL *hyper,
            void *work, int64_t length ROWS, double *loss)
{
    struct timespec began, ended;
    timespec_get(&began, TIME_UTC);
    for (int64_t t = 0; t < steps; t++) {
        (void)fn(params, grad, aux, hyper, 7, t, 0, 1.0, work, length GIVEN, loss);
        for (int i = 0; i < program_N_PARAMS; i++)
            params[i] -= (REAL)1e-6 * grad[i];
    }
    timespec_get(&ended, TIME_UTC);
    return (double)(ended.tv_sec - began.tv_sec) + 1e-9 * (double)(ended.tv_nsec - began.tv_nsec);
}
"""

WORKER = """
import pickle, sys, time
program, state, x = pickle.load(open(sys.argv[1], "rb"))
program.step(state, *x)
print(time.process_time())
"""


@ppl.model
def unit():
    """One binary unit."""
    b = ppl.sample("b", Bernoulli(logits=ppl.param("logit", 0.3)))
    ppl.cost("loss", (b - 0.499) ** 2)


@ppl.model
def units(x):
    """Three binary units a row."""
    with ppl.plate("data", x) as x:
        b = ppl.sample("b", Bernoulli(logits=ppl.dense("up", x, 3)))
        ppl.cost("fit", (np.sum(b * ppl.param("w", np.array([1.0, -2.0, 0.5]))) - x[0]) ** 2)


@ppl.model
def layers(x):
    """Two layers of 20 normal units a row."""
    with ppl.plate("data", x) as x:
        h = ppl.sample("h", Normal(np.tanh(ppl.dense("up", x, 20)), 1.0))
        ppl.cost("fit", np.sum((ppl.dense("down", h, 3) - x) ** 2))


class Case(NamedTuple):
    """A program and the rows of a call; 0 for a program without rows."""

    name: str
    model: Any
    estimator: Any
    dtype: str
    rows: int


CASES = (
    Case("one unit, no rows", unit, Rebar(), "float32", 0),
    Case("one unit, no rows", unit, Rebar(), "float64", 0),
    Case("three units, 1 row", units, ScoreFunction(), "float32", 1),
    Case("three units, 16 rows", units, ScoreFunction(), "float32", 16),
    Case("three units, 16 rows", units, ScoreFunction(), "float64", 16),
    Case("two layers, 16 rows", layers, "auto", "float32", 16),
    Case("two layers, 256 rows", layers, "auto", "float32", 256),
)


class Found(NamedTuple):
    """Seconds of a call from Numba and from C."""

    numba: float
    c: float

    @property
    def more(self) -> float:
        """What C takes more."""
        return self.c - self.numba


def from_numba(program: Any, arrays: tuple[np.ndarray, ...], x: tuple[np.ndarray, ...]) -> Callable[[int], float]:
    """A loop of calls in Numba."""
    step_fn, work = program.njit, program.workspace(max(1, *map(len, x), 1))
    rate = arrays[0].dtype.type(1e-6)

    @numba.njit
    def without(steps: Any, params: Any, grad: Any, aux: Any, hyper: Any, work: Any) -> None:
        for t in range(steps):
            step_fn(params, grad, aux, hyper, 7, t, 0, 1.0, work)
            for i in range(params.size):
                params[i] -= rate * grad[i]

    @numba.njit
    def with_rows(steps: Any, params: Any, grad: Any, aux: Any, hyper: Any, work: Any, rows: Any) -> None:
        for t in range(steps):
            step_fn(params, grad, aux, hyper, 7, t, 0, 1.0, work, rows)
            for i in range(params.size):
                params[i] -= rate * grad[i]

    loop = with_rows if x else without

    def run(steps: int) -> float:
        began = time.perf_counter()
        loop(steps, *arrays, work, *x)
        return time.perf_counter() - began

    return run


def from_c(
    program: Any, arrays: tuple[np.ndarray, ...], x: tuple[np.ndarray, ...], folder: Path
) -> Callable[[int], float]:
    """A loop of calls in C."""
    function = program.cfunc()
    function.header(folder / "program.h", "program")
    real = function.described.real
    source = LOOP.replace("REAL", real)
    source = source.replace("ROWS", f", int64_t rows, const {real} *x" if x else "")
    source = source.replace("GIVEN", ", rows, x" if x else "")
    (folder / "loop.c").write_text(source)
    compiler = [
        os.environ.get("CC", "gcc"),
        "-std=c11",
        "-O3",
        "-march=native",
        "-Wall",
        "-Werror",
        "-shared",
        "-fPIC",
        f"-I{folder}",
    ]
    library = folder / f"{time.perf_counter_ns()}.so"
    subprocess.run([*compiler, str(folder / "loop.c"), "-o", str(library)], check=True)
    length = function.work_len(*map(len, x))
    work, loss = np.zeros(length, np.uint8), np.zeros(1)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*arrays, work)]
    rows = [argument for a in x for argument in (ctypes.c_int64(len(a)), ctypes.c_void_p(a.ctypes.data))]
    loop = ctypes.CDLL(str(library)).loop
    loop.restype = ctypes.c_double  # its own clock: a call through ctypes takes microseconds
    last = ctypes.c_void_p(loss.ctypes.data)

    def run(steps: int) -> float:
        seconds: float = loop(
            ctypes.c_void_p(function.address), ctypes.c_int64(steps), *pointers, ctypes.c_int64(length), *rows, last
        )
        assert np.isfinite(loss[0]) and work.size == length and arrays  # which keeps them alive
        return seconds

    return run


def measure(case: Case, seconds: float, folder: Path) -> Found:
    """Least seconds of a call either way."""
    x = (np.random.default_rng(0).normal(size=(case.rows, 3)).astype(case.dtype),) if case.rows else ()
    program = ppl.compile(case.model, case.estimator, dtype=case.dtype, data=x or None)
    state = program.init(0)
    least = [np.inf, np.inf]
    for _ in range(PLACES):
        ways = [from_numba(program, program.arrays(state), x), from_c(program, program.arrays(state), x, folder)]
        steps = [_steps(way) for way in ways]
        end = time.perf_counter() + seconds / PLACES
        while time.perf_counter() < end:
            for i, way in enumerate(ways):
                least[i] = min(least[i], way(steps[i]) / steps[i])
    return Found(*least)


def _steps(way: Callable[[int], float]) -> int:
    """How many calls take about a millisecond."""
    way(10)
    return max(10, int(1000 * 1e-3 / way(1000)))


def worker_start(folder: Path) -> list[float]:
    """CPU seconds of processes that read a pickled program, and take a step with machine code from the disk."""
    x = (np.random.default_rng(0).random((64, 784)) < 0.3).astype(np.float32)
    objective = ppl.elbo(vae.generative.bind(latent=20, hidden=100), vae.guide.bind(latent=20, hidden=100))
    program = ppl.compile(objective, data=x)
    program.step(program.init(0), x)
    content = folder / "program.pickle"
    content.write_bytes(pickle.dumps((program, program.init(0), (x,))))
    command = [sys.executable, "-c", WORKER, str(content)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # byte code lies on the disk, as that of all packages
    run = functools.partial(subprocess.run, command, check=True, capture_output=True, text=True, env=environment)
    return sorted([float(run().stdout) for _ in range(6)][1:])


def report(found: dict[Case, Found], starts: list[float]) -> str:
    """The page."""
    lines = [
        "# Calls from C",
        "",
        "A call of `program.cfunc()` from a loop in C beside one of `program.njit` from a loop in Numba: the least of",
        f"many runs of about 1 ms, in turns, at {PLACES} places in memory. A call from C also lays its workspace out",
        "and looks whether all results are finite. `python -m benchmarks.embedding --write` measures them again. Goal:",
        "at most 50 ns more.",
        "",
        "| program | dtype | from Numba | from C | more | |",
        "|---|---|---|---|---|---|",
    ]
    for case, times in found.items():
        kept = "kept" if times.more <= MORE else "**missed**"
        row = (
            case.name,
            case.dtype,
            timing.duration(times.numba),
            timing.duration(times.c),
            f"{times.more * 1e9:.0f} ns",
            kept,
        )
        lines.append(f"| {' | '.join(row)} |")
    median = statistics.median(starts)
    kept = "kept" if median <= START else "**missed**"
    lines += [
        "",
        f"A worker process (imports, a pickled VAE, its first step with machine code from the disk) takes "
        f"{median:.2f} s of CPU time in the median of {len(starts)} ({starts[0]:.2f} to {starts[-1]:.2f}). "
        f"Goal: 1 s: {kept}.",
        "",
        f"{datetime.date.today().isoformat()}, {machine.info()['cpu']}, {os.cpu_count()} cores.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedding", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds of each program")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/embedding.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = {case: measure(case, options.seconds, Path(name)) for case in CASES}
        page = report(found, worker_start(Path(name)))
    print(page)
    if options.write:
        (Path(__file__).parent / "results" / "embedding.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
