"""Exact held-out log-likelihood of a 64×16 Gaussian–Bernoulli RBM against PyTorch (`peers/gb_rbm_torch.py`)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from sklearn.decomposition import FactorAnalysis

import ppl
from benchmarks.timing import RESULTS, check
from ppl.models import data, gb_rbm

SEEDS = range(5)


def held_out(seed: int) -> float:
    """Nats per held-out row with the settings of `ppl run gb_rbm`."""
    rows, test, _, _ = data.continuous_digits()
    program = ppl.compile(gb_rbm.persistent.bind(steps=5), data=rows)
    optimizer = ppl.optim.Adam(ppl.optim.linear(0.03, 0.0, 200 * len(rows) // 100))
    fit = ppl.fit(program, rows, epochs=200, batch_size=100, optimizer=optimizer, seed=seed, progress=False)
    theta = [np.asarray(x, np.float64) for x in program.params(fit.state).values()]
    return float(-np.mean(gb_rbm.free_energy(test.astype(np.float64), *theta)) - gb_rbm.log_partition(*theta))


def run(peers: list[str]) -> dict[str, Any]:
    """Five seeds each, compared within three standard errors of the difference of their means."""
    rows, test, _, _ = data.continuous_digits()
    found = np.array([held_out(seed) for seed in SEEDS])
    torch = json.loads((RESULTS / "gb_rbm_torch.json").read_text())
    error = float(np.hypot(found.std(ddof=1) / np.sqrt(len(found)), torch["standard_error_of_mean"]))
    gain = float(found.mean() - torch["mean"])
    factors = FactorAnalysis(16).fit(rows.astype(np.float64)).score(test.astype(np.float64))
    return {
        "title": "Gaussian–Bernoulli RBM 64×16 on grey digits: exact held-out log-likelihood, nats per row, seeds 0-4",
        "checks": [check("gain on PyTorch, in standard errors", gain / error, -3.0, "", at_most=False)],
        "details": {"ppl": found.tolist(), "torch_mean": torch["mean"], "factor_analysis": float(factors)},
        "notes": [
            f"ppl {found.mean():.3f}, PyTorch {torch['mean']:.3f}; the difference {gain:.3f} has a standard error of "
            f"{error:.3f}.",
            f"On the same rows: independent normal pixels {independent(test):.2f}, factor analysis with 16 factors "
            f"{factors:.2f}.",
        ],
    }


def independent(test: np.ndarray) -> float:
    """Nats per row under one standard normal for every pixel."""
    return float(-(test.astype(np.float64) ** 2).sum(1).mean() / 2 - test.shape[1] / 2 * np.log(2 * np.pi))
