"""Synthetic data of the benchmarks: what a step costs does not depend on real pixels."""

from __future__ import annotations

import numpy as np


def bits(rows: int = 10_000, columns: int = 784, seed: int = 0) -> np.ndarray:
    """Rows of bits, about 13 % ones: 20 random prototypes with 5 % of the bits flipped, float32 (rows, columns)."""
    rng = np.random.default_rng(seed)
    prototypes = rng.random((20, columns)) < 0.1
    found = prototypes[rng.integers(0, 20, rows)]
    return (found ^ (rng.random(found.shape) < 0.05)).astype(np.float32)
