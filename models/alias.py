"""Alias tables: draws from any distribution over n classes, each in constant time (Walker 1977, Vose 1991).

A draw takes two uniforms: a column of the table, and whether to take the column's own class or its alias. They are
numbers of a key, so a draw is a pure function of (key, its number), in double precision; or, in a model, a node of the
program and drawn anew by every step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

import ppl
from ppl import random
from ppl.errors import DataError


class AliasTable(NamedTuple):
    """`accept[i]` is the probability of class i in column i, whose other class is `other[i]`."""

    accept: np.ndarray
    other: np.ndarray
    probs: np.ndarray

    def draw(self, key: int, start: int, shape: int | tuple[int, ...]) -> np.ndarray:
        """Draws number `start`, `start` + 1, … of `key`: int32 of `shape`."""
        out = np.empty(shape, np.int32)
        _draw(self.accept, self.other, np.uint64(key), np.int64(start), out.reshape(-1))
        return out

    def sample(self, name: str, count: int) -> Any:
        """In a model: `count` independent draws, integers made of the node `name`, Uniform of shape (2, count).

        In float32 a column has the probability 1 / n up to a relative error of n / 2²⁴.
        """
        n = len(self.probs)
        place, keep = ppl.sample(name, ppl.Uniform(np.zeros((2, count)), 1.0))
        column = np.minimum((place * n).astype(int), n - 1)
        # A class is read at a place that arithmetic finds: half of all jumps on a random bit are predicted wrong.
        classes = ppl.constant(np.column_stack([self.other, np.arange(n)]).ravel())
        return classes[2 * column + (keep < ppl.constant(self.accept)[column]).astype(int)]


def alias_table(weights: np.ndarray) -> AliasTable:
    """The table of the classes 0 … n-1 with probabilities proportional to `weights`.

    Raises
    ------
    DataError : a weight is negative or not finite, or all are 0.
    """
    weights = np.asarray(weights, np.float64)
    if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
        raise DataError("an alias table takes one row of weights that are finite, not negative and not all 0")
    probs = weights / weights.sum()
    accept, other = probs * len(probs), np.arange(len(probs), dtype=np.int32)
    _pair_up(accept, other)
    return AliasTable(accept, other, probs)


@njit(cache=True)
def _pair_up(accept, other):  # type: ignore[no-untyped-def]
    """Fill every column that has less than its share from one that has more; `accept` starts at n p."""
    n = accept.shape[0]
    small, large = np.empty(n, np.int32), np.empty(n, np.int32)
    few = many = 0
    for i in range(n):
        if accept[i] < 1.0:
            small[few] = i
            few += 1
        else:
            large[many] = i
            many += 1
    while few and many:
        few -= 1
        poor, rich = small[few], large[many - 1]
        other[poor] = rich
        accept[rich] -= 1.0 - accept[poor]
        if accept[rich] < 1.0:
            many -= 1
            small[few] = rich
            few += 1
    for i in range(few):
        accept[small[i]] = 1.0
    for i in range(many):
        accept[large[i]] = 1.0


@njit(cache=True)
def _draw(accept, other, key, start, out):  # type: ignore[no-untyped-def]
    n = accept.shape[0]
    for i in range(out.shape[0]):
        number = 2 * (start + i)
        column = min(np.int64(random.uniform(key, number) * n), n - 1)
        out[i] = column if random.uniform(key, number + 1) < accept[column] else other[column]
