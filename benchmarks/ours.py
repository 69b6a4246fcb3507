"""Our forms of a step: `ppl.fit` (many steps per Python call), `Program.update` (one), a user's `@njit` loop."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import ppl
from benchmarks.forms import Form

STEPS = 100


def forms(program: Any, optimizer: Any, data: np.ndarray | None = None, batch: int = 100, steps: int = STEPS
          ) -> dict[str, Form]:  # fmt: skip
    """Both forms, each with a state of its own; minibatches of `batch` rows if there are data."""
    arrays = () if data is None else (data,)
    return {
        f"fit, {steps} steps a call": fit(program, optimizer, arrays, batch, steps),
        "update, one call a step": update(program, optimizer, arrays, batch),
    }


def fit(program: Any, optimizer: Any, arrays: tuple[np.ndarray, ...], batch: int, steps: int) -> Form:
    """`ppl.fit` over `steps` minibatches, shuffled and gathered by itself, that goes on from where it stopped."""
    box = [program.init(0, *arrays)]
    size = batch if arrays else None

    def call() -> None:
        box[0] = ppl.fit(
            program, *arrays, steps=steps, batch_size=size, optimizer=optimizer, state=box[0], progress=False
        ).state

    return Form(call, steps)


def update(program: Any, optimizer: Any, arrays: tuple[np.ndarray, ...], batch: int) -> Form:
    """`Program.update` on minibatches in the order of the rows."""
    box = {"state": program.init(0, *(a[:batch] for a in arrays)), "at": 0}
    rows = len(arrays[0]) if arrays else 0

    def call() -> None:
        start = box["at"]
        part = [a[start : start + batch] for a in arrays]
        box["state"], _ = program.update(box["state"], *part, optimizer=optimizer, rows=start if arrays else None)
        box["at"] = (start + batch) % max(rows, 1)

    return Form(call)


def loop(program: Any, lr: float, steps: int = 1000) -> Form:
    """`Program.njit` in the user's own loop with SGD, for a program without data; one thread."""
    params, grad, aux, hyper = program.arrays(program.init(seed=0))
    step, work, rate, box = program.njit, program.workspace(), np.float32(lr), [0]

    def call() -> None:
        _descend(step, box[0], steps, params, grad, aux, hyper, work, rate)
        box[0] += steps

    return Form(call, steps)


@numba.njit
def _descend(
    step: Any, first: int, n: int, params: Any, grad: Any, aux: Any, hyper: Any, work: Any, rate: Any
) -> float:
    total = 0.0
    for i in range(first, first + n):
        total += step(params, grad, aux, hyper, 7, i, 0, 1.0, work)
        for k in range(params.shape[0]):
            params[k] -= rate * grad[k]
    return total
