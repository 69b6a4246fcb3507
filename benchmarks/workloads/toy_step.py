"""One REBAR step of the toy with η adapted, through `Program.update` and inside an `@njit` loop."""

from __future__ import annotations

from typing import Any

import ppl
from benchmarks import ours, suite
from benchmarks.forms import Form
from benchmarks.roofline import Work
from benchmarks.roofline import work as work_of
from ppl.models.toy import toy

TITLE = "Toy (b - 0.499)², one Bernoulli, REBAR with η adapted, one sample, SGD"
CALL, LOOP = "one call a step", "njit loop"
GOALS = (suite.Goal(8e-6, ours=CALL, seconds=True), suite.Goal(0.1, ours=LOOP, peer="scan"))


def forms() -> dict[str, Form]:
    """Three ways of stepping."""
    program = ppl.compile(toy, estimators=ppl.estimators.Rebar())
    return {**ours.forms(program, ppl.optim.SGD(0.01)), f"{LOOP} of 1000 steps": ours.loop(program, 0.01)}


def work() -> Work:
    """The parameter and η in and out: nothing."""
    return work_of(2, 2)


def run(peers: list[str]) -> dict[str, Any]:
    """Race the peers."""
    return suite.run(__name__, peers)
