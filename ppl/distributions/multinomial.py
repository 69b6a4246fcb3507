"""The multinomial distribution."""

from __future__ import annotations

import itertools
import math
from typing import Any, ClassVar

import numpy as np

from ppl.distributions.base import KEY, is_own_sample
from ppl.distributions.bounds import bounds_of
from ppl.distributions.categorical import CategoricalBase
from ppl.distributions.constraints import constant_value, parameter_node
from ppl.distributions.discrete import MOST_TABULATED_COUNTS, largest_total
from ppl.distributions.formulas import frozen, poisson_mass, product_along_last, simplex_covariance, times_log_prob
from ppl.distributions.intervals import Interval
from ppl.distributions.support import Support
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node

UNDERFLOWING_PROBABILITY = 1e-20


class Multinomial(CategoricalBase):
    """Multinomial(total_count, probs) or Multinomial(total_count, logits=...): counts of K classes among n draws.

    P(x) = n! prod p_i^x_i / x_i! on rows of counts that sum to n = total_count; integer samples, one unit per row. The
    sample splits n down a binary tree over the classes by binomial draws (BTRS, Hoermann 1993). The log-mass is made of
    Loader's (2000) Poisson masses.

    Parameters
    ----------
    total_count : shape (…), a whole number of at least 0. It moves the support, so no gradient passes to it.
    probs : shape (…, K), non-negative, rows sum to 1; computed rows are divided by their sum.
    logits : shape (…, K), finite or -inf, not necessarily normalised.
    """

    dtype = "int"
    unit_rank = 1
    moving = frozenset({"total_count"})
    constraints: ClassVar[dict[str, str]] = {"total_count": "count", **CategoricalBase.constraints}

    def __init__(self, total_count: Any = 1, probs: Any = None, logits: Any = None):
        total = parameter_node("Multinomial", "total_count", total_count)
        if total.op == "const":
            total = ops.const(total.attrs["value"].value[..., None])
        else:
            total = ops.reshape(total, (*total.type.shape, 1))
        super().__init__(probs, logits, total_count=total)

    @property
    def total(self) -> Node:
        """Number of draws, of the shape of `batch_of_units`."""
        spread = self.params["total_count"]
        shape = spread.type.shape
        first = ops.window(spread, (*((0, n, 1) for n in shape[:-1]), (0, 1, 1)))
        return ops.reshape(first, shape[:-1])

    @property
    def support(self) -> Support:
        """Counts."""
        return Support.COUNT

    @property
    def bounds(self) -> Interval:
        """From 0 to the largest total_count."""
        return Interval(0.0, bounds_of(self.params["total_count"]).hi, False, False)

    def unit_log_prob(self, value: Node) -> Node:
        """The sum of Poisson log-masses at rates n p_i, less that of n at rate n; -inf off the support."""
        x = ops.cast(value, "float")
        if is_own_sample(self, value):
            return self._log_mass(x)
        whole = ops.logical_and(ops.less_equal(0.0, x), ops.equal(ops.floor(x), x))
        misses = ops.reduce_sum(ops.cast(ops.logical_not(whole), "int"), -1)
        inside = ops.logical_and(ops.equal(misses, 0), ops.equal(ops.reduce_sum(x, -1), self.total))
        return ops.where(inside, self._log_mass(ops.where(whole, x, 0.0)), -math.inf)

    def _log_mass(self, x: Node) -> Node:
        n, p = self.params["total_count"], self.class_probs()
        if not self.in_logits:
            each = ops.log_poisson(x, ops.mul(n, p))
        else:  # log_poisson(x, r) = log_poisson(x, 1) + 1 + x log r - r where a probability underflows
            rare = ops.less(frozen(p), UNDERFLOWING_PROBABILITY)
            usual = ops.log_poisson(x, ops.mul(n, ops.where(rare, 0.5, p)))
            power = ops.add(ops.mul(x, ops.log(ops.maximum(n, 1.0))), times_log_prob(x, self.log_probs()))
            each = ops.where(rare, ops.add(ops.add(ops.log_poisson(x, 1.0), 1.0), power), usual)
        return ops.sub(ops.reduce_sum(each, -1), ops.log_poisson(self.total, self.total))

    def unit_prob(self, value: Node) -> Node:
        """P(x), with its slope also where a class has probability 0."""
        if self.in_logits:
            return super(CategoricalBase, self).unit_prob(value)
        x, rate = ops.broadcast(ops.cast(value, "float"), ops.mul(self.params["total_count"], self.class_probs()))
        return ops.div(product_along_last(poisson_mass(x, rate)), ops.exp(ops.log_poisson(self.total, self.total)))

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """A noise key."""
        return (KEY,)

    def draw(self, *u: Node) -> Node:
        """Counts of the halves of the classes, of their halves, and so on, each by a binomial draw."""
        p = self.class_probs()
        lead, levels = p.type.shape[:-1], max(self.count - 1, 0).bit_length()
        weights = [ops.concat([p, np.zeros((*lead, 2**levels - self.count))], -1)]
        for level in range(levels, 0, -1):
            weights.append(ops.reduce_sum(ops.reshape(weights[-1], (*lead, 2 ** (level - 1), 2)), -1))
        counts = ops.cast(ops.reshape(self.total, (*lead, 1)), "int")
        for level, (whole, halves) in enumerate(itertools.pairwise(reversed(weights))):
            pairs = ops.reshape(halves, (*lead, 2**level, 2))
            safe = ops.where(ops.less(0.0, whole), whole, 1.0)
            left, right = (ops.div(ops.reshape(_entry_of_pairs(pairs, i), safe.type.shape), safe) for i in (0, 1))
            taken = ops.binomial_draw(counts, left, right, u[0], level)
            split = [ops.reshape(c, (*lead, 2**level, 1)) for c in (taken, ops.sub(counts, taken))]
            counts = ops.reshape(ops.concat(split, -1), (*lead, 2 ** (level + 1)))
        return ops.window(counts, (*((0, n, 1) for n in lead), (0, self.count, 1)))

    def relax(self, temperature: Node, *u: Node) -> Node:
        """Refused."""
        raise ModelError("Multinomial has no relaxation")

    def support_size(self) -> float:
        """C(n + K - 1, K - 1) a unit, for a constant number of draws."""
        total = self._constant_total()
        if total is None:
            return math.inf
        return float(math.comb(total + self.count - 1, self.count - 1)) ** math.prod(self.batch_of_units)

    def _constant_total(self) -> int | None:
        value = constant_value(self.params["total_count"])
        return None if value is None or not value.size or np.ptp(value) else int(value.flat[0])

    def unit_support(self) -> np.ndarray | None:
        """All rows of counts that sum to n, where n is one constant and they are no more than a million."""
        total = self._constant_total()
        if total is None or math.comb(total + self.count - 1, self.count - 1) > 10**6:
            return None
        bars = itertools.combinations(range(total + self.count - 1), self.count - 1)
        edges = np.array([(-1, *b, total + self.count - 1) for b in bars])
        return np.diff(edges, axis=1) - 1

    def node_mean(self) -> Node:
        """n p."""
        return ops.mul(self.params["total_count"], self.class_probs())

    def unit_covariance(self) -> Node:
        """n (diag(p) - p p^T)."""
        total = self.total
        return ops.mul(ops.reshape(total, (*total.type.shape, 1, 1)), simplex_covariance(self.class_probs()))

    def unit_entropy(self) -> Node:
        """-log n! - n sum p_i log p_i + sum_i E[log x_i!], x_i binomial, for a constant number of draws."""
        most, p = largest_total(self.params["total_count"]), self.class_probs()
        if most is None or most >= MOST_TABULATED_COUNTS:
            raise ModelError(
                f"Multinomial: its entropy is a sum over counts: a constant total_count, below {MOST_TABULATED_COUNTS}"
            )
        counts, shape = np.arange(most + 1.0), (*p.type.shape, most + 1)
        n = ops.expand(ops.reshape(self.params["total_count"], (*p.type.shape, 1)), (), shape)
        beyond = ops.less(n, counts)
        k = ops.where(beyond, 0.0, counts)
        mass = ops.exp(ops.log_binomial(k, ops.sub(n, k), ops.reshape(p, (*p.type.shape, 1))))
        factorials = ops.reduce_sum(ops.where(beyond, 0.0, ops.mul(mass, ops.lgamma(ops.add(k, 1.0)))), -1)
        picked = ops.mul(self.total, super().unit_entropy())
        return ops.add(ops.sub(picked, ops.lgamma(ops.add(self.total, 1.0))), ops.reduce_sum(factorials, -1))


def _entry_of_pairs(pairs: Node, i: int) -> Node:
    """Entry `i` of every pair along the last dimension."""
    return ops.window(pairs, (*((0, n, 1) for n in pairs.type.shape[:-1]), (i, 1, 1)))
