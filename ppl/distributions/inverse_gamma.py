"""The inverse gamma distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import KEY, Distribution
from ppl.distributions.domain.guards import guarded
from ppl.distributions.domain.intervals import POSITIVE
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.formulas import above, gamma_exponent, stirling_gap
from ppl.distributions.parts.gamma_formulas import digamma_gap, log_spread
from ppl.ir import incomplete, ops
from ppl.ir.node import Node


class InverseGamma(Distribution):
    """InverseGamma(concentration, scale): density proportional to x^(-concentration - 1) exp(-scale / x) on x > 0.

    It is the law of 1 / g for g of Gamma(concentration, rate=scale). The sample is exp(log scale - y) with y the
    logarithm of a standard gamma draw (Marsaglia & Tsang 2000), whose path has the implicit derivative of
    Figurnov, Mohamed & Mnih (2018).

    Parameters
    ----------
    concentration : positive shape; the mean is finite above 1, the variance above 2.
    scale : positive.
    """

    reparameterized = True
    implicit = True
    constraints: ClassVar[dict[str, str]] = {"concentration": "positive", "scale": "positive"}

    def __init__(self, concentration: Any, scale: Any = 1.0):
        super().__init__(concentration=concentration, scale=scale)

    @property
    def support(self) -> Support:
        """x > 0."""
        return Support.POSITIVE

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """A noise key."""
        return (KEY,)

    def unit_log_prob(self, value: Node) -> Node:
        """a log(scale / x) - log x - scale / x - log gamma(a), of scale / x against a and Stirling's correction."""
        a, scale = self.params["concentration"], self.params["scale"]

        def inside(x: Node) -> Node:
            log_x = ops.log(x)
            power = gamma_exponent(ops.div(scale, x), ops.sub(ops.log(scale), log_x), a)
            return ops.add(ops.sub(power, log_x), ops.add(ops.log(a), stirling_gap(a)))

        return guarded(self, value, POSITIVE, 1.0, inside)

    def draw(self, *u: Node) -> Node:
        """exp(log scale - y)."""
        y = ops.loggamma_draw(self.params["concentration"], u[0])
        return ops.exp(ops.sub(ops.log(self.params["scale"]), y))

    def node_mean(self) -> Node:
        """scale / (a - 1), infinite where a is at most 1."""
        a, scale = self.params["concentration"], self.params["scale"]
        return above(a, 1.0, lambda a: ops.div(scale, ops.sub(a, 1.0)), math.inf)

    def node_mode(self) -> Node:
        """scale / (a + 1)."""
        return ops.div(self.params["scale"], ops.add(self.params["concentration"], 1.0))

    def unit_covariance(self) -> Node:
        """(scale / (a - 1))^2 / (a - 2), infinite where a is at most 2."""
        a, scale = self.params["concentration"], self.params["scale"]

        def finite(a: Node) -> Node:
            mean = ops.div(scale, ops.sub(a, 1.0))
            return ops.div(ops.mul(mean, mean), ops.sub(a, 2.0))

        return above(a, 2.0, finite, math.inf)

    def unit_entropy(self) -> Node:
        """a + log scale + log gamma(a) - (1 + a) digamma(a)."""
        a = self.params["concentration"]
        moved = ops.sub(ops.mul(2.0, digamma_gap(a)), ops.mul(2.0, ops.log(a)))
        return ops.add(ops.add(log_spread(a), moved), ops.log(self.params["scale"]))

    def node_cdf(self, value: Node) -> Node:
        """Q(a, scale / x), the regularized upper incomplete gamma function."""
        inside = ops.less(0.0, value)
        turned = ops.div(self.params["scale"], ops.where(inside, value, 1.0))
        return ops.where(inside, incomplete.gammaincc(self.params["concentration"], turned), 0.0)

    def node_icdf(self, probability: Node) -> Node:
        """scale over the inverse of Q(a, .)."""
        return ops.div(self.params["scale"], incomplete.gammainccinv(self.params["concentration"], probability))

    def node_sf(self, value: Node) -> Node:
        """P(a, scale / x), the regularized incomplete gamma function; 1 for x <= 0."""
        inside = ops.less(0.0, value)
        turned = ops.div(self.params["scale"], ops.where(inside, value, 1.0))
        return ops.where(inside, incomplete.gammainc(self.params["concentration"], turned), 1.0)

    def node_isf(self, probability: Node) -> Node:
        """scale over the inverse of P(a, .)."""
        return ops.div(self.params["scale"], incomplete.gammaincinv(self.params["concentration"], probability))
