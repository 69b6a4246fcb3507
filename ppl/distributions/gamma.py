"""The gamma distribution."""

from __future__ import annotations

from typing import Any, ClassVar

from ppl.distributions.base import KEY, Distribution
from ppl.distributions.domain.guards import guarded
from ppl.distributions.domain.intervals import POSITIVE
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.formulas import gamma_exponent, stirling_gap
from ppl.distributions.parts.gamma_formulas import log_spread
from ppl.ir import incomplete, ops
from ppl.ir.node import Node


class Gamma(Distribution):
    """Gamma(concentration, rate): density proportional to x^(concentration - 1) exp(-rate x) on x > 0.

    The sample is exp(y - log rate) with y the logarithm of a standard gamma draw: rejection (Marsaglia & Tsang 2000)
    on the log scale, exact also where the sample itself underflows. Its path has the implicit derivative
    -(dF / d concentration) / p (Figurnov, Mohamed & Mnih 2018).

    Parameters
    ----------
    concentration : positive shape.
    rate : positive, the inverse of the scale.
    """

    reparameterized = True
    implicit = True
    constraints: ClassVar[dict[str, str]] = {"concentration": "positive", "rate": "positive"}

    def __init__(self, concentration: Any, rate: Any = 1.0):
        super().__init__(concentration=concentration, rate=rate)

    @property
    def support(self) -> Support:
        """x > 0."""
        return Support.POSITIVE

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """A noise key."""
        return (KEY,)

    def unit_log_prob(self, value: Node) -> Node:
        """(a - 1) log x - rate x + a log rate - log gamma(a), of rate x against a and Stirling's correction."""
        a, rate = self.params["concentration"], self.params["rate"]

        def inside(x: Node) -> Node:
            log_x = ops.log(x)
            power = gamma_exponent(ops.mul(rate, x), ops.add(log_x, ops.log(rate)), a)
            return ops.add(ops.sub(power, log_x), ops.add(ops.log(a), stirling_gap(a)))

        return guarded(self, value, POSITIVE, 1.0, inside)

    def draw(self, *u: Node) -> Node:
        """exp(y - log rate)."""
        y = ops.loggamma_draw(self.params["concentration"], u[0])
        return ops.exp(ops.sub(y, ops.log(self.params["rate"])))

    def node_mean(self) -> Node:
        """concentration / rate."""
        return ops.div(self.params["concentration"], self.params["rate"])

    def node_mode(self) -> Node:
        """(concentration - 1) / rate, or 0 where that is negative."""
        return ops.div(ops.maximum(ops.sub(self.params["concentration"], 1.0), 0.0), self.params["rate"])

    def unit_covariance(self) -> Node:
        """concentration / rate^2."""
        return ops.div(self.node_mean(), self.params["rate"])

    def unit_entropy(self) -> Node:
        """a - log rate + log gamma(a) + (1 - a) digamma(a)."""
        a = self.params["concentration"]
        return ops.sub(log_spread(a), ops.log(self.params["rate"]))

    def node_cdf(self, value: Node) -> Node:
        """P(concentration, rate x), the regularized incomplete gamma function."""
        inside = ops.less(0.0, value)
        scaled = ops.mul(self.params["rate"], ops.where(inside, value, 1.0))
        return ops.where(inside, incomplete.gammainc(self.params["concentration"], scaled), 0.0)

    def node_icdf(self, probability: Node) -> Node:
        """The inverse of P(concentration, .), over rate."""
        return ops.div(incomplete.gammaincinv(self.params["concentration"], probability), self.params["rate"])

    def node_sf(self, value: Node) -> Node:
        """Q(concentration, rate x), the regularized upper incomplete gamma function; 1 for x <= 0."""
        inside = ops.less(0.0, value)
        scaled = ops.mul(self.params["rate"], ops.where(inside, value, 1.0))
        return ops.where(inside, incomplete.gammaincc(self.params["concentration"], scaled), 1.0)

    def node_isf(self, probability: Node) -> Node:
        """The inverse of Q(concentration, .), over rate."""
        return ops.div(incomplete.gammainccinv(self.params["concentration"], probability), self.params["rate"])
