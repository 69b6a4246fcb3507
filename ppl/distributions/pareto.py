"""The Pareto distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import Distribution
from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.guards import owns
from ppl.distributions.domain.intervals import Interval
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.formulas import above, frozen
from ppl.distributions.truncation.tails import Hazard, safe_log
from ppl.ir import ops
from ppl.ir.node import Node

FAR = 1e8


class Pareto(Hazard, Distribution):
    """Pareto(scale, concentration): cdf 1 - (scale / x)^concentration on x >= scale, which the scale moves.

    The path is the inverse cdf, scale * (1 - u)^(-1 / concentration).

    Parameters
    ----------
    scale : positive, the smallest value.
    concentration : positive exponent of the tail; the mean is finite above 1, the variance above 2.
    """

    reparameterized = True
    draws_quantiles = True
    moving = frozenset({"scale"})
    constraints: ClassVar[dict[str, str]] = {"scale": "positive", "concentration": "positive"}

    def __init__(self, scale: Any, concentration: Any):
        super().__init__(scale=scale, concentration=concentration)

    @property
    def support(self) -> Support:
        """From a parameter on."""
        return Support.INTERVAL

    @property
    def bounds(self) -> Interval:
        """From the smallest scale on, as far as it is known; positive."""
        return Interval(max(bounds_of(self.params["scale"]).lo, 0.0), math.inf)

    def unit_log_prob(self, value: Node) -> Node:
        """log a - log x - a log(x / scale), a the concentration."""
        (scale, a), x = self.params.values(), value
        sure = owns(self, value) or bounds_of(value).within(Interval(bounds_of(scale).hi, math.inf, False))
        inside = ops.less_equal(scale, value)
        x = value if sure else ops.where(inside, value, scale)
        far = ops.less(ops.mul(FAR, frozen(scale)), frozen(x))  # where the quotient may overflow
        near = ops.log(ops.where(far, 1.0, ops.div(x, scale)))
        ratio = ops.where(far, ops.sub(ops.log(x), ops.log(scale)), near)
        density = ops.sub(ops.sub(ops.log(a), ops.log(x)), ops.mul(a, ratio))
        return density if sure else ops.where(inside, density, -math.inf)

    def draw(self, *u: Node) -> Node:
        """scale * exp(-log(1 - u) / a)."""
        scale, a = self.params.values()
        return ops.mul(scale, ops.exp(ops.div(ops.neg(ops.log1p(ops.neg(u[0]))), a)))

    def node_mean(self) -> Node:
        """a scale / (a - 1), infinite where a is at most 1."""
        scale, a = self.params.values()
        return above(a, 1.0, lambda a: ops.mul(scale, ops.div(a, ops.sub(a, 1.0))), math.inf)

    def node_mode(self) -> Node:
        """scale."""
        return self.params["scale"]

    def unit_covariance(self) -> Node:
        """(scale / (a - 1))^2 a / (a - 2), infinite where a is at most 2."""
        scale, a = self.params.values()

        def finite(a: Node) -> Node:
            unit = ops.div(scale, ops.sub(a, 1.0))
            return ops.mul(ops.mul(unit, unit), ops.div(a, ops.sub(a, 2.0)))

        return above(a, 2.0, finite, math.inf)

    def unit_entropy(self) -> Node:
        """log(scale / a) + 1 + 1 / a."""
        scale, a = self.params.values()
        return ops.add(ops.sub(ops.log(scale), ops.log(a)), ops.add(1.0, ops.div(1.0, a)))

    def node_cdf(self, value: Node) -> Node:
        """1 - (scale / x)^a, 0 below scale."""
        return ops.neg(ops.expm1(self.node_log_sf(value)))

    def log_ratio(self, value: Node) -> Node:
        """log(x / scale), 0 below scale."""
        scale = self.params["scale"]
        x = ops.maximum(value, scale)
        near = ops.less(frozen(x), ops.mul(2.0, frozen(scale)))
        excess = ops.div(ops.sub(ops.where(near, x, scale), scale), scale)
        return ops.where(near, ops.log1p(excess), ops.sub(ops.log(ops.where(near, scale, x)), ops.log(scale)))

    def log_hazard(self, value: Node) -> Node:
        """log a + log log(x / scale)."""
        return safe_log(ops.mul(self.params["concentration"], self.log_ratio(value)))

    def at_log_hazard(self, log_hazard: Node) -> Node:
        """scale * exp(h / a)."""
        scale, a = self.params.values()
        return ops.mul(scale, ops.exp(ops.div(ops.exp(log_hazard), a)))

    def node_log_sf(self, value: Node) -> Node:
        """-a log(x / scale)."""
        return ops.neg(ops.mul(self.params["concentration"], self.log_ratio(value)))

    def node_log_isf(self, log_q: Node) -> Node:
        """scale * exp(-l / a)."""
        scale, a = self.params.values()
        return ops.mul(scale, ops.exp(ops.neg(ops.div(log_q, a))))
