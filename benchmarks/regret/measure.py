"""One choice of estimators on one graph: variances of the gradient, and seconds of a training step, by particles."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

import ppl
from benchmarks.regret.graphs import Graph
from ppl.choosing.candidates import PARTICLE_COUNTS
from ppl.choosing.contender import Contender
from ppl.choosing.frozen_steps import FrozenSteps
from ppl.choosing.racing import Clock
from ppl.compiler.plan.plan import Configuration
from ppl.errors import EstimatorError
from ppl.estimators.base import Estimator
from ppl.inference.gradient_samples import GradientMoments, GradientSamples
from ppl.runtime.call import Call

Plan = Mapping[str, Estimator]

COPIES = 4
"""Copies of a program at most, as by default."""

ADAPTED = 1000
"""Steps in which auxiliary variables settle; fewer where they take more than `ADAPTED_SECONDS`."""

ADAPTED_SECONDS = 2.0

PRECISE = 0.03
"""Relative standard error of a variance at which no more gradients are drawn."""

EXACT = 1e-9
"""Variance relative to the squared mean below which it is rounding."""

TURNS = 7

CLOCK = time.process_time
"""Seconds of this process on one thread: others on the machine do not count."""


class Built:
    """A graph with the state to measure at."""

    def __init__(self, graph: Graph):
        self.graph, self.data, self.objective = graph, graph.data, graph.objective
        self.params, self.copies = dict(graph.params), COPIES
        if graph.trained:
            program = self.program("auto", 1)
            start = self.state(program)
            rate = ppl.optim.Adam(graph.rate)
            fit = ppl.fit(program, *self.data, steps=graph.trained, optimizer=rate, state=start, progress=False)
            self.params = dict(fit.state.params)

    def program(self, plan: Plan | str, particles: Any) -> Any:
        """A program of a plan. Raises an EstimatorError where it is not admissible."""
        given = self.data or None
        found = ppl.compile(self.objective, plan, particles=particles, data=given, max_copies=COPIES)
        if found.explain().copies > self.copies:
            raise EstimatorError(f"more than {self.copies} copies")
        return found

    def state(self, program: Any) -> Any:
        """The graph's parameters with auxiliary variables as they begin."""
        state = program.init(0, *self.data)
        return state.replace(params={**dict(state.params), **self.params})


class Variance:
    """The trace of a gradient's covariance and its standard error, from more and more gradients."""

    def __init__(self, program: Any, state: Any, data: Sequence[Any]):
        self.moments, self._taken = GradientMoments(), 0.0
        self._source = GradientSamples(program, Call(state, data, seed=1), backend="auto")
        self._source.chunk = min(self._source.chunk, 25)
        self._chunks = self._source(200_000)

    def draw(self, least: int, seconds: float) -> None:
        """Draw until so many gradients are there, and then until the variance is precise or the time is over."""
        began, spent = time.perf_counter(), 0.0
        while self.moments.count < least or (spent < seconds and not self.precise):
            if self.moments.count >= 2 and spent > 5 * seconds:
                return
            self.moments.add(next(self._chunks))
            spent = time.perf_counter() - began

    @property
    def precise(self) -> bool:
        """Whether more gradients are not needed."""
        value, error = self.value
        return self.moments.count >= 300 and error <= PRECISE * value

    @property
    def value(self) -> tuple[float, float]:
        """Variance and standard error."""
        total = self.moments.total()
        if total.trace <= EXACT * float((total.mean**2).sum()):
            return 0.0, 0.0
        return total.trace, total.trace_error


