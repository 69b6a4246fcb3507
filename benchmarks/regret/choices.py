"""What is chosen on a graph: by `auto` with one particle, by `auto` with particles, and by `ppl.tune`."""

from __future__ import annotations

from typing import Any

import ppl
from benchmarks.regret.graphs import GRAPHS
from benchmarks.regret.measure import Built, Candidate, Plan, spelled, time_together
from benchmarks.regret.search import MORE
from ppl.choosing.tune import MAX_COPIES
from ppl.compiler.plan.decision_table import TABLE
from ppl.errors import EstimatorError
from ppl.estimators import by_default
from ppl.estimators.base import Estimator

KNOWN: dict[str, Estimator] = {e.label: e for e in (*(row.estimator for row in TABLE), *MORE, *by_default())}
"""Estimators by label."""


def add_choices(name: str, record: dict[str, Any], tune: bool) -> None:
    """Write the choices into a graph's record, and measure those that are not among its candidates."""
    built = Built(GRAPHS[name]())
    one = built.program("auto", 1)
    _enter(built, record, "auto", one.explain().as_dict(), 1)
    built.copies = MAX_COPIES
    try:
        more = built.program("auto", "auto")
        _enter(built, record, "particles", more.explain().as_dict(), more.settings.particles)
    except EstimatorError as error:
        _enter(built, record, "particles", one.explain().as_dict(), 1)
        record["particles"]["refused"] = str(error).splitlines()[0]
    if tune:
        state = built.state(one)
        found = ppl.tune(one, state, *built.data, seed=0)
        plan = found.explain()
        _enter(built, record, "tune", plan.as_dict(), plan.particles)
        record["tune"]["seconds"] = [plan.tuning.measuring, plan.tuning.compiling] if plan.tuning else [0.0, 0.0]


def _enter(built: Built, record: dict[str, Any], key: str, plan: Plan, particles: int) -> None:
    record[key] = {"plan": spelled(plan), "particles": particles}
    known = [c for c in record["candidates"] if c["plan"] == spelled(plan) and str(particles) in _keys(c)]
    if not known and plan:
        record["candidates"].append(_measured(built, record, plan))


def _keys(candidate: dict[str, Any]) -> list[str]:
    return [str(k) for k in candidate["particles"]]


def _measured(built: Built, record: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """A candidate that is measured later: its seconds are scaled by what a known one takes now."""
    one = Candidate(built, plan)
    one.glance()
    one.finish(alone=True)
    known = min(record["candidates"], key=lambda c: min(v * s for v, _, s in c["particles"].values()))
    other = Candidate(built, {n: KNOWN[label] for n, label in known["plan"].items()})
    other.glance()
    time_together([one, other])
    then = known["particles"]["2"][2]
    found = one.record()
    for row in found["particles"].values():
        row[2] *= then / other.seconds[2]
    return found
