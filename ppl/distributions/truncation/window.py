"""The formulas of a truncated law: which form a base and its bounds have, and what lies between two points of a base.

A base that has a closed truncated law (`closed.py`) or a table of its masses needs no tail. For all others the
probability between two points is a difference of the tail in which it is smaller, as a logarithm; where the points are
so close that this cancels, it is the integral of the density by a rule of five nodes.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from ppl.distributions.base import Distribution
from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.checks import constant_value
from ppl.distributions.domain.intervals import REAL
from ppl.distributions.parts.combinator import has
from ppl.distributions.parts.formulas import frozen
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.records import dataclass

NARROW = 0.05
"""A window whose share of its tail is below this is integrated."""
EARLIEST = 2.0**26
"""One over a uniform number that is smaller than almost all."""
LEAST = 1e-3
"""The share of the lower tail that a window needs where the base has no survival function."""
NODES, WEIGHTS = (v.tolist() for v in np.polynomial.legendre.leggauss(5))


class Form(Protocol):
    """The formulas of a truncated law inside its bounds."""

    def has_mass(self) -> Node | None:
        """Truth values per unit: whether the window's probability can be held; None where it always can."""

    def log_density(self, value: Node) -> Node:
        """The log-density of a value between the bounds."""

    def quantile(self, u: Node) -> Node:
        """The value with a share u of the window's probability below it."""

    def upper_quantile(self, q: Node) -> Node:
        """The value with a share q of the window's probability above it."""

    def log_cdf(self, value: Node) -> Node:
        """The log of the share of the window's probability up to a value."""

    def log_sf(self, value: Node) -> Node:
        """The log of the share of the window's probability above a value."""


