"""One REBAR step of the toy with η adapted, through `program.step` and inside an `@njit` loop."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import ppl
from benchmarks.timing import check, interleave
from ppl.models.toy import toy

LOOP = 1000


@numba.njit
def _loop(step: Any, n: int, params: Any, grad: Any, aux: Any, hyper: Any, work: Any, rate: float) -> float:
    total = 0.0
    for i in range(n):
        total += step(params, grad, aux, hyper, 7, i, 0, 1.0, work)
        params[0] -= rate * grad[0]
    return total


def run(peers: list[str]) -> dict[str, Any]:
    """Time both ways of stepping."""
    program = ppl.compile(toy, estimators=ppl.estimators.Rebar())
    state = program.init(seed=0)
    params, grad, aux, hyper = program.arrays(state)
    step, work, rate = program.njit, program.workspace(), np.float32(0.01)

    def by_call() -> None:
        program.step(state)

    def in_loop() -> None:
        _loop(step, LOOP, params, grad, aux, hyper, work, rate)

    timings = interleave({"program.step": by_call, f"njit loop of {LOOP} steps": in_loop})
    per_step = timings[f"njit loop of {LOOP} steps"].median / LOOP
    return {
        "title": "Toy: (b - 0.499)², one Bernoulli, REBAR with η adapted, one sample",
        "timings": timings,
        "checks": [
            check("program.step", timings["program.step"].median, 25e-6),
            check("program.njit in an @njit loop, per step", per_step, 0.3e-6),
        ],
    }
