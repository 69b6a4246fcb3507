"""Loss against seconds: the rule of thumb, `ppl.tune`, `ppl.fit(tune=True)`, and fixed choices, on three models."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numba
import numpy as np

import ppl
from benchmarks.curves_models import Task, tasks
from benchmarks.timing import Table
from ppl.models import pictures

SECONDS = float(os.environ.get("PPL_CURVE_SECONDS", "4"))
SEEDS = tuple(range(int(os.environ.get("PPL_CURVE_SEEDS", "5"))))
MARKS = np.geomspace(0.05, 1.0, 24)
"""Shares of the seconds after which a loss is judged."""
EVERY, BUDGET = 25, 2.0
MEASURED = ("ppl.tune", "tune=True")

Curve = list[float]


def run(peers: Sequence[str]) -> dict[str, Any]:
    """Train everything on one thread, the seconds being those of the processor."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        found = {name: _task(task) for name, task in tasks().items()}
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
            "`auto` (DisARM, REBAR, a path) and `ppl.tune` keep one choice; `tune=True` moves. The others are fixed "
            "choices that a user may try by hand; which of them is best is known in hindsight only.",
        ],
        "details": found,
    }


def _task(task: Task) -> dict[str, Any]:
    """Curves by who chooses and by seed, and what was chosen."""
    found: dict[str, Any] = {}
    for name in ("auto", *task.fixed, *MEASURED):
        judge = Judge(task)
        program, before = _program(task, name)
        runs = [_train(task, name, program, seed, judge, SECONDS) for seed in SEEDS]
        runs = [(curve, before + waited, chosen) for curve, waited, chosen in runs]
        found[name] = {key: [r[i] for r in runs] for i, key in enumerate(("curves", "waited", "chosen"))}
        print(name, [f"{curve[-1]:.4g}" for curve, *_ in runs], runs[0][1:], flush=True)
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
    return f"**{name}**" if name in ("auto", *MEASURED) else name


def _mean(values: np.ndarray) -> str:
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{values.mean():.5g} ± {error:.1g}"


def _figure(found: dict[str, Any]) -> Any:
    """One panel a model; what measures is drawn thick."""
    figure, axes = pictures.pyplot().subplots(1, len(found), figsize=(15, 5), layout="constrained")
    for ax, (name, runs) in zip(axes, found.items(), strict=True):
        for label, losses in _figures(runs).items():
            ax.plot(MARKS * SECONDS, losses.mean(0), lw=2.5 if label in MEASURED else 1.2, label=label)
        last = np.array([losses.mean(0) for losses in _figures(runs).values()])
        ax.set(
            xscale="log",
            xlabel="seconds of the processor",
            title=name,
            ylim=(last.min() - 0.05 * np.ptp(last), np.quantile(last, 0.9)),
        )
        ax.legend(fontsize=8)
    axes[0].set_ylabel("loss")
    return figure
