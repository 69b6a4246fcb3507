"""Held-out bound of the stochastic recurrent network against the same in PyTorch (`benchmarks/peers/rnn_torch.py`)."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np

import ppl
from benchmarks.timing import RESULTS, check
from ppl.models import data, rnn

SEEDS, SAMPLES, EPOCHS = 3, 200, 50


def held_out(seed: int) -> tuple[float, float]:
    """Negative bound per held-out row after 50 epochs of leave-one-out with 4 particles, and seconds of training."""
    rows, test = (rnn.strips(x) for x in data.digits())
    estimator = ppl.estimators.ScoreFunction("leave_one_out")
    program = ppl.compile(ppl.elbo(*rnn.network()), estimators=estimator, particles=4, data=rows)
    optimizer = ppl.optim.Adam(3e-3)
    ppl.fit(program, rows, epochs=1, batch_size=100, optimizer=optimizer, seed=seed, progress=False)
    start = time.perf_counter()
    fit = ppl.fit(program, rows, epochs=EPOCHS, batch_size=100, optimizer=optimizer, seed=seed, progress=False)
    seconds = time.perf_counter() - start
    return float(program.value(fit.state, test, particles=SAMPLES, seed=1)) / len(test), seconds


def run(peers: list[str]) -> dict[str, Any]:
    """Three seeds."""
    found, seconds = (np.array(x) for x in zip(*map(held_out, range(SEEDS)), strict=True))
    torch = json.loads((RESULTS / "rnn_torch.json").read_text())
    error = float(np.hypot(found.std(ddof=1) / np.sqrt(SEEDS), torch["standard_error_of_mean"]))
    pace = float(np.median(seconds) / min(torch["seconds"]))
    return {
        "title": "Stochastic recurrent network on digit strips, leave-one-out, 4 particles, 50 epochs",
        "checks": [
            check("held-out bound above PyTorch's", found.mean() - torch["mean"], 0.2, "nat"),
            check("seconds of training / PyTorch's, eager, fastest seed", pace, 1 / 3, "×"),
        ],
        "details": {"bounds": found.tolist(), "seconds": seconds.tolist(), "torch": torch},
        "notes": [
            f"ppl {found.mean():.3f}, PyTorch {torch['mean']:.3f} nats per row, means of {SEEDS} seeds; the difference "
            f"has a standard error of {error:.3f}. Training is timed without compilation."
        ],
    }
