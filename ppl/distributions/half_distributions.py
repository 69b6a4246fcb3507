"""The half-normal and the half-Cauchy distribution: the laws of |z| for z symmetric around 0."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import Distribution, guarded
from ppl.distributions.formulas import frozen, log1p_square, on_unit_interval
from ppl.distributions.intervals import NONNEGATIVE
from ppl.distributions.support import Support
from ppl.distributions.tails import LogTails, normal_quantile_at_log
from ppl.ir import ops
from ppl.ir.node import Node

LOG_TWO = math.log(2.0)

ROOT_TWO = math.sqrt(2.0)

LOG_SQRT_HALF_PI = 0.5 * math.log(math.pi / 2)


class HalfNormal(LogTails, Distribution):
    """HalfNormal(scale), the law of |z| for z of Normal(0, scale), on x >= 0; path scale * sqrt(2) erfinv(u).

    Samples are positive; the density also holds at its edge 0.

    Parameters
    ----------
    scale : positive, the standard deviation of z.
    """

    reparameterized = True
    draws_quantiles = True
    constraints: ClassVar[dict[str, str]] = {"scale": "positive"}

    def __init__(self, scale: Any = 1.0):
        super().__init__(scale=scale)

    @property
    def support(self) -> Support:
        """x > 0."""
        return Support.POSITIVE

    def unit_log_prob(self, value: Node) -> Node:
        """-(x / scale)^2 / 2 - log scale - log sqrt(pi / 2)."""

        def inside(x: Node) -> Node:
            z = ops.div(x, self.params["scale"])
            quadratic = ops.mul(-0.5, ops.mul(z, z))
            return ops.sub(quadratic, ops.add(ops.log(self.params["scale"]), LOG_SQRT_HALF_PI))

        return guarded(self, value, NONNEGATIVE, 0.0, inside)

    def draw(self, *u: Node) -> Node:
        """scale * sqrt(2) erfinv(u)."""
        return ops.mul(self.params["scale"], ops.mul(ROOT_TWO, ops.erfinv(u[0])))

    def node_mean(self) -> Node:
        """scale * sqrt(2 / pi)."""
        return ops.mul(math.sqrt(2 / math.pi), self.params["scale"])

    def node_mode(self) -> Node:
        """0."""
        return ops.mul(0.0, self.params["scale"])

    def unit_covariance(self) -> Node:
        """(1 - 2 / pi) scale^2."""
        return ops.mul(1 - 2 / math.pi, ops.mul(self.params["scale"], self.params["scale"]))

    def unit_entropy(self) -> Node:
        """log scale + log sqrt(pi / 2) + 1 / 2."""
        return ops.add(ops.log(self.params["scale"]), LOG_SQRT_HALF_PI + 0.5)

    def node_cdf(self, value: Node) -> Node:
        """erf(x / (scale sqrt(2))), 0 for negative x."""
        return ops.erf(ops.div(ops.maximum(value, 0.0), ops.mul(ROOT_TWO, self.params["scale"])))

    def node_log_sf(self, value: Node) -> Node:
        """log(2 P(Z > x / scale)), 0 for negative x."""
        return ops.add(ops.log_ndtr(ops.neg(ops.div(ops.maximum(value, 0.0), self.params["scale"]))), LOG_TWO)

    def node_log_isf(self, log_q: Node) -> Node:
        """Minus scale times the normal quantile at half the probability."""
        return ops.neg(ops.mul(self.params["scale"], normal_quantile_at_log(ops.sub(log_q, LOG_TWO))))


class HalfCauchy(Distribution):
    """HalfCauchy(scale), the law of |z| for z of Cauchy(0, scale), on x >= 0; path scale * tan(pi u / 2).

    It has neither variance nor a finite mean. Samples are positive; the density also holds at its edge 0.

    Parameters
    ----------
    scale : positive, the median.
    """

    reparameterized = True
    draws_quantiles = True
    constraints: ClassVar[dict[str, str]] = {"scale": "positive"}

    def __init__(self, scale: Any = 1.0):
        super().__init__(scale=scale)

    @property
    def support(self) -> Support:
        """x > 0."""
        return Support.POSITIVE

    def unit_log_prob(self, value: Node) -> Node:
        """-log(1 + (x / scale)^2) - log scale - log(pi / 2)."""

        def inside(x: Node) -> Node:
            tail = log1p_square(ops.div(x, self.params["scale"]))
            return ops.neg(ops.add(tail, ops.add(ops.log(self.params["scale"]), math.log(math.pi / 2))))

        return guarded(self, value, NONNEGATIVE, 0.0, inside)

    def draw(self, *u: Node) -> Node:
        """scale * tan(pi u / 2), above the median scale / tan(pi (1 - u) / 2)."""
        upper = ops.less(0.5, frozen(u[0]))
        slope = ops.tan(ops.mul(math.pi / 2, ops.where(upper, ops.sub(1.0, u[0]), u[0])))
        return ops.mul(self.params["scale"], ops.where(upper, ops.div(1.0, slope), slope))

    def node_mode(self) -> Node:
        """0."""
        return ops.mul(0.0, self.params["scale"])

    def unit_entropy(self) -> Node:
        """log(2 pi scale)."""
        return ops.add(ops.log(self.params["scale"]), math.log(2 * math.pi))

    def node_cdf(self, value: Node) -> Node:
        """(2 / pi) atan(x / scale), 0 for negative x."""
        return ops.mul(2 / math.pi, ops.atan(ops.div(ops.maximum(value, 0.0), self.params["scale"])))

    def node_sf(self, value: Node) -> Node:
        """(2 / pi) atan(scale / x) from the median on, 1 less the cdf below."""
        scale = self.params["scale"]
        far = ops.less(frozen(scale), frozen(value))
        turned = ops.atan(ops.div(scale, ops.where(far, value, scale)))
        return ops.where(far, ops.mul(2 / math.pi, turned), ops.sub(1.0, self.node_cdf(value)))

    def node_isf(self, probability: Node) -> Node:
        """scale / tan(pi q / 2), below the median scale * tan(pi (1 - q) / 2)."""

        def quantile(q: Node) -> Node:
            low = ops.less(0.5, frozen(q))
            slope = ops.tan(ops.mul(math.pi / 2, ops.where(low, ops.sub(1.0, q), q)))
            return ops.mul(self.params["scale"], ops.where(low, slope, ops.div(1.0, slope)))

        return on_unit_interval(probability, quantile)
