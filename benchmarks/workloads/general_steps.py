"""Training steps of ten models outside the suite: Adam on all of 1,000 rows, against JAX."""

from __future__ import annotations

import os
import statistics
from typing import Any

import ppl
from benchmarks import general_models, ours, suite
from benchmarks.forms import CPU_CLOCK
from benchmarks.peer import Peer
from benchmarks.race import Contestant, race, theirs
from benchmarks.race import ours as contestant
from benchmarks.roofline import Pace
from benchmarks.timing import Timing, check, duration

GOAL = 0.75
COLUMNS = ["model", "ours", "JAX", "ours / JAX", "our form", "JAX's form"]


def run(peers: list[str]) -> dict[str, Any]:
    """Race every model's forms; a row each."""
    rows, ratios, problems = [], [], list[str]()
    found = list(suite.started("general_steps", suite.Peers([p for p in peers if p == "jax"]), problems))
    try:
        with suite.two_threads():
            for name in general_models.MODELS:
                mine, other, timings = one(name, found)
                row = [name, duration(timings[mine].median)]
                if other:
                    ratios.append(timings[mine].median / timings[other].median)
                    row += [duration(timings[other].median), f"{ratios[-1]:.2f}", mine, other.partition(": ")[2]]
                rows.append(row + ["–"] * (len(COLUMNS) - len(row)))
                print(rows[-1], flush=True)
    finally:
        for peer in found:
            peer.close()
    checks = [check(f"{row[0]}: ours / JAX", ratio, GOAL, "×") for row, ratio in zip(rows, ratios, strict=False)]
    median = [f"Median of the ratios: {statistics.median(ratios):.2f}."] if ratios else []
    notes = [f"One step: fresh noise, all gradients, Adam, on all rows. float32, {_clock()}, in turns.", *median]
    return {
        "title": "Steps of ten models outside the suite",
        "tables": [{"columns": COLUMNS, "rows": rows}],
        "checks": checks,
        "notes": [*notes, *problems],
    }


def _clock() -> str:
    """What was measured, in words."""
    if not CPU_CLOCK:
        return "two threads"
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[1]
    return f"CPU seconds of a process on {cores} core(s) while other programs ran (load {load:.0f})"


def one(name: str, peers: list[Peer]) -> tuple[str, str | None, dict[str, Timing]]:
    """The labels of our fastest form and of the fastest peer, and all timings."""
    program, data = general_models.MODELS[name]()
    adam = ppl.optim.Adam(1e-3)
    forms = {"fit": ours.fit(program, adam, data, len(data[0]), ours.STEPS)}
    forms["update"] = ours.update(program, adam, data, len(data[0]))
    contestants: dict[str, Contestant] = {label: contestant(form) for label, form in forms.items()}
    for peer in peers:
        contestants |= {label: theirs(peer, label) for label in peer.labels if label.startswith(f"{name}: ")}
    timings = race(suite.alternating(contestants), Pace()).timings
    mine = min(forms, key=lambda label: timings[label].median)
    rest = [label for label in timings if label not in forms]
    return mine, min(rest, key=lambda label: timings[label].median, default=None), timings
