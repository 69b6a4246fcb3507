"""Chains beside exact moments, in standard errors of their batch means."""

import numpy as np

import ppl

BATCHES = 20


def check_moments(draws: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> None:
    """Assert that the means of x and of (x - mean)² over `draws`, shape (chains, draws, ...), are within 5 errors."""
    for found, exact in ((draws, mean), ((draws - mean) ** 2, spread**2)):
        cut = found[:, : found.shape[1] // BATCHES * BATCHES]
        parts = cut.reshape(cut.shape[0] * BATCHES, -1, *cut.shape[2:]).mean(1)
        error = parts.std(0, ddof=1) / np.sqrt(len(parts))
        np.testing.assert_array_less(np.abs(parts.mean(0) - exact), 5 * error + 1e-12)


def chains(model, *data):
    """The posterior of four chains."""
    return ppl.mcmc(model, *data, draws=4000, warmup=1000, target_accept=0.95, seed=0, progress=False).posterior
