"""Held-out bounds of the categorical VAE, by estimator; PyTorch's: `benchmarks/peers/categorical_vae_torch.py`."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

import ppl
from benchmarks.timing import RESULTS, check
from ppl.models import categorical_vae as model
from ppl.models import data

SEEDS, EPOCHS, BATCH, RATE, SAMPLES = 5, 100, 100, 2e-3, 50


def held_out(name: str, seed: int) -> float:
    """Negative ELBO per held-out row at true samples, after training with one estimator."""
    rows, test = data.digits()
    chosen, particles = model.choice(name, 2)
    program = ppl.compile(ppl.elbo(model.generative, model.guide), chosen, particles=particles, data=rows)
    hyper = model.annealing(chosen, EPOCHS * -(-len(rows) // BATCH))
    optimizer = ppl.optim.Adam(RATE)
    fit = ppl.fit(
        program, rows, epochs=EPOCHS, batch_size=BATCH, optimizer=optimizer, seed=seed, hyper=hyper, progress=False
    )
    return float(program.value(fit.state, test, particles=SAMPLES, seed=1)) / len(test)


def run(peers: list[str]) -> dict[str, Any]:
    """Five seeds of every estimator of the model's main."""
    torch = json.loads((RESULTS / "categorical_vae_torch.json").read_text())["results"]
    checks, notes, details = [], [], {}
    for name in model.choices():
        found = np.array([held_out(name, seed) for seed in range(SEEDS)])
        error = found.std(ddof=1) / np.sqrt(SEEDS)
        line = f"{name}: ppl {found.mean():.3f} ± {error:.3f}"
        if name in torch:
            other = torch[name]
            checks.append(check(f"{name}: bound above PyTorch's", found.mean() - other["mean"], 0.2, "nat"))
            line += f", PyTorch {other['mean']:.3f} ± {other['standard_error_of_mean']:.3f}"
        notes.append(line)
        details[name] = found.tolist()
    return {
        "title": f"Categorical VAE, {EPOCHS} epochs: held-out negative bound at true samples, nats per row",
        "checks": checks,
        "details": details,
        "notes": notes,
    }
