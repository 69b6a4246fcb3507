"""Bounds that three gradient estimators reach in equally many steps: mean-field Bayesian logistic regression."""

from __future__ import annotations

from typing import Any

import numpy as np

import ppl
from benchmarks.timing import check
from ppl.models import bayes_logistic as model

SEEDS, EPOCHS, BATCH, PARTICLES, RATE = 3, (100, 1500), 100, 16, 2e-2
ESTIMATORS = (ppl.estimators.Pathwise(), ppl.estimators.BonnetPrice(), ppl.estimators.ScoreFunction("leave_one_out"))


def above(program: Any, epochs: int, seed: int, best: float) -> float:
    """Nats by which the negative bound, by quadrature, exceeds the least one after training as the main does."""
    x, y, _, _ = model.rows()
    rate = ppl.optim.exponential(RATE, 0.003 ** (1 / (epochs * -(-len(x) // BATCH))))
    optimizer = ppl.optim.Adam(rate)
    fit = ppl.fit(program, x, y, epochs=epochs, batch_size=BATCH, optimizer=optimizer, seed=seed, progress=False)
    return model.quadrature(*model.posterior(program, fit.state), x, y)[0] - best


def run(peers: list[str]) -> dict[str, Any]:
    """Three seeds of every estimator and budget."""
    x, y, _, _ = model.rows()
    best, rows, details = model.optimum("mean-field", x, y)[0], [], {}
    objective = ppl.elbo(model.generative, model.mean_field)
    for estimator in ESTIMATORS:
        program = ppl.compile(objective, estimators=estimator, particles=PARTICLES, data=(x, y))
        found = np.array([[above(program, epochs, seed, best) for seed in range(SEEDS)] for epochs in EPOCHS])
        errors = found.std(1, ddof=1) / np.sqrt(SEEDS)
        rows.append([estimator.label, *(f"{m:.4f} ± {e:.4f}" for m, e in zip(found.mean(1), errors, strict=True))])
        details[estimator.label] = found.tolist()
    last = [np.mean(found[-1]) for found in details.values()]
    return {
        "title": "Bayesian logistic regression, mean-field: nats above the least negative bound, by estimator",
        "tables": [{"columns": ["", *(f"{n} epochs" for n in EPOCHS)], "rows": rows}],
        "checks": [
            check("pathwise, Bonnet-Price: above the least bound", max(last[:2]), 0.05, "nat"),
            check("score function: above pathwise", last[2] - last[0], 0.0, "nat", at_most=False),
        ],
        "details": details,
        "notes": [
            f"Batches of {BATCH}, {PARTICLES} samples, Adam with a rate that falls from {RATE} to 0.003 of it, seeds 0 "
            f"to {SEEDS - 1}. The least negative bound, by quadrature and L-BFGS, is {best:.4f} nats."
        ],
    }
