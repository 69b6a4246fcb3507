"""A policy-gradient step through a linear system: 1000 environments, 200 times, reward to go, descent in k and log σ.

x' = x + v dt, v' = v + a dt, a ~ N(k·(x, v), σ²), cost x² + v² + a² / 10 at every time. Ours is written on the IR's
region op (`benchmarks/policy_gradient.py`), since the language has no loop; the peers have the score by formulas.
"""

from __future__ import annotations

from typing import Any

from benchmarks import suite
from benchmarks.forms import Form
from benchmarks.policy_gradient import Descent
from benchmarks.roofline import Work
from benchmarks.roofline import work as work_of

TITLE = "Policy gradient, 1000 environments × 200 times, linear system, Gaussian policy, reward to go"
GOALS = (suite.Goal(1 / 3),)
ENVIRONMENTS, TIMES, RATE, STEPS = 1000, 200, 1e-6, 100


def forms() -> dict[str, Form]:
    """One step a call, and many."""
    single, many = (Descent(ENVIRONMENTS, TIMES, RATE) for _ in range(2))
    return {
        f"region op, {STEPS} steps a call": Form(lambda: many.run(STEPS), STEPS),
        "region op, one call a step": Form(single.step),
    }


def work() -> Work:
    """Nothing that must leave the caches."""
    return work_of(3, 2)


def run(peers: list[str]) -> dict[str, Any]:
    """Time the peers."""
    return suite.run(__name__, peers)
