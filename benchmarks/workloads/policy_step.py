"""A policy-gradient step through a linear system: 1000 environments, 200 times, reward to go. Peers only.

x' = x + v dt, v' = v + a dt, a ~ N(k·(x, v), σ²), cost x² + v² + a² / 10 at every time; score function with the cost
to go, descent in k and log σ. Ours would take 200 random nodes unrolled: the language has no loop.
"""

from __future__ import annotations

from typing import Any

from benchmarks import suite
from benchmarks.forms import Form
from benchmarks.roofline import Work
from benchmarks.roofline import work as work_of

TITLE = "Policy gradient, 1000 environments × 200 times, linear system, Gaussian policy, reward to go"
GOALS = (suite.Goal(1 / 3),)
ENVIRONMENTS, TIMES = 1000, 200


def forms() -> dict[str, Form]:
    """None yet."""
    return {}


def work() -> Work:
    """Nothing that must leave the caches."""
    return work_of(3, 2)


def run(peers: list[str]) -> dict[str, Any]:
    """Time the peers."""
    return suite.run(__name__, peers)
