"""A sweep over estimators, learning rates and seeds, whose runs are kept in a folder and compared.

A binary unit that a cost of 0.499 barely prefers to be off: (b − 0.499)². Interrupt the script and run it again:
finished runs are skipped, and the others go on where they were.

Run: python examples/sweep.py
"""

import functools
from typing import Any

import numpy as np

import ppl
from ppl.estimators import DisARM, Rebar, ScoreFunction


@ppl.model
def units() -> None:
    """Twenty units with one logit each, which all should fall."""
    b = ppl.sample("b", ppl.Bernoulli(logits=ppl.param("logit", np.zeros(20))))
    ppl.cost("cost", np.sum((b - 0.499) ** 2))


def build(estimator: Any, lr: float, seed: int) -> Any:
    """One run: a call of `ppl.fit` that is still to be made. `seed` is handed to it."""
    program = ppl.compile(units, estimators={"b": estimator})
    return functools.partial(ppl.fit, program, steps=3000, optimizer=ppl.optim.SGD(lr))


def measure(program: ppl.Program, fit: ppl.Fit) -> dict[str, float]:
    """What else to tabulate: the mean probability of the units."""
    return {"probability": float(np.mean(1 / (1 + np.exp(-fit.params["logit"]))))}


GRID = {
    "estimator": {"score function": ScoreFunction("moving_average"), "REBAR": Rebar(), "DisARM": DisARM()},
    "lr": [1.0, 10.0],
    "seed": range(3),
}


def main(folder: str = "outputs/sweep", backend: str = "joblib") -> ppl.Sweep:
    """Run what is not finished yet, and show the settings side by side."""
    result = ppl.sweep(build, GRID, backend, folder, measure=measure)
    print(result)
    print(ppl.compare(result, value="probability"))
    return result


if __name__ == "__main__":
    main()
