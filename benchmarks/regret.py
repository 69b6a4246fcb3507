"""``python -m benchmarks regret [GRAPH...] [--minutes M]``: what the automatic choice costs beside the best one.

For every graph: variance of the gradient × seconds of a step, of the automatic plan and of every unbiased candidate in
the decision table, with particles. Regret is the ratio of the first to the least of them. Graphs that `regret.json`
has are not measured again unless they are named, so that the table grows over several runs.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

import ppl
from benchmarks import machine, timing
from benchmarks.regret_graphs import GRAPHS, Graph
from ppl.compiler.plan.choice import TABLE
from ppl.errors import EstimatorError
from ppl.estimators import CategoricalDisARM, Combine, DisARM, Enumerate, Pathwise, ScoreFunction
from ppl.estimators.base import Estimator

COPIES, MOST_COPIES = 4, 64
"""Copies of the automatic choice, and of all candidates."""
PARTICLES = (1, 2, 4, 8, 16)
ADAPTED, REPEATS, LARGE_REPEATS = 600, 4000, 400
"""Steps in which auxiliary variables settle, and estimates for a variance: without data, and with data."""
OTHERS = ScoreFunction("leave_one_out")
MORE: tuple[Estimator, ...] = (
    ScoreFunction("optimal"),
    ScoreFunction("learned"),
    Enumerate(units=1),
    Enumerate(units=3),
    Enumerate(categories=4),
    Combine(Pathwise(), OTHERS),
    Combine(CategoricalDisARM(), OTHERS),
    Combine(Enumerate(categories=2), OTHERS),
    Combine(DisARM(), ScoreFunction("moving_average")),
)
"""Candidates beside those of the table."""
Plan = Mapping[str, Estimator]
HEAD = (
    "# Regret of the automatic choice",
    "",
    "Variance of the gradient × seconds of a step of the automatic plan (one particle), over the least of all unbiased "
    f"candidates of at most {COPIES} copies, with 1 to 16 particles; and the least of at most {MOST_COPIES} copies. "
    "± is one standard error from the variances. Times are medians of 15 turns on a machine that others used too, so "
    "they are uncertain by some tens of per cent.",
    "",
)


class Measured:
    """One plan on one graph: copies, variances by particles, and seconds by particles."""

    def __init__(self, built: Graph, plan: Plan | str):
        self.built, self.plan = built, plan
        self.variance: dict[int, tuple[float, float]] = {}
        self.seconds: dict[int, float] = {}
        first = next((k for k in (1, 2) if self._program(k) is not None), 0)
        if not first:
            raise EstimatorError("no program")
        program = self._program(first)
        self.copies = program.explain().copies
        if self.copies > MOST_COPIES:
            raise EstimatorError("too many copies")
        self.label = ", ".join(dict.fromkeys(e.label for e in program.explain().as_dict().values()))
        self.steps: dict[int, Any] = {}
        for k in (first, 8):
            self._measure(k)
        for k in PARTICLES:
            if first == 2 and k in (4, 16):
                self._measure(k, timed=False)
            if first == 1 and k not in self.variance:
                self.variance[k] = tuple(v / k for v in self.variance[1])

    def _program(self, particles: int) -> Any:
        try:
            found = self.built.data
            return ppl.compile(
                self.built.objective, self.plan, particles=particles, data=found, max_copies=MOST_COPIES
                if self.plan != "auto" else COPIES,
            )  # fmt: skip
        except EstimatorError:
            return None

    def _measure(self, particles: int, timed: bool = True) -> None:
        """The variance at the graph's parameters after auxiliary variables have settled, and what is to be timed."""
        program, data = self._program(particles), self.built.data
        state = program.init(0, *data)
        state = state.replace(params={**dict(state.params), **self.built.params})
        for _ in range(ADAPTED if state.aux else 0):
            _, _, state = program.step(state, *data)
        if particles != 8 or self.variance.keys().isdisjoint({1}):
            repeats = LARGE_REPEATS if data else REPEATS
            total = program.diagnose(state, *data, repeats=repeats, seed=1, timing=False).total
            floor = 1e-10 * float((total.mean**2).sum())
            self.variance[particles] = (total.trace, total.trace_error) if total.trace > floor else (0.0, 0.0)
        if timed:
            self.steps[particles] = lambda: program.step(state, *data)

    def time(self, found: Mapping[int, float]) -> None:
        """Seconds of a step by particles, from those at two numbers of them: a straight line between."""
        (low, a), (high, b) = sorted(found.items())
        self.seconds = {k: max(a + (b - a) * (k - low) / (high - low), 0.5 * a) for k in PARTICLES if k >= low}

    def record(self) -> dict[str, Any]:
        """As plain JSON."""
        rows = {k: [*self.variance[k], self.seconds[k]] for k in PARTICLES if k in self.variance and k in self.seconds}
        return {"label": self.label, "copies": self.copies, "particles": rows}


def candidates(program: Any, node: str) -> list[Estimator]:
    """The unbiased estimators that admit a node."""
    random_node = program.prepare().graph[node]
    known = dict.fromkeys([*(row.estimator for row in TABLE), *MORE])
    return [e for e in known if not e.biased and e.supports(random_node).ok]


