"""A million steps on rows in memory and on a stream: memory over time, files of the history, and kills."""

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

LENGTHS = {"rows": 1_000_000, "stream": 1_000_000}
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
    """A run, which prints step and resident megabytes; called again, it goes on."""
    kind = name.partition("-")[0]
    steps = LENGTHS[kind]

    def look(step: int, state: Any, metrics: Any) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        print(step, pages * os.sysconf("SC_PAGE_SIZE") / 2**20, flush=True)

    look.every = steps // 20  # type: ignore[attr-defined]
    held_out = np.random.default_rng(0).random((100, 8), np.float32)
    data = [np.random.default_rng(1).random((32_000, 8), np.float32)] if kind == "rows" else []
    source = {"batch_size": 32} if data else {"batches": rows, "prefetch": 4, "total_rows": 32_000}
    ppl.fit(
        ppl.compile(units, data=held_out), *data, **source, steps=steps, seed=1,
        optimizer=ppl.optim.Adam(1e-3), validation=held_out, history=f"{folder}/{name}.csv", callback=look,
        progress=False,
        checkpoint=ppl.Checkpoints(f"{folder}/{name}.npz", steps // 50, keep=3, best=True),
    )  # fmt: skip


def run(peers: list[str]) -> dict[str, Any]:
    """Runs that are killed and taken up; the stream's is compared with one that was not killed."""
    checks, notes = [], []
    with tempfile.TemporaryDirectory() as folder:
        for kind, steps in LENGTHS.items():
            name, began = f"{kind}-killed", time.perf_counter()
            first = _child(folder, name, 2 * steps // 5)
            second = _child(folder, name, None)
            seconds = time.perf_counter() - began
            history = ppl.load_history(f"{folder}/{name}.csv")
            whole = np.array_equal(history["step"], np.arange(1, steps + 1))
            checks.append(check(f"{kind}: memory at {steps:,} steps less that at {second[0][0]:,}",
                                second[-1][1] - second[0][1], 8, "MB"))  # fmt: skip
            checks.append(check(f"{kind}: steps that the file lacks", 0.0 if whole else 1.0, 0, ""))
            notes += _notes(folder, name, first, second, seconds, len(history["validation"]))
        _child(folder, "stream-whole", None)
        same = all(
            _bytes(folder, "stream-killed", end) == _bytes(folder, "stream-whole", end) for end in ("csv", "npz")
        )
        checks.append(check("stream: files that differ without the kill", 0.0 if same else 1.0, 0, ""))
    return {"title": "A million steps, killed on the way and taken up", "checks": checks, "notes": notes}


def _notes(folder: str, name: str, first: Any, second: Any, seconds: float, validations: int) -> list[str]:
    memory = ", ".join(f"{step // 1000}k {mb:.0f}" for step, mb in [*first, *second][::3])
    kept = ", ".join(sorted(p.name for p in Path(folder).glob(f"{name}*.npz")))
    size = Path(folder, f"{name}.csv").stat().st_size / 2**20
    return [
        f"{name}: {seconds:.0f} s in all, beside other work; killed after step {first[-1][0]:,}, then taken up.",
        f"{name}: resident MB by steps: {memory}.",
        f"{name}: {validations:,} validations; the history's file has {size:.0f} MB; checkpoints kept: {kept}.",
    ]


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
