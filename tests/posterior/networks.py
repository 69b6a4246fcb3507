"""Discrete networks as arrays, and their sums over all joint states in plain NumPy, independent of the package."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np


@dataclass
class Network:
    """Nodes in order: parents, and tables of shape (*parents' states, states); leaves are seen through emissions.

    `emissions[name]` is a vector of log-densities of what was observed, one entry a state.
    """

    parents: dict[str, tuple[str, ...]]
    tables: dict[str, np.ndarray]
    emissions: dict[str, np.ndarray]

    def joint(self) -> np.ndarray:
        """p(states, data), one axis a node."""
        names = list(self.parents)
        found = np.zeros([self.tables[n].shape[-1] for n in names])
        for states in itertools.product(*(range(n) for n in found.shape)):
            at = dict(zip(names, states, strict=True))
            p = 1.0
            for name in names:
                p *= self.tables[name][(*(at[q] for q in self.parents[name]), at[name])]
            log = sum(e[at[n]] for n, e in self.emissions.items())
            found[states] = p * np.exp(log)
        return found

    def marginal(self, *names: str) -> np.ndarray:
        """p(names | data), axes in that order."""
        joint, order = self.joint(), list(self.parents)
        keep = [order.index(n) for n in names]
        rest = tuple(i for i in range(len(order)) if i not in keep)
        found = joint.sum(rest) / joint.sum()
        return np.transpose(found, np.argsort(np.argsort(keep)))


def random_network(seed: int, size: int = 6, most: int = 3, zeros: bool = False) -> Network:
    """A network of `size` nodes with at most two parents each; with `zeros` some entries of tables are 0."""
    rng = np.random.default_rng(seed)
    parents: dict[str, tuple[str, ...]] = {}
    tables, emissions, states = {}, {}, {}
    for i in range(size):
        name = f"n{i}"
        above = list(rng.choice(list(parents), size=min(i, rng.integers(0, 3)), replace=False)) if i else []
        parents[name], states[name] = tuple(map(str, above)), int(rng.integers(1, most + 1))
        shape = (*(states[q] for q in parents[name]), states[name])
        table = rng.gamma(1.0, size=shape) + 0.05
        if zeros:
            dead = rng.random(shape) < 0.3
            dead[..., 0] = False
            table = np.where(dead, 0.0, table)
        tables[name] = table / table.sum(-1, keepdims=True)
        if rng.random() < 0.6 or i == size - 1:
            emissions[name] = rng.normal(size=states[name])
    return Network(parents, tables, emissions)


def hmm_forward_backward(initial, transition, log_density):
    """Smoothing and the log-likelihood of a hidden Markov model, `log_density` of shape (T, K)."""
    steps, states = log_density.shape
    alpha, beta = np.zeros((steps, states)), np.ones((steps, states))
    scale = 0.0
    density = np.exp(log_density)
    for t in range(steps):
        before = initial if t == 0 else alpha[t - 1] @ transition
        alpha[t] = before * density[t]
        scale += np.log(alpha[t].sum())
        alpha[t] /= alpha[t].sum()
    for t in range(steps - 2, -1, -1):
        beta[t] = transition @ (density[t + 1] * beta[t + 1])
        beta[t] /= beta[t].sum()
    gamma = alpha * beta
    return gamma / gamma.sum(1, keepdims=True), scale
