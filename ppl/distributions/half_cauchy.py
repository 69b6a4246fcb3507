"""The half-Cauchy distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import Distribution
from ppl.distributions.domain.guards import guarded
from ppl.distributions.domain.intervals import NONNEGATIVE
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.formulas import frozen, log1p_square
from ppl.distributions.truncation.tails import on_unit
from ppl.ir import ops
from ppl.ir.node import Node


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

        return on_unit(probability, quantile)
