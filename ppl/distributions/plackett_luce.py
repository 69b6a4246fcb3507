"""The Plackett-Luce distribution of permutations."""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

import numpy as np

from ppl.distributions.base import is_own_sample
from ppl.distributions.bounds import mark_inside
from ppl.distributions.categorical import CategoricalBase
from ppl.distributions.formulas import gumbel_noise
from ppl.distributions.intervals import POSITIVE, Interval
from ppl.distributions.support import Support
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node


class PlackettLuce(CategoricalBase):
    """PlackettLuce(probs) or PlackettLuce(logits=...): orders of K items, one unit per row; first comes value[0].

    Items are drawn one after another without replacement, each with a probability proportional to its own among those
    left: log p(b) = sum over r of logits[b_r] - log sum over r' >= r of exp logits[b_r']. Integer samples, the items in
    falling order of logits + Gumbel noise (Plackett 1975, Yellott 1977). Time and memory grow with K^2.

    Parameters
    ----------
    probs : shape (…, K), positive, rows sum to 1 (computed ones are divided by their sum): the probability
        of being first.
    logits : shape (…, K), finite, not necessarily normalised.
    """

    dtype = "int"
    unit_rank = 1
    constraints: ClassVar[dict[str, str]] = {"probs": "open_simplex", "logits": "real"}

    @property
    def support(self) -> Support:
        """{0, …, K-1}, each once."""
        return Support.INTEGER

    @property
    def bounds(self) -> Interval:
        """From 0 to K - 1."""
        return Interval(0.0, self.count - 1.0, False, False)

    def _along_last_or_before(self, x: Node, last: bool) -> Node:
        """Rows of `x` along the last of two dimensions, or along the one before."""
        shape = x.type.shape
        return ops.reshape(x, (*shape[:-1], 1, shape[-1]) if last else (*shape, 1))

    def unit_log_prob(self, value: Node) -> Node:
        """Minus the sum over places r of log sum over r' >= r of exp(logits[b_r'] - logits[b_r])."""
        chosen = ops.equal(self._along_last_or_before(value, False), np.arange(self.count))
        placed = ops.reduce_sum(ops.where(chosen, self._along_last_or_before(self.logits, True), 0.0), -1)
        gaps = ops.sub(self._along_last_or_before(placed, True), self._along_last_or_before(placed, False))
        left = np.triu(np.ones((self.count, self.count), bool))
        out = ops.neg(ops.reduce_sum(ops.logsumexp(ops.where(left, gaps, -math.inf), -1), -1))
        if is_own_sample(self, value):
            return out
        once = ops.equal(ops.reduce_sum(ops.cast(chosen, "int"), -2), 1)
        every = ops.equal(ops.reduce_sum(ops.cast(once, "int"), -1), self.count)
        return ops.where(every, out, -math.inf)

    def unit_prob(self, value: Node) -> Node:
        """The probability of a permutation, which is positive."""
        return mark_inside(super(CategoricalBase, self).unit_prob(value), POSITIVE)

    def uniforms(self) -> tuple[tuple[int, ...], ...]:
        """One uniform per item."""
        return (self.event_shape,)

    def draw(self, *u: Node) -> Node:
        """The items in falling order of logits + Gumbel noise; of equal ones the first comes first."""
        return argsort_descending(ops.add(self.logits, gumbel_noise(u[0])))

    def node_mode(self) -> Node:
        """The items in falling order of probability; of equal ones the first comes first."""
        return argsort_descending(self.weights)

    def support_size(self) -> float:
        """K! a unit."""
        return float(math.factorial(self.count)) ** math.prod(self.batch_of_units)

    def unit_support(self) -> np.ndarray | None:
        """All permutations, where they are no more than a million."""
        if math.factorial(self.count) > 10**6:
            return None
        return np.array(list(itertools.permutations(range(self.count))))

    def unit_entropy(self) -> Node:
        """Refused."""
        raise ModelError("PlackettLuce has no entropy in closed form")


def argsort_descending(keys: Node) -> Node:
    """Indices of the last dimension in falling order of `keys`; of equal ones the first comes first."""
    shape, n = keys.type.shape, keys.type.shape[-1]
    mine, others = ops.reshape(keys, (*shape, 1)), ops.reshape(keys, (*shape[:-1], 1, n))
    tie = ops.logical_and(ops.equal(mine, others), np.tril(np.ones((n, n), bool), -1))
    before = ops.logical_or(ops.less(mine, others), tie)
    place = ops.reduce_sum(ops.cast(before, "int"), -1)
    here = ops.equal(ops.reshape(place, (*shape[:-1], 1, n)), np.arange(n)[:, None])
    return ops.reduce_sum(ops.where(here, np.arange(n), 0), -1)
