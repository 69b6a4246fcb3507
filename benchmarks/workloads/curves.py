"""Loss against seconds: the rule of thumb, `ppl.tune`, `ppl.fit(tune=True)`, and fixed choices, on three models."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numba
import numpy as np
from matplotlib import ticker

import ppl
from benchmarks.curves_models import AUTO, Task, tasks
from benchmarks.peer import Peers
from benchmarks.timing import Table
from ppl.models import pictures

SECONDS = float(os.environ.get("PPL_CURVE_SECONDS", "4"))
SEEDS = tuple(range(int(os.environ.get("PPL_CURVE_SEEDS", "5"))))
MARKS = np.geomspace(0.05, 1.0, 24)
"""Shares of the seconds after which a loss is judged."""
EVERY, BUDGET = 25, 2.0
MEASURED = ("ppl.tune", "tune=True")
OURS = (*AUTO, *MEASURED)
PEER = Path(__file__).parents[1] / "peers" / "curves_torch.py"

Curve = list[float]


def run(peers: Sequence[str]) -> dict[str, Any]:
    """Train everything on one thread, the seconds being those of the processor."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        found = {name: _task(task) | _torch(name, task, peers) for name, task in tasks().items()}
    finally:
        numba.set_num_threads(before)
    return {
        "title": "Loss against seconds, by who chooses the estimators",
        "tables": [_table(task.title, found[name]) for name, task in tasks().items()],
        "figure": _figure(found),
        "notes": [
            f"{SECONDS:g} seconds of the processor on one thread, {len(SEEDS)} seeds, Adam 1e-3, minibatches of 100 "
            "digits (the wells have no data). They count from the first steps on, with all later comparisons. What "
            "comes before (measuring, tracing, compiling) has a column of its own, the median over seeds; `ppl.tune` "
            "is called once a model.",
            "Losses are the negative bound per row, or the expected height, with 8 (500) samples on fixed noise. ± is "
            "the standard error over seeds. The area is the mean of the loss over the logarithm of the seconds, from a "
            "twentieth of them on.",
            "`auto` (one particle, by the table), `auto, particles` (both by closed forms and prices) and `ppl.tune` "
            "keep one choice; `tune=True` moves. The others are fixed choices that a user may try by hand; which of "
            "them is best is known in hindsight only.",
            "PyTorch: the same models from the same parameters, the loss compiled, Adam fused, one thread. The weight "
            "of REBAR's control variate is 1 there; ours adapts it.",
        ],
        "details": found,
    }


def _task(task: Task) -> dict[str, Any]:
    """Curves by who chooses and by seed, and what was chosen."""
    found: dict[str, Any] = {}
    for name in (*AUTO, *task.fixed, *MEASURED):
        judge = Judge(task)
        program, before = _program(task, name)
        runs = [_train(task, name, program, seed, judge, SECONDS) for seed in SEEDS]
        runs = [(curve, before + waited, chosen) for curve, waited, chosen in runs]
        found[name] = {key: [r[i] for r in runs] for i, key in enumerate(("curves", "waited", "chosen"))}
        print(name, [f"{curve[-1]:.4g}" for curve, *_ in runs], runs[0][1:], flush=True)
    return found


def _torch(name: str, task: Task, peers: Sequence[str]) -> dict[str, Any]:
    """PyTorch's curves, judged like ours, by its estimators."""
    if "torch" not in peers:
        return {}
    python = peers.python if isinstance(peers, Peers) else sys.executable
    judge, found = Judge(task), dict[str, Any]()
    with tempfile.TemporaryDirectory() as folder:
        start, end = Path(folder, "start.npz"), Path(folder, "end.npz")
        first = {
            f"{seed}/{k}": v for seed in SEEDS for k, v in judge.program.init(seed, *task.arrays).params.items()
        }  # fmt: skip
        settings = {"model": name, "marks": MARKS * SECONDS, "batch": task.batch_size or 0, "rate": task.rate}
        np.savez(start, x=task.arrays[0] if task.arrays else np.zeros(0), **settings, **first)
        for estimator in task.torch:
            words = [python, str(PEER), str(start), estimator, "--seeds", str(len(SEEDS)), "--out", str(end)]
            subprocess.run(words, check=True)
            with np.load(end) as kept:
                runs = [{k: kept[f"{seed}/{k}"] for k in judge.like.params} for seed in SEEDS]
                waited = [float(kept[f"{seed}/waited"]) for seed in SEEDS]
            curves = [[judge({k: v[i] for k, v in run.items()}) for i in range(len(MARKS))] for run in runs]
            print(estimator, [f"{curve[-1]:.4g}" for curve in curves], waited, flush=True)
            found[f"PyTorch, {estimator}"] = {"curves": curves, "waited": waited, "chosen": ["-"] * len(SEEDS)}
    return found


class Judge:
    """The loss of parameters, by one program on one noise."""

    def __init__(self, task: Task):
        estimators, particles = task.judge
        self.program = ppl.compile(task.objective, estimators, particles=particles, data=task.arrays)
        self.arrays, self.like = task.arrays, self.program.init(0, *task.arrays)
        self.rows = len(task.arrays[0]) if task.arrays else 1

    def __call__(self, params: Mapping[str, np.ndarray]) -> float:
        state = self.like.replace(params=params)
        return float(self.program.value(state, *self.arrays, seed=1)) / self.rows


