"""Held-out bound of the digits VAE against the same model in PyTorch (`benchmarks/peers/vae_torch.py`)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

import ppl
from benchmarks.timing import RESULTS, check
from ppl.models import data, vae

SEEDS, MORE_SEEDS, SAMPLES = 5, 20, 200


def held_out(seed: int) -> float:
    """Negative ELBO per held-out row after 50 epochs, with 200 samples a row."""
    rows, test = data.digits()
    program = ppl.compile(ppl.elbo(vae.generative, vae.guide), data=rows)
    fit = ppl.fit(program, rows, epochs=50, batch_size=100, optimizer=ppl.optim.Adam(1e-3), seed=seed)
    return float(program.value(fit.state, test, particles=SAMPLES, seed=1)) / len(test)


def run(peers: list[str]) -> dict[str, Any]:
    """Five seeds as promised, and twenty more for a steadier mean."""
    found = [held_out(seed) for seed in range(SEEDS + MORE_SEEDS)]
    torch = json.loads((RESULTS / "vae_torch.json").read_text())
    ours, more = float(np.mean(found[:SEEDS])), np.array(found[SEEDS:])
    other = torch["more_seeds"]
    error = float(np.hypot(more.std(ddof=1) / np.sqrt(len(more)), other["standard_error_of_mean"]))
    return {
        "title": "Digits VAE 64-128-16-128-64: held-out negative bound, nats per row",
        "checks": [check("distance of the mean of seeds 0-4 from PyTorch's", abs(ours - torch["mean"]), 0.1, "nat")],
        "details": {"seeds": found, "torch_mean": torch["mean"], "torch_more_mean": other["mean"]},
        "notes": [
            f"Seeds 0-4: ppl {ours:.3f}, PyTorch {torch['mean']:.3f}.",
            f"Seeds 5-24: ppl {more.mean():.3f}, PyTorch {other['mean']:.3f}; "
            f"the difference has a standard error of {error:.3f}.",
        ],
    }
