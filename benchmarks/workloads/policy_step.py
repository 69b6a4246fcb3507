"""A policy-gradient step through a linear system: 1000 environments, 200 times, reward to go, descent in k and log σ.

x' = x + v dt, v' = v + a dt, a ~ N(k·(x, v), σ²), cost x² + v² + a² / 10 at every time. Ours is a `ppl.scan`; the peers
have the score by formulas.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from benchmarks import ours, suite
from benchmarks.forms import Form
from benchmarks.policy_gradient import DT, EFFORT
from benchmarks.roofline import Work
from benchmarks.roofline import work as work_of
from ppl import Normal

TITLE = "Policy gradient, 1000 environments × 200 times, linear system, Gaussian policy, reward to go"
GOALS = (suite.Goal(1 / 3),)
ENVIRONMENTS, TIMES, RATE = 1000, 200, 1e-6


@ppl.model
def system() -> None:
    """The mean cost of an environment, from a stable gain."""
    gain, log_sigma = ppl.param("gain", [-1.0, -1.5]), ppl.param("log_sigma", -1.0)
    with ppl.plate("environments", ENVIRONMENTS):

        def step(state: Any, _: Any) -> tuple[Any, None]:
            x, v = state
            a = ppl.sample("action", Normal(gain[0] * x + gain[1] * v, np.exp(log_sigma)))
            ppl.cost("cost", (x * x + v * v + EFFORT * a * a) / ENVIRONMENTS)
            return (x + DT * v, v + DT * a), None

        ppl.scan(step, (1.0, 0.0), length=TIMES)


def forms() -> dict[str, Form]:
    """One step a call, and many."""
    return ours.forms(ppl.compile(system, estimators=ppl.estimators.ScoreFunction()), ppl.optim.SGD(RATE))


def work() -> Work:
    """Nothing that must leave the caches."""
    return work_of(3, 2)


def run(peers: list[str]) -> dict[str, Any]:
    """Race the peers."""
    return suite.run(__name__, peers)
