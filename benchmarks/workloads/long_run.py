"""A million steps on a stream: memory over time, a history in a file, checkpoints by a policy, and a kill between."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import ppl
from benchmarks.timing import check

STEPS, KILLED_AT, LOOK = 1_000_000, 400_000, 50_000
ROOT = Path(__file__).parents[2]
CHILD = "import sys\nfrom benchmarks.workloads.long_run import train\ntrain(sys.argv[1], sys.argv[2])"


@ppl.model
def units(x: Any) -> None:
    """Four binary units per row with moving-average baselines."""
    with ppl.plate("data", x) as x:
        score = ppl.estimators.ScoreFunction("moving_average")
        b = ppl.sample("b", ppl.Bernoulli(logits=ppl.dense("up", x, 4)), estimator=score)
        ppl.cost("fit", (np.sum(b) - np.sum(x)) ** 2)


def rows(epoch: int, start: int) -> Any:
    """A thousand batches of 32 rows of a pass, a function of its number."""
    for i in range(start, 1000):
        yield np.random.default_rng([epoch, i]).random((32, 8), np.float32)


def train(folder: str, name: str) -> None:
    """The run, which prints step and resident megabytes; called again, it goes on."""

    def look(step: int, state: Any, metrics: Any) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        print(step, pages * os.sysconf("SC_PAGE_SIZE") / 2**20, flush=True)

    look.every = LOOK  # type: ignore[attr-defined]
    held_out = np.random.default_rng(0).random((100, 8), np.float32)
    ppl.fit(
        ppl.compile(units, data=held_out), batches=rows, prefetch=4, total_rows=32_000, steps=STEPS, seed=1,
        optimizer=ppl.optim.Adam(1e-3), validation=held_out, history=f"{folder}/{name}.csv", callback=look,
        progress=False,
        checkpoint=ppl.Checkpoints(f"{folder}/{name}.npz", 20_000, keep=3, best=True),
    )  # fmt: skip


def run(peers: list[str]) -> dict[str, Any]:
    """One run that is killed and taken up, and one that is not."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        first = _child(folder, "killed", KILLED_AT)
        second = _child(folder, "killed", None)
        seconds = time.perf_counter() - began
        whole = _child(folder, "whole", None)
        same = all(_bytes(folder, "killed", end) == _bytes(folder, "whole", end) for end in ("csv", "npz"))
        history = ppl.load_history(f"{folder}/killed.csv")
        steps, checks = len(history["step"]), len(history["validation"])
        kept = sorted(p.name for p in Path(folder).glob("killed*.npz"))
        size = Path(folder, "killed.csv").stat().st_size / 2**20
    grown = whole[-1][1] - whole[0][1]
    memory = ", ".join(f"{step // 1000}k {mb:.0f}" for step, mb in whole[:: len(whole) // 5])
    return {
        "title": f"{STEPS:,} steps on a stream, killed at {KILLED_AT:,} and taken up",
        "checks": [
            check(f"resident memory at {STEPS:,} steps less that at {LOOK:,}", grown, 8, "MB"),
            check("steps in the file of the history", steps, STEPS, "", at_most=False),
            check("files that differ from those of a run that was not killed", 0.0 if same else 1.0, 0, ""),
        ],
        "notes": [
            f"{seconds:.0f} s in all; killed after step {first[-1][0]:,}, gone on to {second[-1][0]:,}.",
            f"Resident MB of the run that was not killed, by steps: {memory}.",
            f"The history has {steps:,} steps and {checks:,} validations in {size:.0f} MB.",
            f"Checkpoints kept: {', '.join(kept)}.",
        ],
    }


def _child(folder: str, name: str, killed_at: int | None) -> list[tuple[int, float]]:
    """Steps and megabytes that a process prints, which is killed some time behind a step."""
    command = [sys.executable, "-c", CHILD, folder, name]
    found = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            step, megabytes = line.split()
            found.append((int(step), float(megabytes)))
            if killed_at is not None and found[-1][0] >= killed_at:
                process.kill()
                break
    assert killed_at is not None or process.returncode == 0
    return found


def _bytes(folder: str, name: str, ending: str) -> bytes:
    return Path(folder, f"{name}.{ending}").read_bytes()