def measure(name: str) -> dict[str, Any]:
    """All candidates of one graph: of one node all; of several each node's beside the automatic rest, then the best."""
    built = GRAPHS[name]()
    auto = Measured(built, "auto")
    program = ppl.compile(built.objective, data=built.data)
    chosen = program.explain().as_dict()
    nodes = [n for n in chosen if program.prepare().graph[n].needs_gradient]
    found = [auto]
    singles: dict[str, list[tuple[Estimator, Measured]]] = {}
    for node in nodes:
        singles[node] = []
        for e in candidates(program, node):
            one = _tried(built, {**chosen, node: e})
            if one is not None:
                singles[node].append((e, one))
                found.append(one)
    _time(found)
    if len(nodes) > 1:
        best = [[e for e, _ in sorted(singles[n], key=lambda pair: _least(pair[1]))[:3]] for n in nodes]
        width = 3 if len(nodes) == 2 else 2
        joint = [_tried(built, dict(zip(nodes, es, strict=True))) for es in product(*(b[:width] for b in best))]
        more = [one for one in joint if one is not None]
        _time([*more, auto])
        found += more
    return {
        "title": built.title,
        "auto": auto.record(),
        "candidates": [one.record() for one in found[1:]],
        "date": datetime.date.today().isoformat(),
    }


def _tried(built: Graph, plan: Plan) -> Measured | None:
    try:
        return Measured(built, plan)
    except (EstimatorError, FloatingPointError, ppl.errors.NonFiniteError):
        return None


def _time(found: Sequence[Measured]) -> None:
    """Steps of all in turns."""
    steps = {(i, k): step for i, one in enumerate(found) for k, step in one.steps.items()}
    labels = {f"{i} {k}": step for (i, k), step in steps.items()}
    taken = timing.interleave(labels, samples=15, sample_seconds=0.005, pause=0.0)
    for i, one in enumerate(found):
        one.time({k: taken[f"{i} {k}"].median for k in one.steps})


def _least(one: Measured) -> float:
    return min(v[0] * v[2] for v in one.record()["particles"].values())


def best(record: Mapping[str, Any], copies: int) -> tuple[float, float, str, int]:
    """The least variance × seconds with at most so many copies, its relative error, label, and particles."""
    listed = [
        (v * s, error / v if v else 0.0, one["label"], int(k))
        for one in [record["auto"], *record["candidates"]]
        if one["copies"] <= copies
        for k, (v, error, s) in one["particles"].items()
    ]
    return min(listed)


def regret(record: Mapping[str, Any], copies: int = COPIES) -> tuple[float, float]:
    """The automatic plan's variance × seconds over the least, and the standard error that the variances give it."""
    (_, (v, error, s)) = min(record["auto"]["particles"].items(), key=lambda kv: int(kv[0]))
    least, relative, *_ = best(record, copies)
    if least == 0:
        return (1.0, 0.0) if v == 0 else (float("inf"), 0.0)
    ratio = v * s / least
    return ratio, ratio * float(np.hypot(relative, error / v if v else 0.0))


def table(records: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        *HEAD,
        "| graph | automatic | regret | best | particles | best of more copies |",
        "|---|---|---|---|---|---|",
    ]
    found = sorted((regret(r), name) for name, r in records.items())
    for (ratio, error), name in found:
        r = records[name]
        _, _, label, particles = best(r, COPIES)
        least, _, more, k = best(r, MOST_COPIES)
        gain = f"{more}, {k} particles, " + (
            "exact" if least == 0 else f"{best(r, COPIES)[0] / least:.2g} times better"
        )
        lines.append(
            f"| {r['title']} | `{r['auto']['label']}` | {ratio:.3g} ± {error:.1g} | `{label}` | {particles} | "
            f"{gain if (more, k) != (label, particles) else '-'} |"
        )
    ratios = np.array([ratio for (ratio, _), _ in found])
    lines += [
        "",
        f"{len(ratios)} graphs; within 1.3 on {np.mean(ratios <= 1.3):.0%}, above 3 on {np.mean(ratios > 3):.0%}.",
    ]
    wins = sorted({best(r, copies)[2] for r in records.values() for copies in (COPIES, MOST_COPIES)})
    lines += ["", "At least once the best: " + ", ".join(f"`{label}`" for label in wins) + ".", ""]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is missing, or named, until the time is over; write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks regret", description=__doc__)
    parser.add_argument("graphs", metavar="GRAPH", nargs="*", help=f"of {', '.join(GRAPHS)} (default: those missing)")
    parser.add_argument("--minutes", type=float, default=180.0, help="no graph is begun after so many")
    options = parser.parse_args(argv)
    store = timing.RESULTS / "regret.json"
    kept = json.loads(store.read_text()) if store.exists() else {}
    records, until = kept.get("graphs", {}), time.monotonic() + 60 * options.minutes
    for name in options.graphs or [n for n in GRAPHS if n not in records]:
        if time.monotonic() > until:
            break
        records[name] = measure(name)
        ratio, error = regret(records[name])
        print(f"{name}: regret {ratio:.3g} ± {error:.1g}, best {best(records[name], COPIES)[2:]}", flush=True)
        store.write_text(json.dumps({"graphs": records, "machine": machine.info()}, indent=1, default=float))
        (timing.RESULTS / "regret.md").write_text(table(json.loads(store.read_text())["graphs"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
