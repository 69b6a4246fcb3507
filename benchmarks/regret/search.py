"""All candidates of a graph: which are tried, which are given up early, and what is written down of them."""

from __future__ import annotations

import datetime
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

import ppl
import ppl.errors
from benchmarks.regret.graphs import GRAPHS
from benchmarks.regret.measure import Built, Candidate, Plan, spelled, time_together
from ppl.compiler.plan.decision_table import TABLE
from ppl.errors import EstimatorError, NonFiniteError
from ppl.estimators import CategoricalDisARM, Combine, Enumerate, ScoreFunction
from ppl.estimators.base import Estimator, check_support

T = TypeVar("T")

HOPELESS = 2.0
"""Factor above the best variance × time, by few gradients, from which on a candidate is given up."""

UNSETTLED = 2.0
"""Factor on that for interpreted steps where auxiliary variables move: they may not have settled."""

RATIOS = (0.7, 2.0)
"""Ratios of times between which those of interpreted steps are believed."""

NEAR, LONG = 1.5, 3e-4
"""Factor within which a candidate is measured with one particle, too, which takes a program of its own; and seconds of
a step of two particles from which on one may be better than many."""

MOST = 4
"""Candidates of a round that are compiled: the best as interpreted."""

LOOKING, SEARCHING = 120.0, 240.0
"""Seconds of this process on a graph from which on no candidate is looked at, and none compiled."""

BEST = 3
"""Candidates of a node that are tried beside another node's."""

OTHERS = ScoreFunction("leave_one_out")

MORE: tuple[Estimator, ...] = (
    ScoreFunction("learned"),
    Enumerate(units=1),
    Enumerate(units=1, baseline="leave_one_out"),
    Enumerate(categories=1),
    Combine(CategoricalDisARM(), OTHERS),
)
"""Candidates beside those of the table."""


