"""The exponential distribution."""

from __future__ import annotations

from typing import Any, ClassVar

from ppl.distributions.base import Distribution
from ppl.distributions.domain.guards import guarded
from ppl.distributions.domain.intervals import NONNEGATIVE
from ppl.distributions.domain.support import Support
from ppl.distributions.truncation.tails import Hazard, safe_log
from ppl.ir import ops
from ppl.ir.node import Node


class Exponential(Hazard, Distribution):
    """Exponential(rate): density rate * exp(-rate * x) on x >= 0; path -log(1 - u) / rate.

    Samples are positive; the density also holds at its edge 0.

    Parameters
    ----------
    rate : positive, the inverse of the mean.
    """

    reparameterized = True
    draws_quantiles = True
    constraints: ClassVar[dict[str, str]] = {"rate": "positive"}

    def __init__(self, rate: Any = 1.0):
        super().__init__(rate=rate)

    @property
    def support(self) -> Support:
        """x > 0."""
        return Support.POSITIVE

    def unit_log_prob(self, value: Node) -> Node:
        """log rate - rate * x."""
        rate = self.params["rate"]
        return guarded(self, value, NONNEGATIVE, 0.0, lambda x: ops.sub(ops.log(rate), ops.mul(rate, x)))

    def draw(self, *u: Node) -> Node:
        """-log(1 - u) / rate."""
        return ops.div(ops.neg(ops.log1p(ops.neg(u[0]))), self.params["rate"])

    def node_mean(self) -> Node:
        """1 / rate."""
        return ops.div(1.0, self.params["rate"])

    def node_mode(self) -> Node:
        """0."""
        return ops.mul(0.0, self.params["rate"])

    def unit_covariance(self) -> Node:
        """1 / rate^2."""
        mean = self.node_mean()
        return ops.mul(mean, mean)

    def unit_entropy(self) -> Node:
        """1 - log rate."""
        return ops.sub(1.0, ops.log(self.params["rate"]))

    def node_cdf(self, value: Node) -> Node:
        """1 - exp(-rate * x), 0 for negative x."""
        inside = ops.less_equal(0.0, value)
        return ops.where(inside, ops.neg(ops.expm1(ops.neg(ops.mul(self.params["rate"], value)))), 0.0)

    def log_hazard(self, value: Node) -> Node:
        """log(rate x)."""
        return safe_log(ops.mul(self.params["rate"], value))

    def at_log_hazard(self, log_hazard: Node) -> Node:
        """exp(log h) / rate."""
        return ops.div(ops.exp(log_hazard), self.params["rate"])

    def node_log_sf(self, value: Node) -> Node:
        """-rate x, 0 for negative x."""
        return ops.neg(ops.mul(self.params["rate"], ops.maximum(value, 0.0)))

    def node_log_isf(self, log_q: Node) -> Node:
        """-l / rate."""
        return ops.neg(ops.div(log_q, self.params["rate"]))
