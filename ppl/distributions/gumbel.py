"""The Gumbel distribution of maxima."""

from __future__ import annotations

import math

from ppl.distributions.parts.formulas import EULER, gumbel
from ppl.distributions.parts.location_scale import LocationScale
from ppl.distributions.truncation.tails import log_below, log_power_below
from ppl.ir import ops
from ppl.ir.node import Node


class Gumbel(LocationScale):
    """Gumbel(loc, scale): cdf exp(-exp(-(x - loc) / scale)) on the real line; path loc - scale * log(-log u).

    Parameters
    ----------
    loc, scale : real, positive.
    """

    standard_mean = EULER
    standard_variance = math.pi**2 / 6
    standard_entropy = EULER + 1.0

    @staticmethod
    def exponent(z: Node) -> Node:
        """-z - exp(-z)."""
        return ops.neg(ops.add(z, ops.exp(ops.neg(z))))

    @staticmethod
    def quantile(p: Node) -> Node:
        """-log(-log p)."""
        return gumbel(p)

    @staticmethod
    def standard_cdf(z: Node) -> Node:
        """exp(-exp(-z))."""
        return ops.exp(ops.neg(ops.exp(ops.neg(z))))

    @classmethod
    def standard_log_cdf(cls, z: Node) -> Node:
        """-exp(-z)."""
        return ops.neg(ops.exp(ops.neg(z)))

    @classmethod
    def log_quantile(cls, log_p: Node) -> Node:
        """-log(-l)."""
        return ops.neg(ops.log(ops.neg(log_p)))

    @classmethod
    def standard_log_sf(cls, z: Node) -> Node:
        """log(1 - exp(-exp(-z)))."""
        return log_below(ops.neg(z))

    @classmethod
    def log_upper_quantile(cls, log_q: Node) -> Node:
        """-log(-log(1 - exp(l)))."""
        return ops.neg(log_power_below(log_q))
