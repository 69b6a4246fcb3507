"""Many independent Normal units with a smooth cost: pathwise gradients, bound by noise and elementary functions."""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from benchmarks import ours, suite
from benchmarks.forms import Form
from benchmarks.roofline import Work
from benchmarks.roofline import work as work_of
from ppl import Normal

TITLE = "Pathwise, 10⁶ Normal units, Σ softplus(z) cos z, SGD"
GOALS = (suite.Goal(1 / 3),)
UNITS = 10**6


@ppl.model
def units() -> None:
    """z ~ N(μ, 1) with one μ per unit."""
    mu = ppl.param("mu", ppl.init.normal(1.0), shape=(UNITS,))
    z = ppl.sample("z", Normal(mu, 1.0))
    ppl.cost("cost", np.sum(ppl.softplus(z) * np.cos(z)))


def forms() -> dict[str, Form]:
    """Pathwise, SGD."""
    program = ppl.compile(units, estimators=ppl.estimators.Pathwise())
    return ours.forms(program, ppl.optim.SGD(1e-3))


def work() -> Work:
    """μ in and out."""
    return work_of(UNITS, 2)


def run(peers: list[str]) -> dict[str, Any]:
    """Race the peers."""
    return suite.run(__name__, peers)
