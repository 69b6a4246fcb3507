"""The distribution of a sure value."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import Distribution, is_own_sample
from ppl.distributions.bounds import bounds_of
from ppl.distributions.formulas import guarded_on_unit_interval
from ppl.distributions.intervals import Interval
from ppl.distributions.support import ROW_SUPPORTS, Support, support_of
from ppl.ir import ops
from ppl.ir.node import Node


class Delta(Distribution):
    """Delta(v, log_density): the value v for sure; its path has slope 1 in v.

    As a guide's node it makes `elbo` a maximum a posteriori fit. Its support is the point v, so only the pathwise
    gradient reaches v.

    Parameters
    ----------
    v : finite.
    log_density : the log-density at v, 0 for a probability mass of 1.
    """

    reparameterized = True
    moving = frozenset({"v"})
    constraints: ClassVar[dict[str, str]] = {"v": "real", "log_density": "real"}

    def __init__(self, v: Any, log_density: Any = 0.0):
        super().__init__(v=v, log_density=log_density)

    @property
    def support(self) -> Support:
        """The smallest known set that v lies in."""
        found = support_of(self.params["v"])
        return Support.UNIT_INTERVAL if found in ROW_SUPPORTS else found

    @property
    def bounds(self) -> Interval:
        """Those of v."""
        return bounds_of(self.params["v"])

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """None."""
        return ()

    def unit_log_prob(self, value: Node) -> Node:
        """log_density at v, -inf elsewhere."""
        density, value = ops.broadcast(self.params["log_density"], value)
        if is_own_sample(self, value):
            return density
        return ops.where(ops.equal(value, self.params["v"]), density, -math.inf)

    def draw(self, *u: Node) -> Node:
        """v."""
        return self.params["v"]

    def node_mean(self) -> Node:
        """v."""
        return self.params["v"]

    def unit_covariance(self) -> Node:
        """0."""
        return ops.mul(self.params["v"], 0.0)

    def unit_entropy(self) -> Node:
        """-log_density."""
        return ops.neg(self.params["log_density"])

    def node_cdf(self, value: Node) -> Node:
        """0 below v, 1 from v on."""
        return ops.cast(ops.less_equal(self.params["v"], value), "float")

    def node_icdf(self, probability: Node) -> Node:
        """v."""
        return guarded_on_unit_interval(probability, lambda u: ops.broadcast(self.params["v"], u)[0])

    def node_mode(self) -> Node:
        """v."""
        return self.params["v"]

    def node_sf(self, value: Node) -> Node:
        """1 below v, 0 from v on."""
        return ops.cast(ops.less(value, self.params["v"]), "float")

    def node_isf(self, probability: Node) -> Node:
        """v."""
        return self.node_icdf(probability)
