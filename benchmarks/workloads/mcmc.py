"""Effective draws per second of processor time: ours, NumPyro's NUTS, PyMC's, and PyMC's models by nutpie."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer import PeerError, Peers
from ppl.models import bayes_logistic

ROOT = Path(__file__).parents[2]
MODELS = ("eight schools", "logistic regression", "linear mixed model")
ROUNDS = 1
SIDES = {
    "ppl": ("benchmarks.chains_ours", ()),
    "NumPyro": ("benchmarks.peers.chains_numpyro", ()),
    "PyMC": ("benchmarks.peers.chains_pymc", ("pymc",)),
    "PyMC, by nutpie": ("benchmarks.peers.chains_pymc", ("nutpie",)),
}


def asked(side: str, seed: int, model: str, file: str, peers: Peers) -> dict[str, Any]:
    """What a process of one side reports of one model."""
    module, options = SIDES[side]
    ours = side == "ppl"
    command = [sys.executable if ours else peers.python, "-W", "ignore", "-m", module, str(seed)]
    command += [] if ours else [file]
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    env = {**os.environ, **one, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    done = subprocess.run([*command, *options, model], cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise PeerError(f"{side}: {done.stderr.strip().splitlines()[-1]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1])[model])


def run(peers: Peers) -> dict[str, Any]:
    """Rounds in which all sides run at the same time, each in a process of its own."""
    sides = ["ppl"] + (["NumPyro"] if "numpyro" in peers else [])
    sides += ["PyMC", "PyMC, by nutpie"] if "pymc" in peers else []
    found: dict[str, dict[str, list[dict[str, Any]]]] = {m: {s: [] for s in sides} for m in MODELS}
    with tempfile.TemporaryDirectory() as folder:
        x, y, _, _ = bayes_logistic.rows()
        file = f"{folder}/logistic.npz"
        np.savez(file, x=x, y=y.astype(np.int64))
        for seed in range(ROUNDS):
            jobs = [(side, seed, model, file, peers) for model in MODELS for side in sides]
            with ThreadPoolExecutor(len(jobs)) as pool:
                for job, report in zip(jobs, pool.map(lambda job: asked(*job), jobs), strict=True):
                    found[job[2]][job[0]].append(report)
    columns = ["model", "", "ESS / CPU second", "rounds", "least ESS", "sampling, CPU s", "compile, CPU s"]
    rows = [_row(model, side, reports) for model, of in found.items() for side, reports in of.items()]
    return {
        "title": "Chains: effective draws per second of processor time",
        "tables": [{"columns": columns, "rows": rows}],
        "details": {"reports": found},
        "notes": [
            "ESS is the least bulk ESS over all parameters, of 4 chains of 1000 draws after 1000 of warmup, one after "
            "another on one thread in float64, each library with its default settings (target acceptance 0.8).",
            "Sampling is warmup and draws in a second run of the same process; for ppl also the values of all sites at "
            "the draws. Compile is what the first run takes more, machine code of kernels on the disk apart.",
            "Other programs ran on the machine meanwhile, and all sides of a round at the same time: what slows one "
            "slows all. Times are those of the processor, not of the clock; medians, and least and largest rounds.",
        ],
    }


def _row(model: str, side: str, reports: Sequence[dict[str, Any]]) -> list[str]:
    rates = [r["ess"] / r["seconds"] for r in reports]
    middle = {k: statistics.median(r[k] for r in reports) for k in ("ess", "seconds", "compile")}
    return [
        model, side, f"{statistics.median(rates):.0f}", f"{min(rates):.0f} to {max(rates):.0f}",
        f"{middle['ess']:.0f}", f"{middle['seconds']:.2f}", f"{middle['compile']:.1f}",
    ]  # fmt: skip
