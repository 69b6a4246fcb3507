"""The Dirichlet distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import KEY, Distribution
from ppl.distributions.domain.simplex import guarded_rows
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.formulas import simplex_covariance
from ppl.distributions.parts.gamma_formulas import digamma_gap, log_spread
from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.node import Node


class Dirichlet(Distribution):
    """Dirichlet(concentration): density proportional to the product of x_i^(a_i - 1) on rows that sum to 1.

    The sample is softmax(y) with y the logarithms of standard gamma draws, one per class; its path goes through their
    implicit derivatives (Figurnov, Mohamed & Mnih 2018).

    Parameters
    ----------
    concentration : shape (…, K), positive.
    """

    reparameterized = True
    implicit = True
    unit_rank = 1
    param_rank = 1
    constraints: ClassVar[dict[str, str]] = {"concentration": "positive"}

    def __init__(self, concentration: Any):
        super().__init__(concentration=concentration)
        shape = self.params["concentration"].type.shape
        if not shape or shape[-1] < 2:
            raise ShapeError(f"Dirichlet: concentration needs a last axis of at least two classes, got shape {shape}")

    @property
    def support(self) -> Support:
        """Rows of positive numbers that sum to 1."""
        return Support.SIMPLEX

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """A noise key."""
        return (KEY,)

    def log_normalizer(self) -> Node:
        """The sum of log gamma(a_i), less log gamma of their sum."""
        a = self.params["concentration"]
        return ops.sub(ops.reduce_sum(ops.lgamma(a), -1), ops.lgamma(ops.reduce_sum(a, -1)))

    def unit_log_prob(self, value: Node) -> Node:
        """The sum of (a_i - 1) log x_i, less the normalizer."""
        return guarded_rows(self, value, self._log_prob_inside)

    def _log_prob_inside(self, value: Node) -> Node:
        """From Poisson masses of a_i at A x_i, A the sum of the a_i, in which nothing cancels; slopes are plain."""
        a = self.params["concentration"]
        powers = ops.mul(ops.sub(a, 1.0), ops.log(value))
        plain = ops.sub(ops.reduce_sum(powers, -1), self.log_normalizer())
        total = ops.reduce_sum(a, -1, keepdims=True)
        means = ops.mul(total, ops.div(value, ops.reduce_sum(value, -1, keepdims=True)))
        ratios = ops.sub(ops.log(a), ops.log(value))
        masses = ops.reduce_sum(ops.add(ops.log_poisson(a, means), ratios), -1)
        whole = ops.reshape(ops.add(ops.log_poisson(total, total), ops.log(total)), masses.type.shape)
        return ops.graft(ops.sub(masses, whole), plain, exact=True)

    def draw(self, *u: Node) -> Node:
        """softmax(y)."""
        return ops.softmax(ops.loggamma_draw(self.params["concentration"], u[0]))

    def node_mean(self) -> Node:
        """a_i over their sum."""
        a = self.params["concentration"]
        return ops.div(a, ops.reduce_sum(a, -1, keepdims=True))

    def node_mode(self) -> Node:
        """(a_i - 1) / (sum a - K); NaN where a concentration is at most 1."""
        excess = ops.sub(self.params["concentration"], 1.0)
        least = ops.neg(ops.reduce("amax", ops.neg(excess), -1, keepdims=True))
        inside = ops.less(0.0, least)
        safe = ops.where(inside, excess, 1.0)
        return ops.where(inside, ops.div(safe, ops.reduce_sum(safe, -1, keepdims=True)), math.nan)

    def unit_covariance(self) -> Node:
        """(diag(m) - m m^T) / (sum a + 1), m the mean."""
        total = ops.reduce_sum(self.params["concentration"], -1)
        more = ops.reshape(ops.add(total, 1.0), (*total.type.shape, 1, 1))
        return ops.div(simplex_covariance(self.node_mean()), more)

    def unit_entropy(self) -> Node:
        """log B + (sum a - K) digamma(sum a) - sum (a_i - 1) digamma(a_i)."""
        a = self.params["concentration"]
        total, others = ops.reduce_sum(a, -1), a.type.shape[-1] - 1.0
        whole = ops.sub(log_spread(total), ops.mul(others, ops.sub(digamma_gap(total), ops.log(total))))
        return ops.sub(ops.reduce_sum(log_spread(a), -1), whole)
