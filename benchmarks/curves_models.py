"""What `python -m benchmarks curves` trains: three models, fixed choices for each, and how a loss is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import ppl
from benchmarks.estimator_models import CASES
from ppl import Normal
from ppl.estimators import CategoricalDisARM, Pathwise, Rebar, ScoreFunction
from ppl.models import data

WELLS = 64
LEAVE_ONE_OUT = ScoreFunction("leave_one_out")
AUTO = {"auto": 1, "auto, particles": "auto"}
"""The automatic plans: by the table for one particle, and with particles chosen, too."""

TORCH = ("leave-one-out, 4 particles", "REBAR", "DisARM")
"""Of the peer `curves_torch`; it has no DisARM for classes."""


@ppl.model
def wells() -> None:
    """64 places to be found, each a narrow well at the bottom of a wide bowl."""
    x = ppl.sample("x", Normal(ppl.param("mu", 2.0, shape=(WELLS,)), 0.3))
    ppl.cost("height", np.sum(0.5 * x**2 - 5 * np.exp(-200 * x**2)))


@dataclass(frozen=True)
class Task:
    """A model, its data, the fixed choices by name, and how it is trained and judged."""

    title: str
    objective: Any
    arrays: tuple[np.ndarray, ...]
    fixed: Mapping[str, tuple[Any, int]]
    judge: tuple[Any, int]
    rate: float
    batch_size: int | None
    torch: tuple[str, ...] = ()

    def compile(self, name: str) -> Any:
        """The program of a fixed or automatic choice; what measures starts from that of the table."""
        estimators, particles = self.fixed.get(name, ("auto", AUTO.get(name, 1)))
        return ppl.compile(self.objective, estimators, particles=particles, data=self.arrays)


def tasks() -> dict[str, Task]:
    """The three tasks by name."""
    digits = data.digits()[0]
    four = {"leave-one-out, 4 particles": (LEAVE_ONE_OUT, 4)}
    coins = {**four, "REBAR": (Rebar(), 1)}
    classes = {**four, "DisARM-SB": (CategoricalDisARM(), 1)}
    paths = {**four, "path, 16 particles": (Pathwise(), 16)}
    judge = LEAVE_ONE_OUT, 8
    return {
        "sbn": Task(CASES["sbn"].title, CASES["sbn"].objective, (digits,), coins, judge, 1e-3, 100, TORCH),
        "vae": Task(CASES["vae"].title, CASES["vae"].objective, (digits,), classes, judge, 1e-3, 100, TORCH[:2]),
        "wells": Task("64 narrow wells in wide bowls", wells, (), paths, (LEAVE_ONE_OUT, 500), 1e-3, None),
    }
