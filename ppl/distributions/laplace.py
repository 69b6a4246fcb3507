"""The Laplace distribution."""

from __future__ import annotations

import math

from ppl.distributions.parts.formulas import frozen
from ppl.distributions.parts.location_scale import LocationScale
from ppl.ir import ops
from ppl.ir.node import Node

LOG_TWO = math.log(2.0)


class Laplace(LocationScale):
    """Laplace(loc, scale): density exp(-|x - loc| / scale) / (2 scale) on the real line.

    The log-density has a kink at loc. The path is the inverse cdf, loc - scale * sign(u - 1/2) log(2 min(u, 1 - u)).

    Parameters
    ----------
    loc, scale : real, positive.
    """

    log_normalizer = LOG_TWO
    standard_variance = 2.0
    standard_entropy = 1.0 + LOG_TWO

    @staticmethod
    def exponent(z: Node) -> Node:
        """-|z|."""
        return ops.neg(ops.absolute(z))

    @staticmethod
    def quantile(p: Node) -> Node:
        """sign(1/2 - p) log(2 min(p, 1 - p)), exact in both tails."""
        tail = ops.log(ops.mul(2.0, ops.minimum(p, ops.sub(1.0, p))))
        return ops.mul(ops.sign(ops.sub(0.5, p)), tail)

    @staticmethod
    def standard_cdf(z: Node) -> Node:
        """exp(z) / 2 below 0, else 1 - exp(-z) / 2."""
        tail = ops.mul(0.5, ops.exp(ops.neg(ops.absolute(z))))
        return ops.where(ops.less(z, 0.0), tail, ops.sub(1.0, tail))

    @classmethod
    def standard_log_cdf(cls, z: Node) -> Node:
        """z - log 2 below 0, else log(1 - exp(-z) / 2)."""
        low = ops.less(frozen(z), 0.0)
        above = ops.log1p(ops.mul(-0.5, ops.exp(ops.neg(ops.where(low, 0.0, z)))))
        return ops.where(low, ops.sub(z, LOG_TWO), above)

    @classmethod
    def log_quantile(cls, log_p: Node) -> Node:
        """l + log 2 below the median, else -log(2 - 2 exp(l))."""
        low = ops.less(frozen(log_p), -LOG_TWO)
        above = ops.neg(ops.add(ops.log1mexp(ops.where(low, -LOG_TWO, log_p)), LOG_TWO))
        return ops.where(low, ops.add(log_p, LOG_TWO), above)

    def smooth_between(self, low: Node, high: Node) -> Node:
        """Whether loc is not between them."""
        loc = self.params["loc"]
        return ops.logical_or(ops.less_equal(loc, low), ops.less_equal(high, loc))
