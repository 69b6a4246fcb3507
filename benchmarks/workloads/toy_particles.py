"""One leave-one-out step of the toy with a thousand samples."""

from __future__ import annotations

from typing import Any

import ppl
from benchmarks import ours, suite
from benchmarks.forms import Form
from benchmarks.roofline import Work
from benchmarks.roofline import work as work_of
from ppl.models.toy import toy

TITLE = "Toy (b - 0.499)², one Bernoulli, leave-one-out with 1000 samples, SGD"
GOALS = (suite.Goal(1 / 3, peer="scan"),)
SAMPLES = 1000


def forms() -> dict[str, Form]:
    """Three ways of stepping."""
    program = ppl.compile(toy, estimators=ppl.estimators.ScoreFunction("leave_one_out"), particles=SAMPLES)
    return {**ours.forms(program, ppl.optim.SGD(0.01)), "njit loop of 1000 steps": ours.loop(program, 0.01)}


def work() -> Work:
    """The parameter in and out: nothing."""
    return work_of(1, 2)


def run(peers: list[str]) -> dict[str, Any]:
    """Race the peers."""
    return suite.run(__name__, peers)
