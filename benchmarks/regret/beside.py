"""PyTorch's programs of a graph beside ours: the same parameters and data, variance of the gradient, and seconds.

It is the same graph if the means of the gradients and of the losses agree: that is checked for every estimator."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student

from benchmarks.regret.choices import KNOWN
from benchmarks.regret.graphs import GRAPHS
from benchmarks.regret.measure import CLOCK, EXACT, PRECISE, Built
from benchmarks.regret.peer_table import MANY, MOST
from benchmarks.regret.peers import PEERS
from benchmarks.regret.peers.run import ESTIMATORS, Run
from benchmarks.regret.products import best
from ppl.choosing.candidates import PARTICLE_COUNTS
from ppl.choosing.frozen_steps import FrozenSteps
from ppl.choosing.tune import MAX_COPIES
from ppl.inference.gradient_samples import GradientMoments, GradientSamples
from ppl.runtime.call import Call

Estimate = Callable[[Mapping[str, torch.Tensor], tuple[Any, ...]], tuple[torch.Tensor, torch.Tensor | None]]

DRAWING = 1.0
"""Seconds in which the gradients of a variance are drawn, and ours to compare means with."""

LEAST = 10
"""Gradients of a variance at least."""

BLOCK, TURNS, ENOUGH = 0.004, 5, 0.3
"""Seconds of steps in a turn, turns, and seconds of all means of turns from which on there are no more."""

SHORT = 2e-3
"""Seconds of a step below which more particles than ours has are tried, too."""

CHANCE, ROUNDING = 1e-6, 1e-4
"""How often equal means may be called different, and what rounding does to the largest entry of a parameter."""

RARE = 0.3
"""Least standard error of an entry relative to the parameter's: one that is seldom drawn says little of its own."""


class Torch:
    """One estimator with its own copy of the parameters, and steps of Adam at rate 0, as ours are timed."""

    def __init__(self, estimate: Estimate, params: Mapping[str, np.ndarray], data: tuple[Any, ...]):
        self.estimate, self.moments, self.seconds = estimate, GradientMoments(), 0.0
        self.params = {n: torch.tensor(np.asarray(v, np.float32), requires_grad=True) for n, v in params.items()}
        self.data = tuple(_tensor(a) for a in data)
        self.adam = torch.optim.Adam(list(self.params.values()), lr=0.0, fused=True)
        self.taken: list[float] = []

    def gradient(self) -> float:
        """Draw one; return the loss, NaN where it is not known."""
        self.adam.zero_grad(set_to_none=True)
        surrogate, loss = self.estimate(self.params, self.data)
        surrogate.backward()
        return float("nan") if loss is None else float(loss.detach())

    def draw(self) -> None:
        """Draw gradients until the variance is precise or the time is over."""
        began = time.perf_counter()
        while not self.precise and (self.moments.count < LEAST or time.perf_counter() - began < DRAWING):
            rows: dict[str, list[Any]] = {"loss": [], **{f"grad {n}": [] for n in self.params}}
            while len(rows["loss"]) < LEAST or (len(rows["loss"]) < 25 and time.perf_counter() - began < DRAWING):
                rows["loss"].append(self.gradient())
                for name, value in self.params.items():
                    found = torch.zeros_like(value) if value.grad is None else value.grad
                    rows[f"grad {name}"].append(found.numpy().copy())
            self.moments.add({name: np.array(values) for name, values in rows.items()})

    @property
    def precise(self) -> bool:
        """Whether more gradients are not needed."""
        value, error = self.value if self.moments.count >= 300 else (0.0, 1.0)
        return error <= PRECISE * value

    @property
    def value(self) -> tuple[float, float]:
        """Variance of the whole gradient and its standard error."""
        total = self.moments.total()
        exact = total.trace <= EXACT * float((total.mean**2).sum())
        return (0.0, 0.0) if exact else (total.trace, total.trace_error)

    def turn(self) -> None:
        """Take steps for a while, and keep how long one takes; long steps have fewer turns."""
        if sum(self.taken) > ENOUGH:
            return
        count, began = 0, CLOCK()
        while not count or CLOCK() - began < BLOCK:
            self.gradient()
            self.adam.step()
            count += 1
        self.taken.append((CLOCK() - began) / count)


def _tensor(array: Any) -> torch.Tensor:
    found = np.asarray(array)
    return torch.tensor(found, dtype=torch.float32 if found.dtype.kind == "f" else torch.long)


