"""The Normal distribution."""

from __future__ import annotations

from ppl.distributions.parts.formulas import LOG_SQRT_2PI
from ppl.distributions.parts.location_scale import LocationScale
from ppl.distributions.truncation.tails import normal_quantile
from ppl.ir import ops
from ppl.ir.node import Node


class Normal(LocationScale):
    """Normal(loc, scale): support the real line; path loc + scale * ndtri(u).

    Parameters
    ----------
    loc, scale : real, positive.
    """

    log_normalizer = LOG_SQRT_2PI
    standard_entropy = LOG_SQRT_2PI + 0.5

    @staticmethod
    def exponent(z: Node) -> Node:
        """-z^2 / 2."""
        return ops.mul(-0.5, ops.mul(z, z))

    @staticmethod
    def quantile(p: Node) -> Node:
        """ndtri(p)."""
        return ops.ndtri(p)

    @staticmethod
    def standard_cdf(z: Node) -> Node:
        """ndtr(z)."""
        return ops.ndtr(z)

    @classmethod
    def standard_log_cdf(cls, z: Node) -> Node:
        """log_ndtr(z)."""
        return ops.log_ndtr(z)

    @classmethod
    def log_quantile(cls, log_p: Node) -> Node:
        """The z with log_ndtr(z) = log_p."""
        return normal_quantile(log_p)
