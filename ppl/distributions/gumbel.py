"""The Gumbel distribution of maxima."""

from __future__ import annotations

import math

from ppl.distributions.formulas import EULER, gumbel
from ppl.distributions.location_scale import LocationScale
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
