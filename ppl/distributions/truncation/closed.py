"""Truncated laws that are known: of normal, uniform and finite bases, and of what is truncated already."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ppl.distributions.base import Distribution
from ppl.distributions.bernoulli import Bernoulli
from ppl.distributions.categorical import Categorical
from ppl.distributions.discrete_uniform import DiscreteUniform
from ppl.distributions.domain.checks import constant_value
from ppl.distributions.half_normal import HalfNormal
from ppl.distributions.normal import Normal
from ppl.distributions.parts.counts import FiniteCount
from ppl.distributions.truncated_normal import TruncatedNormal
from ppl.distributions.truncation.tails import safe_log
from ppl.distributions.uniform import Uniform
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.records import dataclass

MOST = 64
"""Counts between constant bounds up to which their masses are summed."""


@dataclass(frozen=True)
class Closed:
    """A truncated law that is another distribution; `sure` is whether it exists whatever the bounds."""

    law: Distribution
    sure: bool

    def has_mass(self) -> Node | None:
        """Whether what is left of the base's support has its ends in order."""
        if self.sure:
            return None
        compare = ops.less_equal if self.law.discrete else ops.less
        return compare(self.law.params["low"], self.law.params["high"])

    def log_density(self, value: Node) -> Node:
        """Its own, between the bounds."""
        if isinstance(self.law, TruncatedNormal):
            return self.law.inside(value, self.law.ends())
        return ops.broadcast(ops.neg(self.law.unit_entropy()), ops.cast(value, "float"))[0]

    def quantile(self, u: Node) -> Node:
        """Its own."""
        return self.law.node_icdf(u)

    def upper_quantile(self, q: Node) -> Node:
        """Its own."""
        return self.law.node_isf(q)

    def mean(self) -> Node:
        """Its own."""
        return self.law.node_mean()

    def mode(self) -> Node:
        """Its own."""
        return self.law.node_mode()

    def log_cdf(self, value: Node) -> Node:
        """Its own."""
        return self.law.node_log_cdf(value)

    def log_sf(self, value: Node) -> Node:
        """Its own."""
        return self.law.node_log_sf(value)


@dataclass(frozen=True)
class Table:
    """A law on the whole numbers from `start` on, by their log-masses between the bounds along a last dimension."""

    base: Distribution
    log_mass: Node
    start: float

    @property
    def law(self) -> Distribution:
        """The law of the position in the table."""
        return Categorical(logits=self.log_mass)

    def has_mass(self) -> Node | None:
        """Whether any mass is left."""
        return ops.less(-math.inf, ops.reduce("amax", self.log_mass, -1))

    def log_density(self, value: Node) -> Node:
        """log p_base(x) - the log of the sum of the masses."""
        return ops.sub(self.base.unit_log_prob(value), ops.logsumexp(self.log_mass, -1))

    def quantile(self, u: Node) -> Node:
        """The number at which the share is reached."""
        return self._number(self.law.draw(u))

    def upper_quantile(self, q: Node) -> Node:
        """The number above which the share is left."""
        return self._number(self.law.node_isf(q))

    def _number(self, position: Node) -> Node:
        return ops.add(ops.cast(position, "float"), self.start)

    def log_cdf(self, value: Node) -> Node:
        """The log of the sum of the shares up to the value."""
        return safe_log(self.law.node_cdf(ops.sub(ops.cast(value, "float"), self.start)))

    def log_sf(self, value: Node) -> Node:
        """The log of the sum of the shares above the value."""
        return safe_log(self.law.node_sf(ops.sub(ops.cast(value, "float"), self.start)))

    def mean(self) -> Node:
        """The mean."""
        return ops.add(self.law.node_mean(), self.start)

    def mode(self) -> Node:
        """The number of largest mass."""
        return ops.add(self.law.node_mode(), int(self.start))


def _normal(base: Distribution, low: Node, high: Node) -> Distribution:
    return TruncatedNormal(base.params["loc"], base.params["scale"], low, high)


def _half_normal(base: Distribution, low: Node, high: Node) -> Distribution:
    return TruncatedNormal(0.0, base.params["scale"], ops.maximum(low, 0.0), high)


def _nested(base: Distribution, low: Node, high: Node) -> Distribution:
    loc, scale, first, last = base.params.values()
    return TruncatedNormal(loc, scale, ops.maximum(first, low), ops.minimum(last, high))


def _uniform(base: Distribution, low: Node, high: Node) -> Distribution:
    return base.with_params((ops.maximum(base.params["low"], low), ops.minimum(base.params["high"], high)))


LAWS: dict[type[Distribution], Callable[[Distribution, Node, Node], Distribution]] = {
    Normal: _normal,
    HalfNormal: _half_normal,
    TruncatedNormal: _nested,
    Uniform: _uniform,
    DiscreteUniform: _uniform,
}


def table_of(base: Distribution, low: Node, high: Node) -> Table | None:
    """The table of a finite base, or of counts between constant bounds that are few; None where there is none."""
    if not base.discrete:
        return None
    first, last = constant_value(low), constant_value(high)
    listed: np.ndarray | None = base.unit_support()
    if listed is None and first is not None and last is not None:
        start, end = max(float(first.min()), base.bounds.lo), float(last.max())
        if end - start < MOST:
            listed = np.arange(start, end + 1)
    if listed is None or not len(listed):
        return None
    numbers = listed.astype(float)
    shape = (*base.event_shape, len(numbers))
    expanded = ops.expand(ops.const(numbers), (), shape)
    if isinstance(base, FiniteCount):
        log_mass = base.table()[0]
    elif isinstance(base, Categorical):
        log_mass = base.log_probs()
    elif isinstance(base, Bernoulli):
        log_mass = _expanded(base, shape).unit_log_prob(ops.const(np.broadcast_to(numbers, shape)))
    else:
        log_mass = _expanded(base, shape).unit_log_prob(expanded)
    rows = [ops.expand(ops.reshape(n, (*n.type.shape, 1)), (), shape) for n in (low, high)]
    inside = ops.logical_and(ops.less_equal(rows[0], expanded), ops.less_equal(expanded, rows[1]))
    return Table(base, ops.where(inside, log_mass, -math.inf), float(numbers[0]))


def _expanded(base: Distribution, shape: tuple[int, ...]) -> Distribution:
    """The base of units along a new last dimension that all have the same law."""
    expanded = (ops.expand(ops.reshape(p, (*p.type.shape, 1)), (), shape) for p in base.params.values())
    return base.with_params(tuple(expanded))
