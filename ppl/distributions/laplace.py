"""The Laplace distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import Distribution
from ppl.distributions.formulas import affine, standardize
from ppl.distributions.support import Support
from ppl.ir import ops
from ppl.ir.node import Node


class Laplace(Distribution):
    """Laplace(loc, scale): density exp(-|x - loc| / scale) / (2 scale) on the real line.

    The log-density has a kink at loc. The path is the inverse cdf, loc - scale * sign(u - 1/2) log(2 min(u, 1
    - u)).

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
        """-|x - loc| / scale - log(2 scale)."""
        distance = ops.absolute(standardize(value, self.params["loc"], self.params["scale"]))
        return ops.sub(ops.neg(distance), ops.add(ops.log(self.params["scale"]), math.log(2.0)))

    def draw(self, *u: Node) -> Node:
        """loc - scale * sign(u - 1/2) * log(2 min(u, 1 - u)), exact in both tails."""
        tail = ops.log(ops.mul(2.0, ops.minimum(u[0], ops.sub(1.0, u[0]))))
        return affine(self.params["loc"], self.params["scale"], ops.mul(ops.sign(ops.sub(0.5, u[0])), tail))

    def node_mean(self) -> Node:
        """loc."""
        return self.params["loc"]

    def unit_covariance(self) -> Node:
        """2 scale^2."""
        scale = self.params["scale"]
        return ops.mul(2.0, ops.mul(scale, scale))

    def unit_entropy(self) -> Node:
        """1 + log(2 scale)."""
        return ops.add(ops.log(self.params["scale"]), 1.0 + math.log(2.0))

    def node_cdf(self, value: Node) -> Node:
        """exp(z) / 2 for z = (x - loc) / scale below 0, else 1 - exp(-z) / 2."""
        z = standardize(value, self.params["loc"], self.params["scale"])
        tail = ops.mul(0.5, ops.exp(ops.neg(ops.absolute(z))))
        return ops.where(ops.less(z, 0.0), tail, ops.sub(1.0, tail))