class Candidate:
    """One plan on one graph.

    Attributes
    ----------
    variance : by particles, with standard errors.
    seconds : of a training step, by particles.
    """

    def __init__(self, built: Built, plan: Plan):
        self.built, self.plan = built, dict(plan)
        self.least = 1 if all(e.validate(1) is None for e in plan.values()) else 2
        self.gain = float(self.least)
        """How much more the variance may fall from 2 particles on than 1/K: by 2 with baselines from the others."""
        self.steps: dict[int, FrozenSteps] = {}
        self.variance: dict[int, tuple[float, float]] = {}
        self.seconds: dict[int, float] = {}
        self._drawn: dict[int, Variance] = {}
        self._program = built.program(self.plan, 2)
        self.copies = self._program.explain().copies

    def look(self) -> tuple[float, float, bool]:
        """Variance and seconds at two particles in the interpreter, roughly; and whether auxiliary variables move."""
        state = self.built.state(self._program)
        one = Contender(Configuration(tuple(self.plan.items()), 2), self._program, Call(state, self.built.data, seed=1))
        Clock().interpret(one, 0.3)
        drawn = Variance(self._program, one.call.state, self.built.data)
        drawn.draw(40, 0.1)
        return drawn.value[0], one.seconds, bool(state.aux)

    def _begin(self, program: Any, particles: int) -> None:
        """Let auxiliary variables settle; what is drawn and timed comes after that."""
        state = self.built.state(program)
        steps = FrozenSteps(program, Call(state, self.built.data))
        steps.take(2)
        until = time.perf_counter() + ADAPTED_SECONDS
        while state.aux and steps.state.step < ADAPTED and time.perf_counter() < until:
            steps.take(20)
        self.steps[particles] = steps
        self._drawn[particles] = Variance(program, steps.state, self.built.data)

    def glance(self) -> float:
        """Variance × seconds at two particles, roughly."""
        if 2 not in self.steps:
            self._begin(self._program, 2)
        self._drawn[2].draw(50, 0.2)
        self.seconds[2] = float(np.median([self.steps[2].seconds(CLOCK) for _ in range(5)]))
        return self._drawn[2].value[0] * self.seconds[2]

    def finish(self, alone: bool, seconds: float = 1.0) -> None:
        """Variances at all numbers of particles, and programs to time with them; `alone`: with one particle, too.

        The variance of a mean over particles is simply 1/K of one's, but with baselines from the other particles: that
        is a U-statistic of order 2, V(K) = (a (K - 2) + b) / (K (K - 1)), known from two numbers, where the baseline
        is their mean; else it is measured.
        """
        self._drawn[2].draw(300, seconds)
        for k in PARTICLE_COUNTS:
            if k != 2 and (k > 1 or (alone and self.least == 1)):
                self._begin(self.built.program(self.plan, k), k)
        two, two_error = self._drawn[2].value
        if self.least == 1:
            self.variance = {k: (2 * two / k, 2 * two_error / k) for k in PARTICLE_COUNTS}
            return
        weighted = any("optimal" in e.label for e in self.plan.values())
        self.variance[2] = two, two_error
        for k in (4, 8, 16) if weighted else (8,):
            self._drawn[k].draw(300 if two else 100, seconds)
            self.variance[k] = self._drawn[k].value
        for k in PARTICLE_COUNTS[2:]:
            if k not in self.variance:
                self.variance[k] = self._between(k)
        self.variance = dict(sorted(self.variance.items()))

    def _between(self, k: int) -> tuple[float, float]:
        """The U-statistic's variance from those at 2 and 8."""
        (two, two_error), (eight, eight_error) = self.variance[2], self.variance[8]
        share = (k - 2) / 6
        weights = 2 * (1 - share) / (k * (k - 1)), 56 * share / (k * (k - 1))
        error = float(np.hypot(weights[0] * two_error, weights[1] * eight_error))
        return max(weights[0] * two + weights[1] * eight, 0.0), error

    def products(self) -> dict[int, float]:
        """Variance × seconds by particles."""
        return {k: v * self.seconds[k] for k, (v, _) in self.variance.items() if k in self.seconds}

    def record(self) -> dict[str, Any]:
        """As plain JSON."""
        rows = {str(k): [*self.variance[k], self.seconds[k]] for k in sorted(self.products())}
        return {"plan": spelled(self.plan), "label": label(self.plan), "copies": self.copies, "particles": rows}


def spelled(plan: Plan) -> dict[str, str]:
    """A plan as text."""
    return {name: e.label for name, e in plan.items()}


def label(plan: Plan) -> str:
    """The estimators of a plan, each once; of several nodes with several, by node."""
    labels = list(dict.fromkeys(e.label for e in plan.values()))
    return labels[0] if len(labels) == 1 else ", ".join(f"{n}: {e.label}" for n, e in plan.items())


def time_together(found: Iterable[Candidate]) -> None:
    """Set the seconds of all candidates at all numbers of particles: medians of steps in turns."""
    pairs = [(one, k) for one in found for k in one.steps]
    taken: dict[tuple[int, int], list[float]] = {(id(one), k): [] for one, k in pairs}
    for _ in range(TURNS):
        for one, k in pairs:
            taken[id(one), k].append(one.steps[k].seconds(CLOCK))
    for one, k in pairs:
        one.seconds[k] = float(np.median(taken[id(one), k]))
