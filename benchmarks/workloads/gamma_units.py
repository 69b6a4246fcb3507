"""Many independent Gamma units: implicit reparameterization, bound by rejection and the slope of the quantile."""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from benchmarks import ours, suite
from benchmarks.forms import Form
from benchmarks.roofline import Work
from benchmarks.roofline import work as work_of
from ppl import Gamma

TITLE = "Gamma, implicit reparameterization, 10⁵ units, Σ log(1 + g), SGD"
GOALS = (suite.Goal(1 / 3),)
UNITS = 10**5


@ppl.model
def units() -> None:
    """g ~ Gamma(α, 1) with one log α per unit, N(0, 0.5²) at the start: α from 0.1 to 8."""
    alpha = np.exp(ppl.param("log_alpha", ppl.init.normal(0.5), shape=(UNITS,)))
    g = ppl.sample("g", Gamma(alpha, 1.0))
    ppl.cost("cost", np.sum(np.log1p(g)))


def forms() -> dict[str, Form]:
    """Implicit, SGD."""
    program = ppl.compile(units, estimators=ppl.estimators.Implicit())
    return ours.forms(program, ppl.optim.SGD(1e-3), steps=10)


def work() -> Work:
    """log α in and out."""
    return work_of(UNITS, 2)


def run(peers: list[str]) -> dict[str, Any]:
    """Race the peers."""
    return suite.run(__name__, peers)
