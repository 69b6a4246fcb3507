"""Data of the skip-gram workload, for our program and its peers: Zipfian pairs, and an alias table of the noise.

Vocabulary 10,000, 100 dimensions, 100 batches of 1024 pairs, 5 noise words a pair from p(w)^0.75; SGD whose rate is for
the sum over a batch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

VOCABULARY, DIM, PAIRS, NOISE, STEPS = 10_000, 100, 1024, 5, 100
RATE = 0.025


class Data(NamedTuple):
    """`center`, `word`: (STEPS, PAIRS) int32. `accept`, `other`: the alias table. `v`: start of the centres."""

    center: np.ndarray
    word: np.ndarray
    accept: np.ndarray
    other: np.ndarray
    v: np.ndarray


def make(seed: int = 0) -> Data:
    """The data, the same everywhere."""
    rng = np.random.default_rng(seed)
    p = 1.0 / np.arange(1, VOCABULARY + 1)
    center, word = rng.choice(VOCABULARY, (2, STEPS, PAIRS), p=p / p.sum()).astype(np.int32)
    noise = p**0.75
    accept, other = alias(noise / noise.sum())
    v = ((rng.random((VOCABULARY, DIM)) - 0.5) / DIM).astype(np.float32)
    return Data(center, word, accept, other, v)


def alias(probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Walker's table: column i keeps its own class with probability accept[i], and has class other[i] otherwise."""
    share, other = probs * len(probs), np.arange(len(probs), dtype=np.int32)
    poor, rich = list(np.flatnonzero(share < 1)), list(np.flatnonzero(share >= 1))
    while poor and rich:
        little, much = poor.pop(), rich[-1]
        other[little] = much
        share[much] -= 1.0 - share[little]
        if share[much] < 1.0:
            poor.append(rich.pop())
    share[poor + rich] = 1.0
    return share.astype(np.float32), other
