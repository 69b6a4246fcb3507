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
    points = {name: Point(name, case) for name, case in CASES.items()}
    for point in points.values():
        point.time()
    found = {name: {"ppl": point.variances(), "torch": point.torch(torch)} for name, point in points.items()}
    return {
        "title": "Variance of the gradient × time of a step, by estimator",
        "checks": [c for name, f in found.items() for c in _agreement(name, f)],
        "tables": [_table(CASES[name], f) for name, f in found.items()],
        "figure": _figure(found),
        "notes": [
            f"Trace of the gradient's variance over all parameters, of the sum over {BATCH} rows, from {REPEATS} "
            f"independent estimates ({TORCH_REPEATS} in PyTorch) ± standard error; "
            "parameters after 30 epochs of Adam 3e-3 (seed 0); baselines, η, "
            "temperatures and networks adapted at these parameters in 60 further epochs, then held fixed.",
            "Seconds are medians of `program.step`, all of ours timed in turns. Variance × seconds is the variance "
            "left after one second of averaging. Leave-one-out has 2 particles unless said, the others 1. "
            "`MeasureValued` (91 evaluations on the VAE, refused for 64 units on the belief network) is left out.",
            "PyTorch: eager, its own threads; same model, parameters, batch, and η; seconds of a forward and backward "
            "pass. Agreement is in standard errors of the difference of the two variances.",
        ],
        "details": found,
    }


class Point:
    """One model at trained parameters, and what is measured there: `ours` has variance, error and seconds by label."""

    def __init__(self, name: str, case: Case):
        rows, _ = data.digits()
        self.name, self.x, self.params = name, rows[:BATCH], trained(case)
        self.programs = {label: compile_setup(case, label) for label in case.setups}
        self.ours: dict[str, dict[str, float]] = {label: {} for label in self.programs}
        self.eta: dict[str, float] = {}

    def time(self) -> None:
        """Seconds of all candidates in turns."""
        states = {label: p.init(SEED).replace(params=self.params) for label, p in self.programs.items()}
        steps = {k: lambda p=p, s=states[k]: p.step(s, self.x) for k, p in self.programs.items()}
        for label, timing in interleave(steps, samples=25).items():
            self.ours[label]["seconds"] = timing.median

    def variances(self) -> dict[str, dict[str, float]]:
        """Variances with adapted control variates, beside the seconds."""
        for label, program in self.programs.items():
            state = adapted(program, self.params)
            total = program.diagnose(state, self.x, repeats=REPEATS, seed=SEED, timing=False).total
            self.ours[label] |= {"variance": total.trace, "variance_error": total.trace_error}
            if label == "REBAR":
                self.eta = {k.removesuffix("/eta"): float(v) for k, v in state.aux.items() if k.endswith("/eta")}
        return self.ours

    def torch(self, python: str | None) -> dict[str, Any] | None:
        """The same point in PyTorch, with the η found by `variances`, in a process of its own."""
        if python is None:
            return None
        with tempfile.TemporaryDirectory() as folder:
            point = Path(folder) / "point.npz"
            arrays = {f"param/{k}": v for k, v in self.params.items()} | {f"eta/{k}": v for k, v in self.eta.items()}
            np.savez(point, model=self.name, x=self.x, **arrays)
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
        points = [("ppl", "o", "C0", measured["ppl"])]
        if measured["torch"] is not None:
            points.append(("PyTorch", "s", "C1", measured["torch"]["estimators"]))
        for label, marker, color, values in points:
            x, y = ([v[key] * scale for v in values.values()] for key, scale in (("seconds", 1e3), ("variance", 1.0)))
            ax.plot(x, y, marker, color=color, label=label, ms=7)
        ax.set(xscale="log", yscale="log", xlabel="ms per step", ylabel="variance of the gradient (trace)")
        ax.set_title(CASES[name].title, fontsize=11)
        ax.set(xlim=(ax.get_xlim()[0] / 1.3, ax.get_xlim()[1] * 2), ylim=(ax.get_ylim()[0] / 2, ax.get_ylim()[1] * 1.5))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:g}"[-1] in "25" else "")
        _names(ax, points)
        _products(ax)
        ax.legend(loc="upper right")
    return figure


def _names(ax: Any, points: list[Any]) -> None:
    """A name to the right of every point, moved up where another stands."""
    taken: list[tuple[float, float, float]] = []
    entries = [(v["variance"], 1e3 * v["seconds"], name, color) for *_, color, vs in points for name, v in vs.items()]
    for variance, ms, name, color in sorted(entries):
        x, y = ax.transData.transform((ms, variance)) * 72 / ax.figure.dpi
        width, place = 5.0 * len(name) + 8, y
        while any(abs(place - b) < 10 and x < a + w and a < x + width for a, b, w in taken):
            place += 1
        taken.append((x, place, width))
        style = {"xytext": (7, place - y - 3), "textcoords": "offset points", "fontsize": 8.5, "color": color}
        line = {"arrowprops": {"arrowstyle": "-", "color": color, "lw": 0.5}} if place > y + 6 else {}
        ax.annotate(name, (ms, variance), **style, **line)


def _products(ax: Any) -> None:
    """Grey lines of equal variance × seconds, a factor of √10 apart."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    first, last = (int(2 * np.log10(x)) for x in (left * low, right * high))
    for half in range(first, last + 1):
        product = 10.0 ** (half / 2)
        ax.plot([left, right], [product / left, product / right], color="0.88", lw=1, zorder=0)
    ax.set(xlim=(left, right), ylim=(low, high))