class Beside:
    """The estimators of one graph, and the best of ours."""

    def __init__(self, name: str, record: Mapping[str, Any]):
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.built, self.peer, self.best = Built(GRAPHS[name]()), PEERS[name], best(record, MAX_COPIES)
        self.built.copies = MAX_COPIES
        plan = {n: KNOWN[label] for n, label in self.best.plan.items()}
        program = self.built.program(plan, self.best.particles)
        state, data = self.built.state(program), self.built.data
        self.steps = FrozenSteps(program, Call(state, data))
        self.drawn = _drawn(program, Call(state, data, seed=1))
        self.params = {n: np.asarray(v) for n, v in state.params.items()}
        self.found: dict[str, dict[int, Torch]] = {}
        for label in self.peer.forms:
            self.found[label] = {k: self._form(label, k) for k in self._particles(label)}
        for label, own in self.peer.own.items():
            self.found[label] = {1: self._torch(lambda p, data, own=own: own(p, *data))}

    def _torch(self, estimate: Estimate) -> Torch:
        return Torch(estimate, self.params, self.built.data)

    def _form(self, label: str, particles: int) -> Torch:
        kind, program = self.peer.forms[label]
        return self._torch(lambda p, data: ESTIMATORS[kind](program, p, data, particles))

    def _particles(self, label: str) -> tuple[int, ...]:
        kind = self.peer.forms[label][0]
        return (1,) if kind == "sum" else PARTICLE_COUNTS[1:] if self._paired(label) else PARTICLE_COUNTS

    def _paired(self, label: str) -> bool:
        """Whether an estimator has leave-one-out baselines, which take two particles."""
        kind, program = self.peer.forms[label]
        if kind not in ("RLOO", "rsample"):
            return False
        run = Run(2, path=kind == "rsample")
        one = self._torch(lambda p, data: None)
        program(run, one.params, *one.data)
        return bool(run.scores)

    def measure(self) -> dict[str, Any]:
        """Variances, seconds and whether the graph is the same, as plain JSON."""
        began = time.monotonic()
        for found in self.found.values():
            for k in {min(found), 8 if min(found) == 2 else 1} & set(found):
                found[k].draw()
        apart = {label: self._apart(found) for label, found in self.found.items()}
        self._add_many()
        ours = self._time()
        return {
            "estimators": {label: self._rows(found, self.best.seconds / ours) for label, found in self.found.items()},
            "apart": apart,
            "date": datetime.date.today().isoformat(),
            "seconds": time.monotonic() - began,
        }

    def _rows(self, found: Mapping[int, Torch], scale: float) -> dict[str, list[float]]:
        """By particles: variance, its standard error and seconds, as fast as the machine was for ours in the record."""
        return {str(k): [*_variance(found, k), float(np.median(one.taken)) * scale] for k, one in found.items()}

    def _add_many(self) -> None:
        """Estimators with many particles, where a step is short."""
        for label, found in self.found.items():
            if MOST in found:
                found[MOST].turn()
                if found[MOST].taken.pop() < SHORT:
                    found[MANY] = self._form(label, MANY)

    def _apart(self, found: Mapping[int, Torch]) -> float:
        """How far means lie from ours, the largest over entries, in units of what chance explains."""
        theirs, ours = found[min(found)].moments, self.drawn
        free = min(theirs.count, ours.count) - 1
        worst = 0.0
        for name in ours.center:
            a, b = ours.gradient(name), theirs.gradient(name)
            if np.isnan(b.mean).any() and name == "loss":
                continue
            error = np.hypot(a.standard_error, b.standard_error)
            error = np.maximum(error, RARE * np.sqrt(np.mean(error**2)))
            limit = student.isf(CHANCE / 2 / max(a.mean.size, 1), free)
            allowed = limit * error + ROUNDING * np.abs(a.mean).max() + 1e-9
            worst = max(worst, float(np.max(np.abs(a.mean - b.mean) / allowed)))
        return worst

    def _time(self) -> float:
        """Steps in turns with ours; return the seconds of ours."""
        taken = []
        for _ in range(TURNS):
            taken.append(self.steps.seconds(CLOCK))
            for one in (one for found in self.found.values() for one in found.values()):
                one.turn()
        return float(np.median(taken))


def _drawn(program: Any, call: Call) -> GradientMoments:
    """Some of our gradients, interpreted."""
    found, source, began = GradientMoments(), GradientSamples(program, call, backend="interpreter"), time.perf_counter()
    source.chunk = min(source.chunk, 5)
    for chunk in source(2000):
        found.add(chunk)
        spent = time.perf_counter() - began
        if (spent > DRAWING and found.count >= 50) or (spent > 2 * DRAWING and found.count >= 5):
            break
    return found


def _variance(found: Mapping[int, Torch], k: int) -> tuple[float, float]:
    """With k particles, from one; with leave-one-out baselines from 2 and 8, as that of a U-statistic of order 2."""
    if min(found) == 1:
        value, error = found[1].value
        return value / k, error / k
    two, eight, share = found[2].value, found[8].value, (k - 2) / 6
    weights = 2 * (1 - share) / (k * (k - 1)), 56 * share / (k * (k - 1))
    error = float(np.hypot(weights[0] * two[1], weights[1] * eight[1]))
    return max(weights[0] * two[0] + weights[1] * eight[0], 0.0), error


def add_torch(name: str, record: dict[str, Any]) -> None:
    """Write PyTorch's figures into a graph's record."""
    record["torch"] = Beside(name, record).measure()