@dataclass(frozen=True)
class Window:
    """A base with tails between two bounds."""

    base: Distribution
    low: Node
    high: Node

    @property
    def open_below(self) -> bool:
        """Whether nothing is cut off below."""
        return bounds_of(self.low).hi <= self.base.bounds.lo

    @property
    def open_above(self) -> bool:
        """Whether nothing is cut off above."""
        return bounds_of(self.high).lo >= self.base.bounds.hi

    @property
    def two_tails(self) -> bool:
        """Whether the base has the upper tail, too."""
        return has(self.base, "node_log_sf") and has(self.base, "node_log_isf")

    def has_mass(self) -> Node | None:
        """Always where the base has closed tails on the whole line; else where the probabilities of draws are floats.

        Those are the mass times a uniform number, hardly ever below the mass over `EARLIEST`.
        """
        if not self.two_tails:
            _, whole, gap = self._parts(self.low, self.high)
            share = ops.neg(ops.expm1(gap))
            return ops.logical_and(ops.less_equal(LEAST, share), _held(whole))
        if self.base.log_tails and self.base.bounds == REAL:
            return None
        if self.open_below and self.open_above:
            return None
        if self.base.log_tails:
            return ops.less(-math.inf, self.log_mass())
        return _held(self.log_mass())

    def before(self, point: Node) -> Node:
        """The point up to which the cdf counts what lies below `point`."""
        return ops.sub(point, 1.0) if self.base.discrete else point

    def log_mass(self) -> Node:
        """The log-probability of the window."""
        return self.log_between(self.low, self.high)

    def _parts(self, first: Node, last: Node) -> tuple[Node, Node, Node]:
        """Of the smaller tail that holds [first, last]: whether it is the upper one, its log, the log of what lies in
        it but beyond the window over it.
        """
        below = self._at("node_log_cdf", self.before(first), self.open_below and first is self.low, -math.inf)
        reached = self._at("node_log_cdf", last, self.open_above and last is self.high, 0.0)
        if not self.two_tails:
            return ops.const(False), reached, _gap(below, reached)
        above = self._at("node_log_sf", self.before(first), self.open_below and first is self.low, 0.0)
        beyond = self._at("node_log_sf", last, self.open_above and last is self.high, -math.inf)
        upper = ops.less(frozen(above), frozen(reached))
        whole = ops.where(upper, above, reached)
        return upper, whole, _gap(ops.where(upper, beyond, below), whole)

    def _at(self, formula: str, point: Node, beyond: bool, end: float) -> Node:
        """A log tail at a point; `end` where the point is infinite, or beyond the base's support."""
        if beyond:
            return ops.const(end)
        known = constant_value(point)
        if known is not None and np.isfinite(known).all():
            found: Node = getattr(self.base, formula)(point)
            return found
        finite = ops.less(ops.absolute(frozen(point)), math.inf)
        middle = getattr(self.base, formula)(ops.where(finite, point, 1.0))
        full = 0.0 if formula == "node_log_cdf" else -math.inf
        empty = -math.inf if formula == "node_log_cdf" else 0.0
        return ops.where(finite, middle, ops.where(ops.less(0.0, frozen(point)), full, empty))

    def log_between(self, first: Node, last: Node) -> Node:
        """The log-probability of first <= x <= last."""
        _, whole, gap = self._parts(first, last)
        dead = ops.less_equal(0.0, frozen(gap))
        inner = ops.log1mexp(ops.where(dead, -1.0, gap))
        found = ops.add(whole, ops.where(dead, -math.inf, inner))
        one_sided = (self.open_below and first is self.low) or (self.open_above and last is self.high)
        if self.base.discrete or one_sided:
            return found
        narrow = ops.logical_and(ops.less(-NARROW, frozen(gap)), self.base.smooth_between(first, last))
        return ops.where(narrow, self._integral(narrow, first, last), found)

    def _integral(self, narrow: Node, first: Node, last: Node) -> Node:
        """The log of the integral of the density, where `narrow`."""
        narrow = ops.logical_and(narrow, ops.less(frozen(first), frozen(last)))
        width = ops.sub(last, first)
        width = ops.where(narrow, width, 1.0)
        start = ops.where(narrow, first, 0.5)
        terms = [
            ops.add(self.base.unit_log_prob(ops.add(start, ops.mul(0.5 * (1 + t), width))), math.log(0.5 * w))
            for t, w in zip(NODES, WEIGHTS, strict=True)
        ]
        shape = terms[0].type.shape
        rows = ops.concat([ops.reshape(t, (*shape, 1)) for t in terms], len(shape))
        found = ops.add(ops.log(width), ops.logsumexp(rows, -1))
        return ops.where(narrow, found, -math.inf)

    def log_density(self, value: Node) -> Node:
        """log p_base(x) - log mass."""
        return ops.sub(self.base.unit_log_prob(value), self.log_mass())

    def quantile(self, u: Node) -> Node:
        """The base's quantile at that share of the window."""
        return self._quantile(u, ops.sub(1.0, u))

    def upper_quantile(self, q: Node) -> Node:
        """The base's quantile at that share of the window, from above."""
        return self._quantile(ops.sub(1.0, q), q)

    def _quantile(self, u: Node, rest: Node) -> Node:
        """The point with a share u of the window's probability below it and `rest` above it.

        Counted from the far side of the tail, whose log it is that the base is asked for.
        """
        upper, whole, gap = self._parts(self.low, self.high)
        if not self.two_tails:
            return self.base.node_log_icdf(ops.add(whole, _share(rest, u, gap)))
        cut = ops.add(whole, _share(ops.where(upper, u, rest), ops.where(upper, rest, u), gap))
        if self.open_above and not self.open_below:
            return self.base.node_log_isf(cut)
        if self.open_below:
            return self.base.node_log_icdf(cut)
        half = -math.log(2.0)
        above = self.base.node_log_isf(ops.where(upper, cut, half))
        return ops.where(upper, above, self.base.node_log_icdf(ops.where(upper, half, cut)))

    def log_cdf(self, value: Node) -> Node:
        """The log of what lies between low and the value over the window's."""
        x = ops.floor(ops.cast(value, "float")) if self.base.discrete else value
        inside = ops.less_equal(self.low, x)
        share = ops.sub(self.log_between(self.low, self._held(x)), self.log_mass())
        return ops.where(inside, ops.minimum(share, 0.0), -math.inf)

    def log_sf(self, value: Node) -> Node:
        """The log of what lies between the value and high over the window's."""
        x = ops.add(ops.floor(ops.cast(value, "float")), 1.0) if self.base.discrete else value
        inside = ops.less_equal(x, self.high)
        share = ops.sub(self.log_between(self._held(x), self.high), self.log_mass())
        return ops.where(inside, ops.minimum(share, 0.0), -math.inf)

    def _held(self, x: Node) -> Node:
        return ops.minimum(ops.maximum(x, self.low), self.high)


def _held(log_mass: Node) -> Node:
    """Whether a small share of the mass is a float, and so is one over it."""
    return ops.less(ops.exp(ops.sub(math.log(EARLIEST), log_mass)), math.inf)


def _gap(part: Node, whole: Node) -> Node:
    """log(part / whole), at most 0; 0, no window, where both are nothing."""
    empty = ops.equal(frozen(whole), -math.inf)
    gap = ops.sub(ops.where(empty, 0.0, part), ops.where(empty, 0.0, whole))
    return ops.where(ops.less(0.0, frozen(gap)), 0.0, gap)


def _share(v: Node, rest: Node, gap: Node) -> Node:
    """log(1 - v (1 - exp(gap))), rest = 1 - v: the share of a tail that is left where v of a window is taken away."""
    early = ops.less(frozen(v), 0.5)
    taken = ops.expm1(gap)
    near = ops.log1p(ops.mul(ops.where(early, v, 0.0), taken))
    left = ops.sub(ops.exp(gap), ops.mul(ops.where(early, 1.0, rest), taken))
    return ops.where(early, near, ops.log(left))
