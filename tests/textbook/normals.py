"""The best normal approximation of a density that is known, found by SciPy: what a fit of a guide is held against."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize


def best_normal(expected: Callable, start: np.ndarray, scale: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the normal N(m, L Lᵀ) with the largest E log p + log det L.

    `expected(m, L)` is E log p under it, exact or by quadrature.
    """
    size = len(start)
    rows, columns = np.tril_indices(size, -1)

    def unpack(free):
        factor = np.diag(np.exp(free[size : 2 * size]))
        factor[rows, columns] = free[2 * size :]
        return free[:size], factor

    def loss(free):
        mean, factor = unpack(free)
        return -expected(mean, factor) - free[size : 2 * size].sum()

    begin = np.concatenate([start, np.full(size, np.log(scale)), np.zeros(len(rows))])
    found = minimize(
        loss, begin, method="L-BFGS-B", options={"maxiter": 2000, "maxfun": 10**7, "ftol": 1e-13, "gtol": 1e-6}
    )
    mean, factor = unpack(found.x)
    return mean, factor @ factor.T


def hermite(size: int, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, size) and weights of the Gauss-Hermite rule for N(0, I)."""
    x, w = np.polynomial.hermite_e.hermegauss(points)
    grid = np.stack(np.meshgrid(*[x] * size, indexing="ij"), -1).reshape(-1, size)
    weight = np.stack(np.meshgrid(*[w / w.sum()] * size, indexing="ij"), -1).reshape(-1, size).prod(1)
    return grid, weight
