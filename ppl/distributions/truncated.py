"""Truncated distributions: a law of the line given that it lies between two bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ppl.distributions import intervals as iv
from ppl.distributions.base import Distribution
from ppl.distributions.bounds import bounds_of
from ppl.distributions.checks import constant_value
from ppl.distributions.combinator import Combinator, first_bad, has
from ppl.distributions.conditions import Condition, ordered
from ppl.distributions.guards import contains, flat_where_dead, owns
from ppl.distributions.intervals import CLOSED_UNIT, Interval
from ppl.distributions.support import Support
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node


class Truncated(Combinator):
    """Truncated(base, low, high): the law of `base` given low <= x <= high.

    log p(x) = log p_base(x) - log(F(high) - F(low)), of counts with F(low - 1) for F(low). The sample is
    F^-1(F(low) + u (F(high) - F(low))), cut to the bounds against rounding, and its path is that formula's. In the
    upper tail, where F rounds to 1, it is as exact as F: `TruncatedNormal` works from the nearer tail.

    Parameters
    ----------
    base : a distribution of scalar units with `cdf` and `icdf`.
    low, high : real or infinite, low < high (of counts whole numbers, low <= high); both move the support.

    Raises
    ------
    ModelError
        No cdf or icdf, vector units, angles, a mask, or constant bounds in the wrong order.
    """

    def __init__(self, base: Distribution, low: Any = -math.inf, high: Any = math.inf):
        if not isinstance(base, Distribution) or base.unit_rank or base.angular:
            raise ModelError(f"Truncated: the base must be a distribution of scalars on the line, not {base!r}")
        for what in ("cdf", "icdf"):
            if not has(base, f"node_{what}"):
                raise ModelError(f"Truncated: {type(base).__name__} has no {what}")
        ends = {"low": ops.cast(ops.as_node(low), "float"), "high": ops.cast(ops.as_node(high), "float")}
        try:
            shape = np.broadcast_shapes(base.event_shape, *(n.type.shape for n in ends.values()))
        except ValueError:
            raise ShapeError(f"Truncated: bounds do not fit an event of {base.event_shape}") from None
        own = {k: ops.expand(n, (), shape) for k, n in ends.items()}
        _check_order(own["low"], own["high"], base.discrete)
        self.gather(own, {"base": base.expand(shape)})
        moving = {k for k, n in own.items() if not _infinite(n)}
        self.take_traits(
            discrete=base.discrete, dtype=base.dtype, reparameterized=base.reparameterized and not base.implicit,
            no_path=f"{type(base).__name__} has an implicit one" if base.implicit else base.no_path,
            moving=frozenset(moving | {f"base.{k}" for k in base.moving}),
        )  # fmt: skip

    def conditions(self) -> Iterator[Condition]:
        """Those of the base, and the order of the bounds."""
        yield from super().conditions()
        yield ordered(self.params["low"], self.params["high"], equal=self.discrete)

    @property
    def base(self) -> Distribution:
        """The law before truncation."""
        found: Distribution = self.part("base")
        return found

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.params["low"].type.shape

    @property
    def support(self) -> Support:
        """That of the base within infinite bounds, else an interval between them; counts stay counts."""
        whole = _infinite(self.params["low"]) and _infinite(self.params["high"])
        return self.base.support if whole or self.discrete else Support.INTERVAL

    @property
    def bounds(self) -> Interval:
        """The base's, between the bounds."""
        low, high = bounds_of(self.params["low"]), bounds_of(self.params["high"])
        first = Interval(low.lo, low.lo, math.isinf(low.lo), math.isinf(low.lo))
        last = Interval(high.hi, high.hi, math.isinf(high.hi), math.isinf(high.hi))
        return iv.minimum(iv.maximum(self.base.bounds, first), last)

    def below(self) -> Node:
        """Probability of what lies below the bounds."""
        low = self.params["low"]
        if _infinite(low):
            return ops.const(0.0)
        return self.base.node_cdf(ops.sub(low, 1.0) if self.discrete else low)

    def _reached(self) -> Node:
        return ops.const(1.0) if _infinite(self.params["high"]) else self.base.node_cdf(self.params["high"])

    def unit_log_prob(self, value: Node) -> Node:
        """log p_base(x) less the log of the probability between the bounds; -inf outside of them."""
        mass = ops.log(ops.sub(self._reached(), self.below()))
        if owns(self, value):
            return ops.sub(self.base.unit_log_prob(value), mass)
        x = ops.cast(value, "float")
        inside = ops.logical_and(ops.less_equal(self.params["low"], x), ops.less_equal(x, self.params["high"]))
        return ops.where(inside, flat_where_dead(ops.sub(self.base.unit_log_prob(value), mass)), -math.inf)

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """One uniform for each entry."""
        return (self.event_shape,)

    def draw(self, *u: Node) -> Node:
        """The base's quantile at F(low) + u (F(high) - F(low)), cut to the bounds."""
        return self._quantile(u[0])

    def _quantile(self, probability: Node) -> Node:
        below = self.below()
        x = self.base.node_icdf(ops.add(below, ops.mul(probability, ops.sub(self._reached(), below))))
        low, high = (
            n if x.type.dtype == "float" else ops.cast(n, x.type.dtype)
            for n in (self.params["low"], self.params["high"])
        )
        x = x if _infinite(self.params["low"]) else ops.maximum(x, low)
        return x if _infinite(self.params["high"]) else ops.minimum(x, high)

    def node_icdf(self, probability: Node) -> Node:
        """The base's quantile at F(low) + p (F(high) - F(low)); NaN outside [0, 1]."""
        if bounds_of(probability).within(CLOSED_UNIT):
            return self._quantile(probability)
        inside = contains(CLOSED_UNIT, probability)
        return ops.where(inside, self._quantile(ops.where(inside, probability, 0.5)), math.nan)

    def node_cdf(self, value: Node) -> Node:
        """(F(x) - F(low)) / (F(high) - F(low)), cut to 0 and 1."""
        below = self.below()
        share = ops.div(ops.sub(self.base.node_cdf(value), below), ops.sub(self._reached(), below))
        return ops.minimum(ops.maximum(share, 0.0), 1.0)


def _infinite(bound: Node) -> bool:
    """Whether a bound is a constant that is infinite everywhere."""
    value = constant_value(bound)
    return value is not None and bool(np.isinf(value).all())


def _check_order(low: Node, high: Node, discrete: bool) -> None:
    """Raise where constant bounds are NaN, not whole for counts, or leave nothing between them."""
    first, last = constant_value(low), constant_value(high)
    for name, value in (("low", first), ("high", last)):
        if value is not None and np.isnan(value).any():
            raise ModelError(f"Truncated: {name} is NaN")
        if discrete and value is not None and (value[np.isfinite(value)] % 1).any():
            raise ModelError(f"Truncated: {name} of counts must be whole")
    if first is None or last is None:
        return
    index = first_bad(
        np.broadcast_arrays(first, last)[0] > last if discrete else np.broadcast_arrays(first, last)[0] >= last
    )
    if index is not None:
        raise ModelError(f"Truncated: low must be less than high, got {np.broadcast_to(first, low.type.shape)[index]} "
                         f"and {np.broadcast_to(last, low.type.shape)[index]}")  # fmt: skip
