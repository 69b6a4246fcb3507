"""Many independent Gamma units: implicit reparameterization, bound by rejection and the slope of the quantile."""

from __future__ import annotations

from typing import Any

import ppl
from benchmarks import ours, suite
from benchmarks.forms import Form
from benchmarks.roofline import Work
from benchmarks.roofline import work as work_of
from benchmarks.step_models import GAMMAS, units

TITLE = "Gamma, implicit reparameterization, 10⁵ units, Σ log(1 + g), SGD"
GOALS = (suite.Goal(1 / 3),)


def forms() -> dict[str, Form]:
    """Implicit, SGD."""
    program = ppl.compile(units, estimators=ppl.estimators.Implicit())
    return ours.forms(program, ppl.optim.SGD(1e-3), steps=10)


def work() -> Work:
    """log α in and out."""
    return work_of(GAMMAS, 2)


def run(peers: list[str]) -> dict[str, Any]:
    """Race the peers."""
    return suite.run(__name__, peers)
