"""Rows from files: steps of the belief net of W3 on arrays in memory, memory-mapped ones and streams, in turns."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import ppl
from benchmarks.data import bits
from benchmarks.step_models import compile_program
from benchmarks.timing import check
from benchmarks.workloads.sbn_step import BATCH

ROUNDS, STEPS = 9, 400

LIMIT = 1.05

UNAIDED = "stream of blocks of the file"


def run(peers: list[str]) -> dict[str, Any]:
    """Medians over rounds, and of the ratio to memory within a round."""
    program, x = compile_program(), bits()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.npy")
        np.save(path, x)
        ways = _ways(x, np.load(path, mmap_mode="r"))
        rounds = [{name: _seconds(program, way) for name, way in ways.items()} for _ in range(ROUNDS + 1)][1:]
    memory = "in memory"
    ratios = {n: statistics.median(r[n] / r[memory] for r in rounds) for n in ways if n != memory}
    times = {n: 1e3 * statistics.median(r[n] for r in rounds) / STEPS for n in ways}
    return {
        "title": f"Belief net of W3, batch {BATCH}: rows from memory, a mapped file and streams",
        "checks": [check(f"{n} / {memory}", ratio, LIMIT, "×") for n, ratio in ratios.items() if n != UNAIDED],
        "notes": [f"{name}: {value:.2f} ms a step" for name, value in times.items()]
        + [f"{UNAIDED}, without a thread that reads: {ratios[UNAIDED]:.2f} × in memory."]
        + [f"Medians over {ROUNDS} rounds of {STEPS} steps each in turns; the file is in the system's cache."],
    }


def _ways(x: np.ndarray, mapped: np.ndarray) -> dict[str, dict[str, Any]]:
    """What `ppl.fit` is given."""

    def batches(epoch: int, start: int) -> Any:
        for i in np.random.default_rng(epoch).permutation(len(x) // BATCH)[start:]:
            yield mapped[i * BATCH : (i + 1) * BATCH]

    return {
        "in memory": {"data": (x,), "batch_size": BATCH},
        "memory-mapped, rows shuffled, read ahead": {"data": (mapped,), "batch_size": BATCH, "prefetch": 16},
        "stream of blocks of the file, read ahead": {"batches": batches, "prefetch": 16, "total_rows": len(x)},
        UNAIDED: {"batches": batches, "total_rows": len(x)},
    }


def _seconds(program: Any, way: dict[str, Any]) -> float:
    began = time.perf_counter()
    options = {k: v for k, v in way.items() if k != "data"}
    ppl.fit(program, *way.get("data", ()), steps=STEPS, optimizer=ppl.optim.Adam(1e-3), progress=False, **options)
    return time.perf_counter() - began
