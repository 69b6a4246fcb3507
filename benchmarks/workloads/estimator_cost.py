"""What an estimator costs: steps of a belief network 784-200-200 relative to one-evaluation score-function steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import ppl
from benchmarks.data import bits
from benchmarks.step_models import generative, guide
from benchmarks.timing import check, interleave
from benchmarks.workloads.sbn_step import BATCH
from ppl.estimators import ARM, DisARM, Rebar, Relax, ScoreFunction

BASELINE = "score function"

SETUPS = {
    BASELINE: ScoreFunction(),
    "moving average": ScoreFunction("moving_average"),
    "learned baseline": ScoreFunction("learned"),
    "ARM": ARM(),
    "DisARM": DisARM(),
    "REBAR, η and temperature fixed": Rebar(adapt_eta=False),
    "REBAR, η adapted": Rebar(),
    "REBAR, η and temperature adapted": Rebar(adapt_temperature=True),
    "RELAX": Relax(),
}

LIMITS = {
    "DisARM": 2.2,
    "REBAR, η adapted": 3.3,
    "REBAR, η and temperature adapted": 6.0,
    "RELAX": 6.0,
}


def compile_program(estimator: Any) -> Any:
    """The program with one estimator in both layers, one particle, every term of the bound sampled."""
    objective = ppl.elbo(generative, guide, kl="sampled")
    return ppl.compile(objective, estimators=estimator, data=ppl.spec((None, 784), np.float32))


def stepper(estimator: Any) -> Callable[[], object]:
    """A function that does one `program.step`, gradients and auxiliary variables, on the same 100 rows."""
    program, rows = compile_program(estimator), bits(BATCH)
    box = [program.init(seed=0)]

    def step() -> None:
        _, _, box[0] = program.step(box[0], rows)

    return step


def run(peers: list[str]) -> dict[str, Any]:
    """Time all setups in turns."""
    steps = {label: stepper(estimator) for label, estimator in SETUPS.items()}
    timings = interleave(steps, samples=40, sample_seconds=0.06)
    one = timings[BASELINE].median
    return {
        "title": "One step of a sigmoid belief network 784-200-200, batch 100, one particle, by estimator",
        "timings": timings,
        "baseline": BASELINE,
        "checks": [
            check(f"{label} / {BASELINE}", timings[label].median / one, limit, "×") for label, limit in LIMITS.items()
        ],
        "notes": [
            "`program.step`: loss, gradients, auxiliary variables (η, temperature, networks) advanced; no optimizer.",
            "DisARM evaluates what is downstream of a layer twice, REBAR and RELAX three times; with two layers that "
            "is 3 and 5 copies of the layers below, the products with the 784 pixels included.",
        ],
    }
