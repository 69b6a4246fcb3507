"""The Normal distribution."""

from __future__ import annotations

from typing import Any, ClassVar

from ppl.distributions.base import Distribution
from ppl.distributions.formulas import LOG_SQRT_2PI, affine, standardize
from ppl.distributions.support import Support
from ppl.ir import ops
from ppl.ir.node import Node


class Normal(Distribution):
    """Normal(loc, scale): support the real line; path loc + scale * ndtri(u).

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
        """-(x - loc)^2 / (2 scale^2) - log scale - log sqrt(2 pi)."""
        standard = standardize(value, self.params["loc"], self.params["scale"])
        quadratic = ops.mul(-0.5, ops.mul(standard, standard))
        return ops.sub(ops.sub(quadratic, ops.log(self.params["scale"])), LOG_SQRT_2PI)

    def draw(self, *u: Node) -> Node:
        """loc + scale * ndtri(u)."""
        return affine(self.params["loc"], self.params["scale"], ops.ndtri(u[0]))

    def node_mean(self) -> Node:
        """loc."""
        return self.params["loc"]

    def unit_covariance(self) -> Node:
        """scale^2."""
        return ops.mul(self.params["scale"], self.params["scale"])

    def unit_entropy(self) -> Node:
        """log scale + log sqrt(2 pi e)."""
        return ops.add(ops.log(self.params["scale"]), LOG_SQRT_2PI + 0.5)

    def node_cdf(self, value: Node) -> Node:
        """Normal cdf."""
        return ops.ndtr(standardize(value, self.params["loc"], self.params["scale"]))
