"""Whether chains agree: split R-hat of ranks.

Vehtari, Gelman, Simpson, Carpenter & Bürkner, "Rank-normalization, folding, and localization: an improved R-hat for
assessing convergence of MCMC", Bayesian Analysis 2021.
"""

from __future__ import annotations

import numpy as np

from ppl.lazy import special

LEAST = 4
"""Draws of a chain at least, for its halves to have a variance."""


def r_hat(draws: np.ndarray) -> np.ndarray:
    """The larger of the R-hats of ranks and of ranks of distances from the median, shape of one draw.

    Parameters
    ----------
    draws : shape (chains, draws, ...). NaN where there are too few draws, or they do not vary or are not finite.
    """
    chains, count = draws.shape[:2]
    half = count // 2
    if count < LEAST:
        return np.full(draws.shape[2:], np.nan)
    split = np.concatenate([draws[:, :half], draws[:, count - half :]]).reshape(2 * chains, half, -1)
    folded = np.abs(split - np.median(split, axis=(0, 1)))
    with np.errstate(all="ignore"):
        found = np.fmax(_of_scores(_scores(split)), _of_scores(_scores(folded)))
    good = np.isfinite(split).all((0, 1)) & (np.ptp(split, axis=(0, 1)) > 0.0)
    return np.where(good, found, np.nan).reshape(draws.shape[2:])


def _scores(x: np.ndarray) -> np.ndarray:
    """Normal scores of the ranks over all chains together."""
    from scipy.stats import rankdata  # SciPy's statistics take a second to import

    ranks = rankdata(x.reshape(-1, x.shape[2]), axis=0).reshape(x.shape)
    return np.asarray(special.ndtri((ranks - 0.375) / (x.shape[0] * x.shape[1] + 0.25)))


def _of_scores(z: np.ndarray) -> np.ndarray:
    n = z.shape[1]
    within, between = z.var(1, ddof=1).mean(0), n * z.mean(1).var(0, ddof=1)
    return np.asarray(np.sqrt((n - 1) / n + between / within / n))
