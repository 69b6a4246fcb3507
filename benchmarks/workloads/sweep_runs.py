"""A sweep of 24 runs on two workers, of which three fail and one is killed, and the call that takes it up."""

from __future__ import annotations

import functools
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import ppl
from benchmarks.timing import check
from ppl.estimators import DisARM, ScoreFunction

RUNS, STEPS = 24, 2000
GRID = {"estimator": {"DisARM": DisARM(), "score": ScoreFunction("moving_average")}, "seed": range(12)}
FAILING, KILLED = (2, 5, 9), 7


@ppl.model
def units() -> None:
    """Twenty units that a cost barely prefers to be off."""
    b = ppl.sample("b", ppl.Bernoulli(logits=ppl.param("logit", np.zeros(20))))
    ppl.cost("cost", np.sum((b - 0.499) ** 2))


def build(estimator: Any, seed: int, folder: str) -> Any:
    """Three runs of DisARM fail, and one of them kills its worker half-way, once."""
    chosen = isinstance(estimator, DisARM)
    if chosen and seed in FAILING:
        raise ValueError(f"seed {seed} fails")
    program = ppl.compile(units, estimators={"b": estimator})
    mark = Path(folder, "killed")

    def callback(step: int, state: Any, metrics: Any) -> None:
        if chosen and seed == KILLED and step >= STEPS // 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    callback.every = 100  # type: ignore[attr-defined]
    return functools.partial(ppl.fit, program, steps=STEPS, optimizer=ppl.optim.SGD(1.0), callback=callback)


def run(peers: list[str]) -> dict[str, Any]:
    """The sweep, the call after it, and the same runs one after the other in this process."""
    with tempfile.TemporaryDirectory() as folder:
        grid = {**GRID, "folder": folder}
        first, seconds = _timed(grid, "joblib", f"{folder}/out")
        second, again = _timed(grid, "joblib", f"{folder}/out")
        alone, serial = _timed(grid, "serial", f"{folder}/alone")
    counts = [[row["status"] for row in sweep] for sweep in (first, second)]
    row = next(r for r in second if r["estimator"] == "DisARM" and r["seed"] == KILLED)
    same = [a["loss"] for a in second if a["status"] == "done"] == [a["loss"] for a in alone if a["status"] == "done"]
    return {
        "title": f"A sweep of {RUNS} runs, three of which fail and one is killed",
        "checks": [
            check("first call: done", counts[0].count("done"), 20, "", at_most=False),
            check("first call: failed", counts[0].count("failed"), 3, ""),
            check("first call: killed", counts[0].count("killed"), 1, ""),
            check("second call: done", counts[1].count("done"), 21, "", at_most=False),
            check("attempts at the killed run", row["attempts"], 2, ""),
            check("losses that differ from those of one process", 0.0 if same else 1.0, 0, ""),
        ],
        "notes": [
            f"First call {seconds:.1f} s on two workers of one thread, second {again:.1f} s.",
            f"All in one process: {serial:.1f} s.",
            f"The killed run: {next(r['error'] for r in first if r['status'] == 'killed')}.",
        ],
    }


def _timed(grid: dict[str, Any], backend: str, folder: str) -> tuple[ppl.Sweep, float]:
    began = time.perf_counter()
    found = ppl.sweep(build, grid, backend, folder, workers=2, every=100, progress=False)
    return found, time.perf_counter() - began
