"""Variance × time of every admissible unbiased estimator on two discrete models of digits, PyTorch's beside them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.estimator_models import BATCH, CASES, Case, adapted, compile_setup, trained
from benchmarks.timing import Check, Table, check, duration, interleave
from ppl.models import data, pictures

PEER = Path(__file__).parents[1] / "peers" / "estimators_torch.py"
REPEATS, TORCH_REPEATS, SEED = 300, 1000, 1


def run(peers: list[str]) -> dict[str, Any]:
    """Measure both models; PyTorch runs in the interpreter PPL_TORCH_PYTHON, or in this one if it is named."""
    torch = os.environ.get("PPL_TORCH_PYTHON") or (sys.executable if "torch" in peers else None)
    found = {name: _measure(name, case, torch) for name, case in CASES.items()}
    return {
        "title": "Variance of the gradient × time of a step, by estimator",
        "checks": [c for name, f in found.items() for c in _agreement(name, f)],
        "tables": [_table(CASES[name], f) for name, f in found.items()],
        "figure": _figure(found),
        "notes": [
            f"Trace of the gradient's variance over all parameters, of the sum over {BATCH} rows, from {REPEATS} "
            f"independent estimates ({TORCH_REPEATS} in PyTorch) ± standard error; parameters after 30 epochs of Adam 3e-3 (seed 0); baselines, η, "
            "temperatures and networks adapted at these parameters in 60 further epochs, then held fixed.",
            "Seconds are medians of `program.step`, all of ours timed in turns. Variance × seconds is the variance "
            "left after one second of averaging. Leave-one-out has 2 particles unless said, the others 1. "
            "`MeasureValued` (91 evaluations on the VAE, refused for 64 units on the belief network) is left out.",
            "PyTorch: eager, its own threads; same model, parameters, batch, and η; seconds of a forward and backward "
            "pass. Agreement is in standard errors of the difference of the two variances.",
        ],
        "details": found,
    }


def _measure(name: str, case: Case, torch: str | None) -> dict[str, Any]:
    """Variance and seconds of all candidates of one model at a trained point."""
    rows, _ = data.digits()
    x, params = rows[:BATCH], trained(case)
    programs = {label: compile_setup(case, label) for label in case.setups}
    states = {label: adapted(program, params) for label, program in programs.items()}
    ours: dict[str, dict[str, float]] = {}
    for label, program in programs.items():
        total = program.diagnose(states[label], x, repeats=REPEATS, seed=SEED, timing=False).total
        ours[label] = {"variance": total.trace, "variance_error": total.trace_error}
    steps = {label: lambda p=program, s=states[label]: p.step(s, x) for label, program in programs.items()}
    for label, timing in interleave(steps, samples=25).items():
        ours[label]["seconds"] = timing.median
    eta = {k.removesuffix("/eta"): v for k, v in states["REBAR"].aux.items() if k.endswith("/eta")}
    peer = None if torch is None else _torch(torch, name, x, params, eta)
    return {"ppl": ours, "torch": peer}


def _torch(python: str, name: str, x: np.ndarray, params: Any, eta: Any) -> dict[str, Any]:
    """The same point in PyTorch, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        point = Path(folder) / "point.npz"
        arrays = {**{f"param/{k}": v for k, v in params.items()}, **{f"eta/{k}": v for k, v in eta.items()}}
        np.savez(point, model=name, x=x, **arrays)
        command = [python, str(PEER), str(point), "--repeats", str(TORCH_REPEATS), "--seed", str(SEED)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _agreement(name: str, found: dict[str, Any]) -> list[Check]:
    """Distances of PyTorch's variances from ours."""
    pairs = [] if found["torch"] is None else [(k, found["ppl"][k], v) for k, v in found["torch"]["estimators"].items()]
    return [
        check(
            f"{name}, {label}: variance in PyTorch against ours",
            abs(a["variance"] - b["variance"]) / np.hypot(a["variance_error"], b["variance_error"]),
            4.0,
            "standard errors",
        )
        for label, a, b in pairs
    ]


def _table(case: Case, found: dict[str, Any]) -> Table:
    """One row an estimator, least variance × seconds first."""
    entries = [(label, v) for label, v in found["ppl"].items()]
    if found["torch"] is not None:
        entries += [(f"{label} (PyTorch)", v) for label, v in found["torch"]["estimators"].items()]
    entries.sort(key=lambda entry: entry[1]["variance"] * entry[1]["seconds"])
    rows = [
        [
            label,
            f"{v['variance']:.4g} ± {v['variance_error']:.2g}",
            duration(v["seconds"]),
            f"{v['variance'] * v['seconds']:.3g}",
        ]
        for label, v in entries
    ]
    return {"columns": [case.title, "variance (trace)", "time per step", "variance × seconds"], "rows": rows}


def _figure(found: dict[str, Any]) -> Any:
    """Variance against seconds with lines of equal product, one panel a model."""
    figure, axes = pictures.pyplot().subplots(1, len(found), figsize=(14, 6.5), layout="constrained")
    for ax, (name, measured) in zip(axes, found.items(), strict=True):
        _points(ax, measured["ppl"], "o", "C0", "ppl")
        if measured["torch"] is not None:
            _points(ax, measured["torch"]["estimators"], "s", "C1", "PyTorch")
        ax.set(xscale="log", yscale="log", xlabel="seconds per step", ylabel="variance of the gradient (trace)")
        ax.set_title(CASES[name].title, fontsize=11)
        ax.margins(0.2)
        _products(ax)
        ax.legend(loc="upper right")
    return figure


def _points(ax: Any, measured: dict[str, Any], marker: str, color: str, label: str) -> None:
    """Named points."""
    x, y = ([v[key] for v in measured.values()] for key in ("seconds", "variance"))
    ax.plot(x, y, marker, color=color, label=label, ms=7)
    for name, *at in zip(measured, x, y, strict=True):
        ax.annotate(name, at, xytext=(7, 4), textcoords="offset points", fontsize=8.5, color=color)


def _products(ax: Any) -> None:
    """Grey lines of equal variance × seconds, a factor of ten apart."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    for exponent in range(int(np.floor(np.log10(left * low))), int(np.ceil(np.log10(right * high))) + 1):
        ax.plot([left, right], [10.0**exponent / left, 10.0**exponent / right], color="0.85", lw=1, zorder=0)
    ax.set(xlim=(left, right), ylim=(low, high))
