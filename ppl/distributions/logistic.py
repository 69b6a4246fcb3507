"""The logistic distribution."""

from __future__ import annotations

import math

from ppl.distributions.parts.formulas import logit
from ppl.distributions.parts.location_scale import LocationScale
from ppl.ir import ops
from ppl.ir.node import Node


class Logistic(LocationScale):
    """Logistic(loc, scale): cdf sigmoid((x - loc) / scale) on the real line; path loc + scale * logit(u).

    Parameters
    ----------
    loc, scale : real, positive.
    """

    standard_variance = math.pi**2 / 3
    standard_entropy = 2.0

    @staticmethod
    def exponent(z: Node) -> Node:
        """-softplus(z) - softplus(-z)."""
        return ops.neg(ops.add(ops.softplus(z), ops.softplus(ops.neg(z))))

    @staticmethod
    def quantile(p: Node) -> Node:
        """logit(p)."""
        return logit(p)

    @staticmethod
    def standard_cdf(z: Node) -> Node:
        """sigmoid(z)."""
        return ops.sigmoid(z)

    @classmethod
    def standard_log_cdf(cls, z: Node) -> Node:
        """-softplus(-z)."""
        return ops.log_sigmoid(z)

    @classmethod
    def log_quantile(cls, log_p: Node) -> Node:
        """l - log(1 - exp(l))."""
        return ops.sub(log_p, ops.log1mexp(log_p))
