"""Held-out bound of the digits belief network against the same model in PyTorch (`benchmarks/peers/sbn_torch.py`)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

import ppl
from benchmarks.timing import RESULTS, check
from ppl.models import data, sbn

SEEDS, SAMPLES = 5, 200
PEERS = {(32, 16): "sbn_torch", (64, 32, 16): "sbn3_torch"}
"""Stochastic layers above the 64 pixels, and the record of PyTorch's runs."""


def held_out(layers: tuple[int, ...], seed: int) -> float:
    """Negative ELBO per held-out row after 100 epochs of leave-one-out with 4 particles, from 200 samples a row."""
    rows, test = data.digits()
    estimator = ppl.estimators.ScoreFunction("leave_one_out")
    program = ppl.compile(ppl.elbo(*sbn.network(layers)), estimators=estimator, particles=4, data=rows)
    fit = ppl.fit(program, rows, epochs=100, batch_size=100, optimizer=ppl.optim.Adam(1e-3), seed=seed, progress=False)
    return float(program.value(fit.state, test, particles=SAMPLES, seed=1)) / len(test)


def run(peers: list[str]) -> dict[str, Any]:
    """Five seeds of each architecture."""
    checks, notes, details = [], [], {}
    for layers, peer in PEERS.items():
        name = "-".join(map(str, (64, *layers)))
        found = np.array([held_out(layers, seed) for seed in range(SEEDS)])
        torch = json.loads((RESULTS / f"{peer}.json").read_text())
        error = float(np.hypot(found.std(ddof=1) / np.sqrt(SEEDS), torch["standard_error_of_mean"]))
        checks.append(check(f"{name}: held-out bound above PyTorch's", found.mean() - torch["mean"], 0.2, "nat"))
        notes.append(
            f"{name}: ppl {found.mean():.3f}, PyTorch {torch['mean']:.3f} nats per row, means of {SEEDS} seeds; "
            f"the difference has a standard error of {error:.3f}."
        )
        details[name] = {"seeds": found.tolist(), "torch_mean": torch["mean"]}
    notes.append("ppl takes the top layer's KL divergence in closed form, PyTorch samples every term.")
    return {
        "title": "Digits belief nets, leave-one-out, 4 particles, 100 epochs: held-out negative bound, nats per row",
        "checks": checks,
        "details": details,
        "notes": notes,
    }
