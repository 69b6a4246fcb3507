"""What `benchmarks/workloads/distribution_speed.py` and its peers have in common: the laws, and values of theirs.

Needs NumPy only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

ROWS, COLUMNS, CLASSES = 1000, 1000, 10
COUNT = ROWS * COLUMNS
CONCENTRATION = tuple(0.5 + 0.25 * k for k in range(CLASSES))
LOGITS = tuple(0.3 * k - 1.0 for k in range(CLASSES))
LAWS: dict[str, dict[str, float]] = {
    "Normal": {"loc": 0.3, "scale": 1.7},
    "Gamma(2.5)": {"concentration": 2.5, "rate": 1.3},
    "Gamma(0.3)": {"concentration": 0.3, "rate": 1.3},
    "Beta": {"concentration1": 2.5, "concentration0": 1.7},
    "Poisson(4)": {"rate": 4.0},
    "Poisson(1000)": {"rate": 1000.0},
    "Binomial(50, 0.3)": {"total_count": 50, "probs": 0.3},
    "Categorical(10)": {},
    "Dirichlet(10)": {},
    "StudentT": {"df": 4.0, "loc": 0.3, "scale": 1.7},
    "VonMises": {"loc": 0.3, "concentration": 2.0},
}
"""Parameters of the laws; those of Categorical and Dirichlet are `LOGITS` and `CONCENTRATION`."""


def numpy_draws(name: str, rng: np.random.Generator) -> Any:
    """COUNT values of a law by NumPy's generator: COUNT / CLASSES rows of Dirichlet."""
    p = LAWS[name]
    if name == "Normal":
        return p["loc"] + np.float32(p["scale"]) * rng.standard_normal(COUNT, dtype=np.float32)
    if name.startswith("Gamma"):
        return rng.standard_gamma(p["concentration"], COUNT, dtype=np.float32) / np.float32(p["rate"])
    if name == "Beta":
        return rng.beta(p["concentration1"], p["concentration0"], COUNT)
    if name.startswith("Poisson"):
        return rng.poisson(p["rate"], COUNT)
    if name.startswith("Binomial"):
        return rng.binomial(int(p["total_count"]), p["probs"], COUNT)
    if name.startswith("Categorical"):
        weights = np.exp(LOGITS)
        return rng.choice(CLASSES, COUNT, p=weights / weights.sum())
    if name.startswith("Dirichlet"):
        return rng.dirichlet(CONCENTRATION, COUNT // CLASSES)
    if name == "StudentT":
        return p["loc"] + p["scale"] * rng.standard_t(p["df"], COUNT)
    return rng.vonmises(p["loc"], p["concentration"], COUNT)


def values(name: str) -> np.ndarray:
    """Fixed values of a law, float32 or int32; those of Dirichlet have shape (COUNT / CLASSES, CLASSES)."""
    drawn = np.asarray(numpy_draws(name, np.random.default_rng(0)))
    if drawn.dtype.kind == "i":
        return drawn.astype(np.int32)
    drawn = drawn.astype(np.float32)
    if name in ("StudentT", "VonMises", "Normal"):
        return drawn
    drawn = np.maximum(drawn, np.float32(1e-30))
    return np.minimum(drawn, np.float32(1 - 2**-24)) if name == "Beta" else drawn
