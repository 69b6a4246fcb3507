"""The normal distribution truncated to an interval."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ppl.distributions.base import Distribution, is_own_sample
from ppl.distributions.bounds import bounds_of
from ppl.distributions.constraints import Condition, constant_value, ordering_condition, require_ordered
from ppl.distributions.formulas import frozen, standardize
from ppl.distributions.intervals import Interval
from ppl.distributions.support import Support
from ppl.distributions.tails import LogTails
from ppl.ir import ops
from ppl.ir.node import Node


class StandardEnds(NamedTuple):
    """The interval in standard units.

    a, b : its ends, perhaps infinite.
    above, below : whether it lies above loc, below loc.
    nearest : its point nearest to 0, called e.
    anchor : that point before standardization.
    """

    a: Node
    b: Node
    above: Node
    below: Node
    nearest: Node
    anchor: Node


class TruncatedNormal(LogTails, Distribution):
    """TruncatedNormal(loc, scale, low, high): Normal(loc, scale) conditional on low <= x <= high.

    Everything is measured from e, the point of the interval nearest to loc, where the density is largest: the mass of
    the interval relative to that density, and quantiles as distances from it. So densities and samples keep their
    accuracy when the interval lies far out in a tail, or is narrow. The path is the inverse cdf, with derivatives
    in closed form in all parameters.

    Parameters
    ----------
    loc : finite.
    scale : positive.
    low, high : low < high, perhaps infinite. They move the support.
    """

    reparameterized = True
    draws_quantiles = True
    moving = frozenset({"low", "high"})
    constraints: ClassVar[dict[str, str]] = {"loc": "real", "scale": "positive", "low": "end", "high": "end"}

    def __init__(self, loc: Any = 0.0, scale: Any = 1.0, low: Any = -math.inf, high: Any = math.inf):
        super().__init__(loc=loc, scale=scale, low=low, high=high)
        require_ordered("TruncatedNormal", self.params["low"], self.params["high"], self.event_shape)

    def conditions(self) -> Iterator[Condition]:
        """Those of every parameter, and low < high."""
        yield from super().conditions()
        yield ordering_condition(self.params["low"], self.params["high"])

    @property
    def support(self) -> Support:
        """The real line without ends, else an interval between the parameters."""
        inside = self.bounds
        infinite = constant_value(self.params["low"]) is not None and constant_value(self.params["high"]) is not None
        return Support.REAL if infinite and (inside.lo, inside.hi) == (-math.inf, math.inf) else Support.INTERVAL

    @property
    def bounds(self) -> Interval:
        """From the smallest low to the largest high, as far as they are known."""
        lo, hi = bounds_of(self.params["low"]).lo, bounds_of(self.params["high"]).hi
        return Interval(lo, hi, math.isinf(lo), math.isinf(hi))

    def ends(self) -> StandardEnds:
        """The interval in standard units. An infinite end stays one, and passes no derivative."""
        loc, scale, low, high = self.params.values()
        a, b = (_standard_end(end, loc, scale) for end in (low, high))
        above, below = ops.less(0.0, frozen(a)), ops.less(frozen(b), 0.0)
        nearest = ops.where(above, a, ops.where(below, b, 0.0))
        anchor = ops.where(above, low, ops.where(below, high, loc))
        return StandardEnds(a, b, above, below, nearest, anchor)

    def unit_log_prob(self, value: Node) -> Node:
        """-(z - e) (z + e) / 2 - log scale - log mass, z = (x - loc) / scale."""
        _, _, low, high = self.params.values()
        known = Interval(bounds_of(low).hi, bounds_of(high).lo, False, False)
        sure = is_own_sample(self, value) or bounds_of(value).within(known)
        inside = ops.logical_and(ops.less_equal(low, value), ops.less_equal(value, high))
        ends = self.ends()
        x = value if sure else ops.where(inside, value, ends.anchor)
        density = self.inside(x, ends)
        return density if sure else ops.where(inside, density, -math.inf)

    def inside(self, x: Node, ends: StandardEnds) -> Node:
        """The log-density between the ends."""
        log_mass = ops.add(ops.log(self.params["scale"]), ops.log_mass_between(ends.a, ends.b))
        return ops.sub(ops.neg(self.exponent_gap(x, ends)), log_mass)

    def exponent_gap(self, x: Node, ends: StandardEnds) -> Node:
        """(z^2 - e^2) / 2 from (x - anchor) / scale = z - e."""
        step = standardize(x, ends.anchor, self.params["scale"])
        return ops.mul(step, ops.add(ends.nearest, ops.mul(0.5, step)))

    def draw(self, *u: Node) -> Node:
        """anchor + scale * (quantile - e), held between the ends against rounding."""
        ends = self.ends()
        step = ops.quantile_between(u[0], ends.a, ends.b)
        x = ops.add(ends.anchor, ops.mul(self.params["scale"], step))
        low, high = self.params["low"], self.params["high"]
        x = ops.where(ops.less(frozen(x), frozen(low)), low, x)
        return ops.where(ops.less(frozen(high), frozen(x)), high, x)

    def densities(self, ends: StandardEnds) -> tuple[Node, Node, Node]:
        """The densities at both ends in standard units, and the log mass relative to the largest density."""
        log_mass = ops.log_mass_between(ends.a, ends.b)
        at_a, at_b = (_end_density(end, ends.nearest, log_mass) for end in (ends.a, ends.b))
        return at_a, at_b, log_mass

    def node_mean(self) -> Node:
        """anchor + scale * (p(a) - p(b) - e)."""
        ends = self.ends()
        at_a, at_b, _ = self.densities(ends)
        return ops.add(ends.anchor, ops.mul(self.params["scale"], ops.sub(ops.sub(at_a, ends.nearest), at_b)))

    def node_mode(self) -> Node:
        """The point of [low, high] nearest to loc."""
        return self.ends().anchor

    def unit_covariance(self) -> Node:
        """scale^2 (1 + a p(a) - b p(b) - (p(a) - p(b))^2), about e to cancel less far out."""
        ends = self.ends()
        at_a, at_b, _ = self.densities(ends)
        mean = ops.sub(at_a, at_b)
        spread = ops.add(
            ops.mul(at_a, ops.sub(_zero_if_infinite(ends.a), mean)),
            ops.mul(at_b, ops.sub(mean, _zero_if_infinite(ends.b))),
        )
        return ops.mul(ops.add(1.0, spread), ops.mul(self.params["scale"], self.params["scale"]))

    def unit_entropy(self) -> Node:
        """log scale + log mass + (1 + a p(a) - b p(b) - e^2) / 2."""
        ends = self.ends()
        at_a, at_b, log_mass = self.densities(ends)
        square = ops.mul(ends.nearest, ends.nearest)
        moved = ops.sub(
            ops.sub(ops.mul(at_a, _zero_if_infinite(ends.a)), square), ops.mul(at_b, _zero_if_infinite(ends.b))
        )
        return ops.add(ops.add(ops.log(self.params["scale"]), log_mass), ops.mul(0.5, ops.add(1.0, moved)))

    def node_log_cdf(self, value: Node) -> Node:
        """The log of the mass from low to x over that from low to high."""
        finite = ops.less(ops.absolute(frozen(value)), math.inf)
        inside = self._log_mass_below(_zero_if_infinite(value))
        return ops.where(finite, inside, ops.where(ops.less(frozen(value), 0.0), -math.inf, 0.0))

    def _log_mass_below(self, value: Node) -> Node:
        ends = self.ends()
        _, _, low, high = self.params.values()
        x = ops.minimum(ops.maximum(value, low), high)
        z = standardize(x, self.params["loc"], self.params["scale"])
        z = ops.where(ends.above, ops.add(ends.a, standardize(x, low, self.params["scale"])), z)
        before = ops.where(
            ends.above, ops.const(0.0), ops.where(ops.less(frozen(z), 0.0), self.exponent_gap(x, ends), 0.0)
        )
        log_mass = ops.sub(ops.log_mass_between(ends.a, z), ops.log_mass_between(ends.a, ends.b))
        return ops.sub(log_mass, before)

    def node_cdf(self, value: Node) -> Node:
        """exp of its logarithm."""
        return ops.exp(self.node_log_cdf(value))

    def _mirrored(self) -> TruncatedNormal:
        """The law of -x."""
        loc, scale, low, high = self.params.values()
        return TruncatedNormal(ops.neg(loc), scale, ops.neg(high), ops.neg(low))

    def node_log_sf(self, value: Node) -> Node:
        """The log of the mass from x to high over that from low to high."""
        return self._mirrored().node_log_cdf(ops.neg(value))

    def node_isf(self, probability: Node) -> Node:
        """The upper quantile, that of -x."""
        return ops.neg(self._mirrored().node_icdf(probability))

    def node_log_isf(self, log_q: Node) -> Node:
        """The upper quantile at a logarithm."""
        return self.node_isf(ops.exp(log_q))


def _standard_end(end: Node, loc: Node, scale: Node) -> Node:
    """(end - loc) / scale; an infinite end as it is, without a derivative."""
    constant = constant_value(end)
    if constant is not None and np.isfinite(constant).all():
        return standardize(end, loc, scale)
    finite = ops.less(ops.absolute(frozen(end)), math.inf)
    return ops.where(finite, standardize(ops.where(finite, end, 0.0), loc, scale), end)


def _zero_if_infinite(end: Node) -> Node:
    """`end`, 0 where it is infinite."""
    return ops.where(ops.less(ops.absolute(frozen(end)), math.inf), end, 0.0)


def _end_density(end: Node, nearest: Node, log_mass: Node) -> Node:
    """exp((e^2 - end^2) / 2) over the mass relative to the largest density; 0 at infinity."""
    inside = _zero_if_infinite(end)
    exponent_gap = ops.mul(0.5, ops.mul(ops.sub(inside, nearest), ops.add(inside, nearest)))
    density = ops.exp(ops.neg(ops.add(exponent_gap, log_mass)))
    return ops.where(ops.less(ops.absolute(frozen(end)), math.inf), density, 0.0)
