"""The uniform distributions on an interval and on whole numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ppl.distributions.base import Distribution, is_own_sample
from ppl.distributions.bounds import bounds_of
from ppl.distributions.constraints import Condition, constant_value, ordering_condition, require_ordered
from ppl.distributions.discrete import corrected_quantile, corrected_upper_quantile
from ppl.distributions.formulas import guarded_on_unit_interval, on_unit_interval
from ppl.distributions.intervals import Interval
from ppl.distributions.support import Support
from ppl.errors import ModelError
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
        yield ordering_condition(self.params["low"], self.params["high"])

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
        if is_own_sample(self, value) or bounds_of(value).within(inside):
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
        return on_unit_interval(probability, lambda q: ops.sub(high, ops.mul(ops.sub(high, low), q)))


class DiscreteUniform(Distribution):
    """DiscreteUniform(low, high): the whole numbers from low to high, both included, with equal probability.

    Integer samples low + floor((high - low + 1) u).

    Parameters
    ----------
    low, high : whole numbers, low <= high, which both move the support, so that no gradient passes to them.
    """

    discrete = True
    dtype = "int"
    moving = frozenset({"low", "high"})
    constraints: ClassVar[dict[str, str]] = {"low": "whole", "high": "whole"}

    def __init__(self, low: Any = 0, high: Any = 1):
        super().__init__(low=low, high=high)
        low_value, high_value = (constant_value(self.params[name]) for name in ("low", "high"))
        if low_value is None or high_value is None:
            return
        bad = np.argwhere(np.broadcast_to(low_value > high_value, self.event_shape))
        if len(bad):
            first = tuple(bad[0].tolist())
            pair = [int(np.broadcast_to(v, self.event_shape)[first]) for v in (low_value, high_value)]
            raise ModelError(f"DiscreteUniform: low must not exceed high, got low {pair[0]} and high {pair[1]}")

    def conditions(self) -> Iterator[Condition]:
        """Whole ends, low <= high."""
        yield from super().conditions()
        yield ordering_condition(self.params["low"], self.params["high"], equal=True)

    @property
    def support(self) -> Support:
        """Whole numbers between the parameters."""
        return Support.INTEGER if self.bounds.lo >= 0 else Support.INTERVAL

    @property
    def bounds(self) -> Interval:
        """From the smallest low to the largest high, as far as they are known."""
        low, high = bounds_of(self.params["low"]), bounds_of(self.params["high"])
        return Interval(low.lo, high.hi, low.lo_open, high.hi_open)

    def log_size(self) -> Node:
        """log(high - low + 1)."""
        return ops.log(ops.add(ops.sub(self.params["high"], self.params["low"]), 1.0))

    def unit_log_prob(self, value: Node) -> Node:
        """-log(high - low + 1) on the whole numbers inside."""
        low, high = self.params["low"], self.params["high"]
        density, k = ops.broadcast(ops.neg(self.log_size()), ops.cast(value, "float"))
        if is_own_sample(self, value):
            return density
        within = ops.logical_and(ops.less_equal(low, k), ops.less_equal(k, high))
        return ops.where(ops.logical_and(within, ops.equal(ops.floor(k), k)), density, -math.inf)

    def draw(self, *u: Node) -> Node:
        """low + floor((high - low + 1) u), which rounding does not carry beyond high."""
        low, high = self.params["low"], self.params["high"]
        step = ops.floor(ops.mul(ops.add(ops.sub(high, low), 1.0), u[0]))
        return ops.cast(ops.minimum(ops.add(low, step), high), "int")

    def unit_support(self) -> np.ndarray | None:
        """low to high; for units that differ, from the smallest low to the largest high."""
        low, high = (constant_value(self.params[name]) for name in ("low", "high"))
        return None if low is None or high is None else np.arange(int(low.min()), int(high.max()) + 1)

    def node_mean(self) -> Node:
        """(low + high) / 2."""
        return ops.mul(0.5, ops.add(self.params["low"], self.params["high"]))

    def unit_covariance(self) -> Node:
        """((high - low + 1)^2 - 1) / 12."""
        width = ops.sub(self.params["high"], self.params["low"])
        return ops.div(ops.mul(width, ops.add(width, 2.0)), 12.0)

    def unit_entropy(self) -> Node:
        """log(high - low + 1)."""
        return self.log_size()

    def node_cdf(self, value: Node) -> Node:
        """(floor(x) - low + 1) / (high - low + 1), cut off at 0 and 1."""
        low, high = self.params["low"], self.params["high"]
        reached = ops.add(ops.sub(ops.floor(value), low), 1.0)
        share = ops.div(reached, ops.add(ops.sub(high, low), 1.0))
        return ops.minimum(ops.maximum(share, 0.0), 1.0)

    def node_mode(self) -> Node:
        """low; all values are as likely."""
        return ops.cast(self.params["low"], "int")

    def node_icdf(self, probability: Node) -> Node:
        """The least number whose cdf reaches the probability, as a float."""
        low, high = self.params["low"], self.params["high"]
        size = ops.add(ops.sub(high, low), 1.0)

        def search(p: Node) -> Node:
            guess = ops.sub(ops.sub(low, ops.floor(ops.neg(ops.mul(size, p)))), 1.0)
            return corrected_quantile(self.node_cdf, ops.minimum(ops.maximum(guess, low), high), p, high)

        return guarded_on_unit_interval(probability, search)

    def node_sf(self, value: Node) -> Node:
        """(high - floor(x)) / (high - low + 1), cut off at 0 and 1."""
        low, high = self.params["low"], self.params["high"]
        share = ops.div(ops.sub(high, ops.floor(value)), ops.add(ops.sub(high, low), 1.0))
        return ops.minimum(ops.maximum(share, 0.0), 1.0)

    def node_isf(self, probability: Node) -> Node:
        """The least number above which the mass is at most the probability, as a float."""
        low, high = self.params["low"], self.params["high"]
        size = ops.add(ops.sub(high, low), 1.0)

        def search(q: Node) -> Node:
            guess = ops.sub(high, ops.floor(ops.mul(size, q)))
            return corrected_upper_quantile(self.node_sf, ops.minimum(ops.maximum(guess, low), high), q, low)

        return guarded_on_unit_interval(probability, search)