class Watch:
    """The loss at the marks of the processor's seconds that training takes from its first steps on.

    `waited` are the seconds before: measuring, tracing and compiling.
    """

    every = EVERY

    def __init__(self, judge: Judge, seconds: float):
        self.judge, self.last, self.curve = judge, np.nan, list[float]()
        self.marks, self.waited, self.spent = list(MARKS * seconds), np.nan, 0.0
        self.began = time.process_time()

    def __call__(self, step: int, state: Any, metrics: Any) -> bool:
        """Judge where a mark has been passed; whether time is up."""
        if np.isnan(self.waited):
            self.waited, self.last = time.process_time() - self.began, self.judge(state.params)
            self.began = time.process_time()
        now = time.process_time() - self.began - self.spent
        passed = sum(mark <= now for mark in self.marks)
        if not passed:
            return False
        before = time.process_time()
        loss = self.judge(state.params)
        self.curve += [self.last] * (passed - 1) + [loss]  # at marks that passed without a step, nothing was new
        self.last, self.marks = loss, self.marks[passed:]
        self.spent += time.process_time() - before
        return not self.marks


def _program(task: Task, name: str) -> tuple[Any, float]:
    """The program that is trained, and the seconds of finding it."""
    program = task.compile(name)
    first = tuple(a[: task.batch_size] for a in task.arrays)
    state = program.init(0, *task.arrays)
    program.step(state, *first)
    if name != "ppl.tune":
        return program, 0.0
    rows = {"total_rows": len(task.arrays[0])} if task.arrays else {}
    began = time.process_time()
    tuned = ppl.tune(program, state, *first, budget_seconds=BUDGET, seed=0, **rows)
    return tuned, time.process_time() - began


def _train(task: Task, name: str, program: Any, seed: int, judge: Judge, seconds: float) -> tuple[Curve, float, str]:
    """One run: its curve, the seconds before, and what it ended with."""
    watch = Watch(judge, seconds)
    fit = ppl.fit(
        program, *task.arrays, steps=10**8, batch_size=task.batch_size, optimizer=ppl.optim.Adam(task.rate), seed=seed,
        callback=watch, history=100, progress=False, tune=name == "tune=True",
    )  # fmt: skip
    plan = (fit.program or program).explain()
    moves = "" if fit.choices is None else f", {np.count_nonzero(np.diff(fit.choices.taken))} moves"
    labels = ", ".join(sorted({e.label for e in plan.as_dict().values()}))
    return watch.curve, watch.waited, f"{labels}; {plan.particles} particle{'s' if plan.particles > 1 else ''}{moves}"


def _figures(runs: dict[str, Any]) -> dict[str, np.ndarray]:
    """Losses at the common marks, seeds × marks, by who chose."""
    return {name: np.array(r["curves"]) for name, r in runs.items()}


def _table(title: str, runs: dict[str, Any]) -> Table:
    """One row a way of choosing, the least area first."""
    figures = _figures(runs)
    rows = [
        [
            _bold(name),
            *(_mean(values) for values in (losses.mean(1), losses[:, len(MARKS) // 2], losses[:, -1])),
            f"{np.median(runs[name]['waited']):.2g} s",
            runs[name]["chosen"][0],
        ]
        for name, losses in sorted(figures.items(), key=lambda item: item[1].mean())
    ]
    halfway = f"loss at {MARKS[len(MARKS) // 2] * SECONDS:.2g} s"
    return {
        "columns": [title, "area", halfway, f"loss at {SECONDS:g} s", "before", "at the end (seed 0)"],
        "rows": rows,
    }


def _bold(name: str) -> str:
    return f"**{name}**" if name in OURS else name


def _mean(values: np.ndarray) -> str:
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{values.mean():.5g} ± {error:.1g}"


def _figure(found: dict[str, Any]) -> Any:
    """One panel a model; what chooses is drawn thick, PyTorch dashed."""
    figure, axes = pictures.pyplot().subplots(1, len(found), figsize=(15, 5), layout="constrained")
    for ax, (name, runs) in zip(axes, found.items(), strict=True):
        for label, losses in _figures(runs).items():
            style = "--" if label.startswith("PyTorch") else "-"
            ax.plot(MARKS * SECONDS, losses.mean(0), style, lw=2.5 if label in OURS else 1.2, label=label)
        last = np.array([losses.mean(0) for label, losses in _figures(runs).items() if not label.startswith("PyTorch")])
        ax.set(
            xscale="log",
            xlabel="seconds of the processor",
            title=name,
            ylim=(last.min() - 0.05 * np.ptp(last), np.quantile(last, 0.9)),
        )
        ax.xaxis.set_major_locator(ticker.FixedLocator([SECONDS / 16, SECONDS / 4, SECONDS]))
        ax.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        ax.xaxis.set_minor_locator(ticker.NullLocator())
        ax.legend(fontsize=7)
    axes[0].set_ylabel("loss")
    return figure
