"""The log-normal distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import Distribution, guarded
from ppl.distributions.bounds import contains
from ppl.distributions.formulas import LOG_SQRT_2PI, affine, standardize
from ppl.distributions.intervals import POSITIVE
from ppl.distributions.support import Support
from ppl.distributions.tails import LogTails, normal_quantile_at_log
from ppl.ir import ops
from ppl.ir.node import Node


class LogNormal(LogTails, Distribution):
    """LogNormal(loc, scale), the law of exp of a Normal(loc, scale): support x > 0; path exp(loc + scale *
    ndtri(u)).

    Parameters
    ----------
    loc, scale : real, positive; of log x.
    """

    reparameterized = True
    draws_quantiles = True
    constraints: ClassVar[dict[str, str]] = {"loc": "real", "scale": "positive"}

    def __init__(self, loc: Any = 0.0, scale: Any = 1.0):
        super().__init__(loc=loc, scale=scale)

    @property
    def support(self) -> Support:
        """x > 0."""
        return Support.POSITIVE

    def unit_log_prob(self, value: Node) -> Node:
        """The Normal log-density of log x, minus log x."""
        return guarded(self, value, POSITIVE, 1.0, self._log_prob_inside)

    def _log_prob_inside(self, value: Node) -> Node:
        log_x = ops.log(value)
        standard = standardize(log_x, self.params["loc"], self.params["scale"])
        quadratic = ops.mul(-0.5, ops.mul(standard, standard))
        return ops.sub(ops.sub(quadratic, log_x), ops.add(ops.log(self.params["scale"]), LOG_SQRT_2PI))

    def draw(self, *u: Node) -> Node:
        """exp(loc + scale * ndtri(u))."""
        return ops.exp(affine(self.params["loc"], self.params["scale"], ops.ndtri(u[0])))

    def node_mean(self) -> Node:
        """exp(loc + scale^2 / 2)."""
        scale = self.params["scale"]
        return ops.exp(ops.add(self.params["loc"], ops.mul(0.5, ops.mul(scale, scale))))

    def node_mode(self) -> Node:
        """exp(loc - scale^2)."""
        scale = self.params["scale"]
        return ops.exp(ops.sub(self.params["loc"], ops.mul(scale, scale)))

    def unit_covariance(self) -> Node:
        """(exp(scale^2) - 1) mean^2."""
        scale, mean = self.params["scale"], self.node_mean()
        return ops.mul(ops.expm1(ops.mul(scale, scale)), ops.mul(mean, mean))

    def unit_entropy(self) -> Node:
        """loc + log scale + log sqrt(2 pi e)."""
        return ops.add(ops.add(self.params["loc"], ops.log(self.params["scale"])), LOG_SQRT_2PI + 0.5)

    def node_cdf(self, value: Node) -> Node:
        """Normal cdf of log x, 0 for x <= 0."""
        inside = contains(POSITIVE, value)
        log_x = ops.log(ops.where(inside, value, 1.0))
        return ops.where(inside, ops.ndtr(standardize(log_x, self.params["loc"], self.params["scale"])), 0.0)

    def _standard(self, value: Node) -> tuple[Node, Node]:
        """Where x is positive, and the standard variable there."""
        inside = contains(POSITIVE, value)
        log_x = ops.log(ops.where(inside, value, 1.0))
        return inside, standardize(log_x, self.params["loc"], self.params["scale"])

    def node_log_cdf(self, value: Node) -> Node:
        """The normal log cdf of log x; -inf for x <= 0."""
        inside, z = self._standard(value)
        return ops.where(inside, ops.log_ndtr(z), -math.inf)

    def node_log_sf(self, value: Node) -> Node:
        """The normal log survival function of log x; 0 for x <= 0."""
        inside, z = self._standard(value)
        return ops.where(inside, ops.log_ndtr(ops.neg(z)), 0.0)

    def node_log_icdf(self, log_p: Node) -> Node:
        """exp of the normal quantile."""
        return ops.exp(affine(self.params["loc"], self.params["scale"], normal_quantile_at_log(log_p)))

    def node_log_isf(self, log_q: Node) -> Node:
        """exp of the upper normal quantile."""
        return ops.exp(affine(self.params["loc"], self.params["scale"], ops.neg(normal_quantile_at_log(log_q))))
