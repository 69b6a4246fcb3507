"""The Poisson distribution."""

from __future__ import annotations

from typing import Any, ClassVar

from ppl.distributions.base import KEY, Distribution
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.counts import counted, poisson_log_mass, tail
from ppl.ir import incomplete, ops
from ppl.ir.node import Node


class Poisson(Distribution):
    """Poisson(rate): P(k) = rate^k exp(-rate) / k! on k = 0, 1, …; integer samples.

    Drawn by inversion below rate 10 and by transformed rejection from there on (PTRS, Hoermann 1993). The log-mass is
    Loader's (2000), without cancellation.

    Parameters
    ----------
    rate : positive, the mean.
    """

    discrete = True
    dtype = "int"
    constraints: ClassVar[dict[str, str]] = {"rate": "positive"}

    def __init__(self, rate: Any):
        super().__init__(rate=rate)

    @property
    def support(self) -> Support:
        """{0, 1, …}."""
        return Support.COUNT

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """A noise key."""
        return (KEY,)

    def unit_log_prob(self, value: Node) -> Node:
        """k log rate - rate - log k!; -inf where the value is no count."""
        return counted(self, value, lambda k: poisson_log_mass(k, self.params["rate"]))

    def draw(self, *u: Node) -> Node:
        """A count."""
        return ops.poisson_draw(self.params["rate"], u[0])

    def node_mean(self) -> Node:
        """rate."""
        return self.params["rate"]

    def unit_covariance(self) -> Node:
        """rate."""
        return self.params["rate"]

    def node_cdf(self, value: Node) -> Node:
        """Q(floor(x) + 1, rate), the regularized upper incomplete gamma function; 0 below 0."""
        return tail(value, lambda k: incomplete.gammaincc(k, self.params["rate"]), 0.0)

    def node_icdf(self, probability: Node) -> Node:
        """The least count whose cdf reaches the probability, as a float."""
        return incomplete.poisson_icdf(self.params["rate"], probability)

    def node_mode(self) -> Node:
        """floor(rate)."""
        return ops.cast(ops.floor(self.params["rate"]), "int")

    def node_sf(self, value: Node) -> Node:
        """P(floor(x) + 1, rate), the regularized incomplete gamma function; 1 below 0."""
        return tail(value, lambda k: incomplete.gammainc(k, self.params["rate"]), 1.0)

    def node_isf(self, probability: Node) -> Node:
        """The least count above which the mass is at most the probability, as a float."""
        return incomplete.poisson_isf(self.params["rate"], probability)
