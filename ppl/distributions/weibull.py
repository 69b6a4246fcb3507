"""The Weibull distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import Distribution
from ppl.distributions.domain.guards import contains, guarded
from ppl.distributions.domain.intervals import POSITIVE
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.formulas import EULER, log_quotient
from ppl.distributions.parts.gamma_formulas import spread_of_powers
from ppl.distributions.truncation.tails import Hazard
from ppl.ir import ops
from ppl.ir.node import Node


class Weibull(Hazard, Distribution):
    """Weibull(concentration, scale): cdf 1 - exp(-(x / scale)^concentration) on x > 0.

    The path is the inverse cdf, scale * (-log(1 - u))^(1 / concentration).

    Parameters
    ----------
    concentration : positive shape; 1 makes it Exponential(1 / scale).
    scale : positive.
    """

    reparameterized = True
    draws_quantiles = True
    constraints: ClassVar[dict[str, str]] = {"concentration": "positive", "scale": "positive"}

    def __init__(self, concentration: Any, scale: Any = 1.0):
        super().__init__(concentration=concentration, scale=scale)

    @property
    def support(self) -> Support:
        """x > 0."""
        return Support.POSITIVE

    def unit_log_prob(self, value: Node) -> Node:
        """log k + k l - exp(k l) - log x, l = log(x / scale), k the concentration."""
        k = self.params["concentration"]

        def inside(x: Node) -> Node:
            power = ops.mul(k, log_quotient(x, self.params["scale"]))
            return ops.add(ops.sub(ops.log(k), ops.log(x)), ops.sub(power, ops.exp(power)))

        return guarded(self, value, POSITIVE, 1.0, inside)

    def draw(self, *u: Node) -> Node:
        """scale * exp(log(-log(1 - u)) / k)."""
        log_time = ops.log(ops.neg(ops.log1p(ops.neg(u[0]))))
        return ops.mul(self.params["scale"], ops.exp(ops.div(log_time, self.params["concentration"])))

    def log_moment(self, order: float) -> Node:
        """log E[(x / scale)^order], log gamma(1 + order / k)."""
        return ops.lgamma(ops.add(1.0, ops.div(order, self.params["concentration"])))

    def node_mean(self) -> Node:
        """scale * gamma(1 + 1 / k)."""
        return ops.mul(self.params["scale"], ops.exp(self.log_moment(1.0)))

    def node_mode(self) -> Node:
        """scale * (1 - 1 / k)^(1 / k), or 0 where k is at most 1."""
        k = self.params["concentration"]
        inner = ops.less(1.0, k)
        k = ops.where(inner, k, 2.0)
        peak = ops.exp(ops.div(ops.log1p(ops.neg(ops.div(1.0, k))), k))
        return ops.where(inner, ops.mul(self.params["scale"], peak), 0.0)

    def unit_covariance(self) -> Node:
        """scale^2 (gamma(1 + 2 / k) - gamma(1 + 1 / k)^2)."""
        scale = self.params["scale"]
        moments = self.log_moment(1.0), self.log_moment(2.0)
        return ops.mul(ops.mul(scale, scale), spread_of_powers(ops.div(1.0, self.params["concentration"]), moments))

    def unit_entropy(self) -> Node:
        """Euler's constant (1 - 1 / k) + log(scale / k) + 1."""
        k = self.params["concentration"]
        logs = ops.sub(ops.log(self.params["scale"]), ops.log(k))
        return ops.add(ops.sub(logs, ops.div(EULER, k)), EULER + 1.0)

    def node_cdf(self, value: Node) -> Node:
        """1 - exp(-(x / scale)^k), 0 for x <= 0."""
        inside = contains(POSITIVE, value)
        log_ratio = log_quotient(ops.where(inside, value, 1.0), self.params["scale"])
        power = ops.exp(ops.mul(self.params["concentration"], log_ratio))
        return ops.where(inside, ops.neg(ops.expm1(ops.neg(power))), 0.0)

    def log_hazard(self, value: Node) -> Node:
        """k log(x / scale)."""
        inside = contains(POSITIVE, value)
        log_ratio = log_quotient(ops.where(inside, value, 1.0), self.params["scale"])
        return ops.where(inside, ops.mul(self.params["concentration"], log_ratio), -math.inf)

    def at_log_hazard(self, log_hazard: Node) -> Node:
        """scale * exp(log h / k)."""
        return ops.mul(self.params["scale"], ops.exp(ops.div(log_hazard, self.params["concentration"])))
