"""Running mains of the model zoo over seeds and collecting what they report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

Metrics = dict[str, float]
ONE_THREAD = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def metrics(name: str, seed: int, *options: str) -> Metrics:
    """The figures that `ppl run NAME --seed SEED …` reports, from a process of its own with one thread."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", f"ppl.models.{name}", "--seed", str(seed), "--out", folder, *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **ONE_THREAD})
        return json.loads((Path(folder) / f"{name}.metrics.json").read_text())["metrics"]


def collect(seeds: Mapping[str, int]) -> dict[str, list[Metrics]]:
    """The figures of every model for seeds 0 … n - 1, as many processes at a time as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = {name: [pool.submit(metrics, name, seed) for seed in range(n)] for name, n in seeds.items()}
        return {name: [run.result() for run in found] for name, found in runs.items()}
