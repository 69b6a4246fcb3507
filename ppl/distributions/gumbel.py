"""The Gumbel distribution of maxima."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import Distribution
from ppl.distributions.formulas import EULER, affine, gumbel, standardize
from ppl.distributions.support import Support
from ppl.ir import ops
from ppl.ir.node import Node


class Gumbel(Distribution):
    """Gumbel(loc, scale): cdf exp(-exp(-(x - loc) / scale)) on the real line; path loc - scale * log(-log u).

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
        """-z - exp(-z) - log scale for z = (x - loc) / scale."""
        minus_z = standardize(self.params["loc"], value, self.params["scale"])
        return ops.sub(ops.sub(minus_z, ops.exp(minus_z)), ops.log(self.params["scale"]))

    def draw(self, *u: Node) -> Node:
        """loc - scale * log(-log u)."""
        return affine(self.params["loc"], self.params["scale"], gumbel(u[0]))

    def node_mean(self) -> Node:
        """loc + scale * Euler's constant."""
        return affine(self.params["loc"], self.params["scale"], ops.const(EULER))

    def unit_covariance(self) -> Node:
        """pi^2 scale^2 / 6."""
        scale = self.params["scale"]
        return ops.mul(math.pi**2 / 6, ops.mul(scale, scale))

    def unit_entropy(self) -> Node:
        """log scale + Euler's constant + 1."""
        return ops.add(ops.log(self.params["scale"]), EULER + 1.0)

    def node_cdf(self, value: Node) -> Node:
        """exp(-exp(-z)) for z = (x - loc) / scale."""
        minus_z = standardize(self.params["loc"], value, self.params["scale"])
        return ops.exp(ops.neg(ops.exp(minus_z)))
