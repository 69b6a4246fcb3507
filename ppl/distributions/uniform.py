"""The uniform distribution on an interval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ppl.distributions.base import Distribution
from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.checks import require_ordered
from ppl.distributions.domain.conditions import Condition, ordered
from ppl.distributions.domain.guards import owns
from ppl.distributions.domain.intervals import Interval
from ppl.distributions.domain.support import Support
from ppl.distributions.truncation.tails import on_unit
from ppl.ir import ops
from ppl.ir.node import Node


class Uniform(Distribution):
    """Uniform(low, high): support low <= x <= high, which both parameters move; path low + (high - low) * u.

    Parameters
    ----------
    low, high : real, low < high.
    """

    reparameterized = True
    draws_quantiles = True
    moving = frozenset({"low", "high"})
    constraints: ClassVar[dict[str, str]] = {"low": "real", "high": "real"}

    def __init__(self, low: Any = 0.0, high: Any = 1.0):
        super().__init__(low=low, high=high)
        require_ordered("Uniform", self.params["low"], self.params["high"], self.event_shape)

    def conditions(self) -> Iterator[Condition]:
        """Finite ends, low < high."""
        yield from super().conditions()
        yield ordered(self.params["low"], self.params["high"])

    @property
    def support(self) -> Support:
        """The unit interval for constants 0 and 1, else an interval between the parameters."""
        inside = self.bounds
        return Support.UNIT_INTERVAL if (inside.lo, inside.hi) == (0.0, 1.0) else Support.INTERVAL

    @property
    def bounds(self) -> Interval:
        """From the smallest low to the largest high, as far as they are known."""
        return Interval(bounds_of(self.params["low"]).lo, bounds_of(self.params["high"]).hi)

    def unit_log_prob(self, value: Node) -> Node:
        """-log(high - low) inside."""
        low, high = self.params["low"], self.params["high"]
        inside = Interval(bounds_of(low).hi, bounds_of(high).lo, False, False)
        density, value = ops.broadcast(ops.neg(ops.log(ops.sub(high, low))), value)
        if owns(self, value) or bounds_of(value).within(inside):
            return density
        within = ops.logical_and(ops.less_equal(low, value), ops.less_equal(value, high))
        return ops.where(within, density, -np.inf)

    def draw(self, *u: Node) -> Node:
        """low + (high - low) * u."""
        low, high = self.params["low"], self.params["high"]
        return ops.add(low, ops.mul(ops.sub(high, low), u[0]))

    def node_mean(self) -> Node:
        """(low + high) / 2."""
        return ops.mul(0.5, ops.add(self.params["low"], self.params["high"]))

    def unit_covariance(self) -> Node:
        """(high - low)^2 / 12."""
        width = ops.sub(self.params["high"], self.params["low"])
        return ops.div(ops.mul(width, width), 12.0)

    def unit_entropy(self) -> Node:
        """log(high - low)."""
        return ops.log(ops.sub(self.params["high"], self.params["low"]))

    def node_cdf(self, value: Node) -> Node:
        """(x - low) / (high - low), cut off at 0 and 1."""
        low, high = self.params["low"], self.params["high"]
        return ops.minimum(ops.maximum(ops.div(ops.sub(value, low), ops.sub(high, low)), 0.0), 1.0)

    def node_sf(self, value: Node) -> Node:
        """(high - x) / (high - low), cut off at 0 and 1."""
        low, high = self.params["low"], self.params["high"]
        return ops.minimum(ops.maximum(ops.div(ops.sub(high, value), ops.sub(high, low)), 0.0), 1.0)

    def node_isf(self, probability: Node) -> Node:
        """high - (high - low) q."""
        low, high = self.params["low"], self.params["high"]
        return on_unit(probability, lambda q: ops.sub(high, ops.mul(ops.sub(high, low), q)))
