"""Running mains of the model zoo over seeds, and setting what they report beside independent figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.timing import check

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


class Figure(NamedTuple):
    """A figure of a model's main and its independent one: another figure of the same run, or a number.

    `limit` bounds their mean difference (`both`: its absolute value).
    """

    model: str
    ours: str
    independent: str | float
    limit: float
    both: bool = False


def record(title: str, seeds: Mapping[str, int], figures: Sequence[Figure]) -> dict[str, Any]:
    """A workload's record: every model with its own settings, means over seeds with standard errors."""
    found = collect(seeds)
    rows, checks = [], []
    for figure in figures:
        ours, independent = (values(found[figure.model], what) for what in (figure.ours, figure.independent))
        gap = (ours - independent).mean()
        what = f"{figure.model}: {figure.ours}" + (", distance" if figure.both else ", excess")
        checks.append(check(what, abs(gap) if figure.both else gap, figure.limit, ""))
        name = figure.independent if isinstance(figure.independent, str) else "exact"
        rows.append([figure.model, figure.ours, spread(ours), name, spread(independent), str(len(ours))])
    return {
        "title": title,
        "tables": [{"columns": ["model", "figure", "ours", "independent figure", "its value", "seeds"], "rows": rows}],
        "checks": checks,
        "details": found,
        "notes": ["Every run is `ppl run NAME --seed SEED` with the options that the model's main has by itself."],
    }


def values(runs: list[Metrics], what: str | float) -> np.ndarray:
    """A figure of every run, or the same number for all."""
    return np.array([run[what] if isinstance(what, str) else what for run in runs])


def spread(x: np.ndarray) -> str:
    """Mean ± standard error of the mean, with two digits of the error; the mean alone where all are equal."""
    error = x.std(ddof=1) / np.sqrt(len(x))
    if error <= 1e-9 * np.abs(x).max():
        return f"{x.mean():.6g}"
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{x.mean():.{digits}f} ± {error:.{digits}f}"
