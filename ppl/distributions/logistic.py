"""The logistic distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import Distribution
from ppl.distributions.formulas import affine, logit, standardize
from ppl.distributions.support import Support
from ppl.ir import ops
from ppl.ir.node import Node


class Logistic(Distribution):
    """Logistic(loc, scale): cdf sigmoid((x - loc) / scale) on the real line; path loc + scale * logit(u).

    Parameters
    ----------
    loc, scale : real, positive.
    """

    reparameterized = True
    constraints: ClassVar[dict[str, str]] = {"loc": "real", "scale": "positive"}

    def __init__(self, loc: Any = 0.0, scale: Any = 1.0):
        super().__init__(loc=loc, scale=scale)

    @property
    def support(self) -> Support:
        """The real line."""
        return Support.REAL

    def unit_log_prob(self, value: Node) -> Node:
        """-softplus(z) - softplus(-z) - log scale for z = (x - loc) / scale."""
        z = standardize(value, self.params["loc"], self.params["scale"])
        both = ops.add(ops.softplus(z), ops.softplus(ops.neg(z)))
        return ops.neg(ops.add(both, ops.log(self.params["scale"])))

    def draw(self, *u: Node) -> Node:
        """loc + scale * logit(u)."""
        return affine(self.params["loc"], self.params["scale"], logit(u[0]))

    def node_mean(self) -> Node:
        """loc."""
        return self.params["loc"]

    def unit_covariance(self) -> Node:
        """pi^2 scale^2 / 3."""
        scale = self.params["scale"]
        return ops.mul(math.pi**2 / 3, ops.mul(scale, scale))

    def unit_entropy(self) -> Node:
        """2 + log scale."""
        return ops.add(ops.log(self.params["scale"]), 2.0)

    def node_cdf(self, value: Node) -> Node:
        """sigmoid((x - loc) / scale)."""
        return ops.sigmoid(standardize(value, self.params["loc"], self.params["scale"]))
