"""``python -m benchmarks.busy [--codes W1,W3] [--seconds 10]``: steps on a machine that has other work.

Takes steps of the suite's workloads, of a VAE on 256 rows and of a mixture on 100,000, on one thread and on two, in
turns; first alone, then with a process on each core that does nothing but count. Every figure is a median over the
steps, or calls of many steps, of the given seconds. Two goals: two threads on a busy machine take at most 2.5 times
what they take alone, and at most 1.2 times what one thread takes beside the same processes.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np

import ppl
from benchmarks import machine, ours, suite, timing
from benchmarks.data import bits
from benchmarks.forms import Form
from ppl.models import gmm, vae

LOADED, BESIDE_ONE = 2.5, 1.2
"""The goals: two threads, busy over alone; two threads over one, both busy."""
TURN = 0.5
"""Seconds of a turn."""
COUNT = "import os, sys\nif hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, {%d})\nwhile True: pass"
WORKLOADS = ("W1", "W2", "W3", "W3d", "W4", "W5", "W6", "W7", "W8", "VAE", "GMM")


class Times(NamedTuple):
    """Median seconds of a step, alone and busy, on one thread and on two."""

    alone_one: float
    alone_two: float
    busy_one: float
    busy_two: float

    @property
    def loaded(self) -> float:
        """Two threads: busy over alone."""
        return self.busy_two / self.alone_two

    @property
    def beside_one(self) -> float:
        """Busy: two threads over one."""
        return self.busy_two / self.busy_one

    @property
    def kept(self) -> bool:
        """Whether both goals are."""
        return self.loaded <= LOADED and self.beside_one <= BESIDE_ONE


def variational() -> dict[str, Form]:
    """The VAE of the suite on 256 rows."""
    objective = ppl.elbo(vae.generative.bind(latent=20, hidden=400), vae.guide.bind(latent=20, hidden=400))
    program = ppl.compile(objective, data=ppl.spec((None, 784), np.float32))
    return ours.forms(program, ppl.optim.Adam(1e-3), bits(), 256)


def mixture() -> dict[str, Form]:
    """The marginal likelihood of a mixture of three Gaussians on 100,000 rows of four numbers."""
    x = np.random.default_rng(0).normal(size=(100_000, 4)).astype(np.float32)
    program = ppl.compile(gmm.METHODS["marginal"][0], data=ppl.spec((None, 4), np.float32))
    return ours.forms(program, ppl.optim.Adam(1e-3), x, len(x), steps=10)


def forms_of(code: str) -> dict[str, Form]:
    """The ways of stepping that Python calls."""
    if code in suite.CODES:
        found = importlib.import_module(f"benchmarks.workloads.{suite.CODES[code]}").forms()
    else:
        found = {"VAE": variational, "GMM": mixture}[code]()
    return {label: form for label, form in found.items() if "njit" not in label}


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """A process that counts on each core that this one may use."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    others = [subprocess.Popen([sys.executable, "-c", COUNT % core]) for core in cores]
    time.sleep(0.5)
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def in_turns(form: Form, seconds: float) -> tuple[float, float]:
    """Median seconds of a step on one thread and on two, each of so many seconds of steps."""
    found: tuple[list[float], list[float]] = [], []
    spent = [0.0, 0.0]
    while min(spent) < seconds or min(map(len, found)) < 3:
        for i, times in enumerate(found):
            numba.set_num_threads(i + 1)
            form.wait(form.call())
            end = time.perf_counter() + min(TURN, seconds)
            while True:
                began = time.perf_counter()
                form.wait(form.call())
                now = time.perf_counter()
                times.append((now - began) / form.steps)
                spent[i] += now - began
                if now > end:
                    break
    return statistics.median(found[0]), statistics.median(found[1])


def measure(codes: Sequence[str], seconds: float) -> Iterator[tuple[str, Times]]:
    """The times of every form of the workloads."""
    with suite.two_threads():
        for code in codes:
            forms = forms_of(code)
            for form in forms.values():
                for threads in (1, 2):
                    numba.set_num_threads(threads)
                    form.wait(form.call())
            alone = {label: in_turns(form, seconds) for label, form in forms.items()}
            with busy_cores():
                for label, form in forms.items():
                    yield f"{code}, {label}", Times(*alone[label], *in_turns(form, seconds))


def page(found: Mapping[str, Times], seconds: float) -> str:
    """The table as Markdown."""
    info, kept = machine.info(), sum(t.kept for t in found.values())
    lines = [
        "# Steps on a machine with other work",
        "",
        f"A step on one thread and on two, alone and beside one busy process on each core; medians over {seconds:g} s "
        "each, in turns of half a second, float32. `python -m benchmarks.busy` measures them again. Goals: two "
        f"threads, busy over alone, ≤ {LOADED}; two threads over one, both busy, ≤ {BESIDE_ONE}.",
        "",
        "| step | one, alone | two, alone | one, busy | two, busy | busy / alone, two | two / one, busy | |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(label, times) for label, times in found.items()),
        "",
        f"{kept} of {len(found)} keep both goals. {datetime.date.today().isoformat()}, {info['cpu']}, "
        f"{info['usable_cores']} cores.",
    ]
    return "\n".join(lines) + "\n"


def _row(label: str, times: Times) -> str:
    cells = [label, *map(timing.duration, times), f"{times.loaded:.2f}", f"{times.beside_one:.2f}"]
    return "| " + " | ".join([*cells, "kept" if times.kept else "**missed**"]) + " |"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write ``busy.md``; the status is 1 where a goal is missed and ``--check`` asks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy", description=__doc__)
    parser.add_argument("--codes", default=",".join(WORKLOADS), help="workloads, by code; also VAE and GMM")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds of each figure")
    parser.add_argument("--out", type=Path, default=timing.RESULTS, help="folder for the page")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a goal is missed")
    options = parser.parse_args(argv)
    found = {}
    for label, times in measure(options.codes.split(","), options.seconds):
        found[label] = times
        print(_row(label, times), flush=True)
    (options.out / "busy.md").write_text(page(found, options.seconds), encoding="utf-8")
    return int(options.check and not all(t.kept for t in found.values()))


if __name__ == "__main__":
    sys.exit(main())