class Search:
    """The candidates of one graph."""

    def __init__(self, name: str):
        self.name, self.built = name, Built(GRAPHS[name]())
        self.found: dict[str, Candidate] = {}
        self.given_up: dict[str, str] = {}
        self.tried: set[str] = set()
        self.best = self.least = float("inf")
        self._first, self._began = 0.0, time.process_time()
        program = self.built.program("auto", 1)
        self.graph = program.prepare().graph
        self.auto: Plan = program.explain().as_dict()
        self.nodes = [n for n in self.auto if self.graph[n].needs_gradient]

    def run(self) -> dict[str, Any]:
        """Try all, and return the record."""
        self.try_plans([self.auto])
        singles = {n: self._one_node(n) for n in self.nodes}
        plans = [{**self.auto, n: e} for n in self.nodes for e in singles[n]]
        alike = [{n: e for n in self.nodes if e in singles[n]} for e in _kinds(singles.values())]
        self.try_plans([*plans, *({**self.auto, **p} for p in alike)])
        self._finish()
        if len(self.nodes) > 1:
            self.try_plans(self._pairs(singles))
            self._finish()
        time_together(self.found.values())
        return self.record()

    def record(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "title": self.built.graph.title,
            "group": self.built.graph.group,
            "auto": {"plan": spelled(self.auto), "particles": 1},
            "candidates": [c.record() for c in self.found.values()],
            "given_up": self.given_up,
            "date": datetime.date.today().isoformat(),
        }

    def _one_node(self, node: str) -> list[Estimator]:
        """The unbiased estimators that admit a node."""
        known = dict.fromkeys([*(row.estimator for row in TABLE), *MORE])
        return [e for e in known if not e.biased and check_support(e, self.graph[node]).ok]

    def try_plans(self, plans: Iterable[Plan]) -> None:
        """Look at plans in the interpreter, then compile those that are not far behind, the best first."""
        looked: list[tuple[float, float, str, Candidate]] = []
        for plan in plans:
            key = repr(sorted(spelled(plan).items()))
            if key not in self.tried:
                self.tried.add(key)
                if self._late(LOOKING):
                    self.given_up[key] = f"not looked at within {LOOKING:g} s"
                    continue
                found = self._tried(key, lambda plan=plan: self._looked(Candidate(self.built, plan)))
                looked += [] if found is None else [(*found[1:], key, found[0])]
        least = min([self.least, *(product for product, *_ in looked)])
        self.least = least
        ranked = sorted(looked, key=lambda each: each[0] / each[1])
        for i, (product, slack, key, one) in enumerate(ranked):
            if i >= MOST and one.plan != self.auto:
                self.given_up[key] = f"after the {MOST} best, interpreted"
                continue
            if product > HOPELESS * slack * least and one.plan != self.auto:
                self.given_up[key] = f"{product / least:.3g} times the best, interpreted" if least else "not exact"
                continue
            if self._late(SEARCHING) and one.plan != self.auto:
                self.given_up[key] = f"not compiled within {SEARCHING:g} s"
                continue
            glanced = self._tried(key, one.glance)
            if glanced is None:
                continue
            if glanced > HOPELESS * one.gain * self.best and one.plan != self.auto:
                self.given_up[key] = f"{glanced / self.best:.3g} times the best" if self.best else "not exact"
                continue
            self.best = min(self.best, glanced)
            self.found[key] = one

    def _late(self, seconds: float) -> bool:
        return time.process_time() - self._began > seconds

    def _tried(self, key: str, make: Callable[[], T]) -> T | None:
        """What is made, or None with the reason written down."""
        try:
            return make()
        except (EstimatorError, FloatingPointError, NonFiniteError, ppl.errors.ParameterError) as error:
            self.given_up[key] = str(error).splitlines()[0][:200]
            return None

    def _looked(self, one: Candidate) -> tuple[Candidate, float, float]:
        """A candidate with its variance × time in the interpreter, and the factor by which that may be wrong."""
        variance, seconds, moves = one.look()
        self._first = self._first or seconds
        slack = (UNSETTLED if moves else 1.0) * one.gain
        return one, variance * float(np.clip(seconds / self._first, *RATIOS)), slack

    def _finish(self) -> None:
        """Measure those precisely that are still near the best."""
        for key, one in list(self.found.items()):
            if one.variance:
                continue
            product = one.glance()
            if product > HOPELESS * one.gain * self.best and one.plan != self.auto:
                self.given_up[key] = f"{product / self.best:.3g} times the best" if self.best else "not exact"
                del self.found[key]
                continue
            near = product <= NEAR * self.best and one.seconds[2] > LONG
            one.finish(alone=near or one.plan == self.auto)

    def _pairs(self, singles: dict[str, list[Estimator]]) -> list[Plan]:
        """Pairs of nodes with a common cost among each one's best, the others as in the best plan."""
        base = min(self.found.values(), key=lambda c: min(c.products().values(), default=float("inf")))
        width = BEST if len(self.nodes) == 2 else 2
        pairs = [p for p in itertools.combinations(self.nodes, 2) if self._meet(*p)][:3]
        best = {n: self._ranked(n, singles[n])[:width] for n in self.nodes}
        return [{**base.plan, a: x, b: y} for a, b in pairs for x, y in itertools.product(best[a], best[b])]

    def _ranked(self, node: str, known: Sequence[Estimator]) -> list[Estimator]:
        """A node's estimators by the best product that they were part of."""
        of = {e: min((c.seconds[2] * c.variance[2][0] for c in self.found.values() if c.plan[node] == e),
                     default=float("inf")) for e in known}  # fmt: skip
        return [e for e in sorted(of, key=lambda e: of[e]) if of[e] < float("inf")]

    def _meet(self, a: str, b: str) -> bool:
        return bool({c.name for c in self.graph[a].costs} & {c.name for c in self.graph[b].costs})


def _kinds(singles: Iterable[Sequence[Estimator]]) -> list[Estimator]:
    """Estimators that more than one node takes."""
    counted: dict[Estimator, int] = {}
    for e in itertools.chain.from_iterable(singles):
        counted[e] = counted.get(e, 0) + 1
    return [e for e, count in counted.items() if count > 1]
