"""Figures of the small models over seeds, beside independent ones: rows of `docs/models/index.md`."""

from __future__ import annotations

from typing import Any

from benchmarks.zoo import Figure, record

SEEDS = {
    "regression": 5,
    "quadratic": 5,
    "toy": 5,
    "policy": 5,
    "control": 3,
    "walk": 3,
    "state_space": 3,
    "hmm": 3,
    "sir": 3,
    "volatility": 3,
}
FIGURES = (
    Figure("quadratic", "spread of θ after 300 steps, pathwise", "spread of θ, pathwise, formula", 2e-3, True),
    Figure("quadratic", "spread of θ under Robbins-Monro, pathwise",
           "spread of θ under Robbins-Monro, pathwise, formula", 1e-3, True),
    Figure("quadratic", "mean of θ after 300 steps, score function", "mean of θ after 300 steps, formula", 5e-3, True),
    Figure("quadratic", "mean of θ after 300 steps, pathwise", "mean of θ after 300 steps, formula", 3e-3, True),
    Figure("regression", "negative log-likelihood", "negative log-likelihood of least squares, constant σ", 0.0),
    Figure("policy", "largest deviation of the mean gradient from the exact one", 0.0, 4.0),
    Figure("policy", "expected reward learned, exact", "expected reward of the optimal policy", 0.02, True),
    Figure("control", "expected cost above the optimum, score function", 0.0, 0.01),
    Figure("control", "expected cost above the optimum, pathwise", 0.0, 1e-4),
    Figure("walk", "d/dp E[X²] at p = 100", "d/dp E[X²] at p = 100, exact", 0.1, True),
    *(
        Figure("state_space", f"negative log-likelihood or bound, {name}",
               "negative log-likelihood, maximum by Nelder and Mead", limit, True)
        for name, limit in (("exact", 1e-6), ("smoothing", 5e-3))
    ),
    Figure("volatility", "negative bound",
           "negative log-likelihood by a particle filter, at the learned parameters", 0.03, True),
    Figure("hmm", "negative log-likelihood", "negative log-likelihood, expectation-maximisation", 1e-4, True),
    Figure("sir", "expected squared distance learned, exact", "expected squared distance, least", 0.05),
    *(
        Figure("toy", f"above the minimum, {name}", 0.0, limit)
        for name, limit in (("exact", 1e-5), ("leave-one-out, 2 particles", 1e-4), ("DisARM", 1e-4), ("RELAX", 1e-3))
    ),
)  # fmt: skip


def run(peers: list[str]) -> dict[str, Any]:
    """Run the models and compare."""
    return record("Small models beside independent figures, mean ± standard error over seeds", SEEDS, FIGURES)
