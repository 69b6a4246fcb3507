"""Annealed importance sampling: log Z of a model too large to sum, from a distribution that is easy.

A `Path` runs through unnormalised densities f_β from f₀, whose log Z₀ is known, to the model's own f₁, here
geometrically: f_β = f₀^(1−β) f₁^β. Every chain starts with an exact sample of f₀, weighs
log w = Σ_t log f_{β_t}(v_{t−1}) − log f_{β_{t−1}}(v_{t−1}), and after every term takes a step v_t that leaves f_{β_t}
as it is. Then E[w] = Z₁ / Z₀ exactly, for any number of temperatures; their number decides the variance. What is
averaged is w, so that log of the mean underestimates log Z on average.

Neal 2001; for restricted Boltzmann machines Salakhutdinov & Murray 2008.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np


class Path(Protocol):
    """Densities between one whose log Z is known (`log_base`, at β = 0) and the model's (β = 1)."""

    log_base: float

    def start(self, rng: np.random.Generator, chains: int) -> np.ndarray:
        """Exact samples at β = 0: (chains, …)."""
        ...

    def log_density(self, beta: float, v: np.ndarray) -> np.ndarray:
        """log f_β of every chain: (chains,)."""
        ...

    def move(self, rng: np.random.Generator, beta: float, v: np.ndarray) -> np.ndarray:
        """A step that leaves f_β as it is."""
        ...


class Estimate(NamedTuple):
    """log Z, its standard error (to first order in that of the mean weight), and the log-weights of all chains."""

    log_z: float
    error: float
    log_weights: np.ndarray

    @property
    def effective(self) -> float:
        """Effective number of chains, (Σw)² / Σw²."""
        w = np.exp(self.log_weights - self.log_weights.max())
        return float(w.sum() ** 2 / (w**2).sum())


def log_partition(path: Path, temperatures: int = 1000, chains: int = 500, seed: int = 0) -> Estimate:
    """Estimate log Z with `chains` independent weights over equally spaced `temperatures`."""
    rng = np.random.default_rng(seed)
    betas = np.linspace(0.0, 1.0, temperatures + 1)
    v, log_weights = path.start(rng, chains), np.zeros(chains)
    for before, beta in pairwise(betas):
        log_weights += path.log_density(beta, v) - path.log_density(before, v)
        v = path.move(rng, beta, v)
    top = log_weights.max()
    w = np.exp(log_weights - top)
    error = w.std(ddof=1) / (w.mean() * np.sqrt(chains))
    return Estimate(float(path.log_base + top + np.log(w.mean())), float(error), log_weights)


def sigmoid(a: np.ndarray) -> np.ndarray:
    """1 / (1 + e⁻ᵃ), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * a))


def softplus(a: np.ndarray) -> np.ndarray:
    """log(1 + eᵃ), without overflow."""
    return np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))


def states(units: int, chunk: int = 1 << 14) -> Iterator[np.ndarray]:
    """All 2ᵘⁿⁱᵗˢ rows of bits, in chunks (rows, units)."""
    for first in range(0, 1 << units, chunk):
        number = np.arange(first, min(first + chunk, 1 << units))
        yield (number[:, None] >> np.arange(units) & 1).astype(np.float64)


def logsumexp(parts: list[np.ndarray]) -> float:
    """log Σ exp over all entries of `parts`."""
    top = max(float(p.max()) for p in parts)
    return top + float(np.log(sum(np.exp(p - top).sum() for p in parts)))
