"""What discrete laws share: log-masses of counts, tables of a finite range, quantiles by search."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ppl.distributions.base import Distribution, is_own_sample
from ppl.distributions.bounds import bounds_of
from ppl.distributions.constraints import constant_value
from ppl.distributions.formulas import guarded_on_unit_interval, times_log_prob
from ppl.distributions.intervals import Interval
from ppl.distributions.support import Support
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node

Cdf = Callable[[Node], Node]


def cdf_reaches(cdf: Cdf, k: Node, probability: Node) -> Node:
    """Whether the cdf has reached the probability at k, and is positive there."""
    reached = cdf(k)
    return ops.logical_and(ops.less(0.0, reached), ops.less_equal(probability, reached))


def corrected_quantile(cdf: Cdf, k: Node, probability: Node, high: Node | float = math.inf) -> Node:
    """A quantile from a guess that rounding may have moved by one; at most `high`."""
    short = ops.logical_not(cdf_reaches(cdf, k, probability))
    up = ops.where(ops.logical_and(short, ops.less(k, high)), ops.add(k, 1.0), k)
    before = ops.sub(k, 1.0)
    return ops.where(cdf_reaches(cdf, before, probability), before, up)


def tabulated_icdf(cdf: Cdf, mass: Node, probability: Node) -> Node:
    """The quantile among 0, …, n - 1, by bisection on the cdf; at most the last value of positive mass.

    Parameters
    ----------
    cdf : the cdf of a float node.
    mass : the masses along the last dimension, n of them.
    probability : of the event's shape.
    """
    count = mass.type.shape[-1]
    positive = ops.where(ops.less(0.0, mass), np.arange(float(count)), 0.0)

    def search(p: Node) -> Node:
        high, p = ops.broadcast(ops.reduce("amax", positive, -1), p)
        low = ops.sub(ops.mul(high, 0.0), 1.0)
        for _ in range(count.bit_length()):
            middle = ops.floor(ops.mul(0.5, ops.add(low, high)))
            reached = cdf_reaches(cdf, middle, p)
            low, high = ops.where(reached, low, middle), ops.where(reached, middle, high)
        return high

    return guarded_on_unit_interval(probability, search)


def corrected_upper_quantile(sf: Cdf, k: Node, probability: Node, low: Node | float = 0.0) -> Node:
    """The least count, from `low` on, at which `sf` (or its logarithm) is at most `probability`; the guess `k` may be
    off by one.
    """
    short = ops.less(probability, sf(k))
    up = ops.where(ops.logical_and(short, ops.less(k, math.inf)), ops.add(k, 1.0), k)
    before = ops.sub(k, 1.0)
    down = ops.logical_and(ops.less_equal(low, before), ops.less_equal(sf(before), probability))
    return ops.where(down, before, up)


def tabulated_isf(sf: Cdf, mass: Node, probability: Node) -> Node:
    """The least of 0, …, n - 1 above which the mass is at most a probability, by bisection.

    Parameters as those of `tabulated_icdf`.
    """
    count = mass.type.shape[-1]

    def search(q: Node) -> Node:
        high, q = ops.broadcast(ops.mul(0.0, ops.reduce("amax", mass, -1)), q)
        high, low = ops.add(high, count - 1.0), ops.sub(high, 1.0)
        for _ in range(count.bit_length()):
            middle = ops.floor(ops.mul(0.5, ops.add(low, high)))
            reached = ops.less_equal(sf(middle), q)
            low, high = ops.where(reached, low, middle), ops.where(reached, middle, high)
        return high

    return guarded_on_unit_interval(probability, search)


MOST_TABULATED_COUNTS = 4096


def guarded_count(dist: Distribution, value: Node, formula: Callable[[Node], Node], most: Node | None = None) -> Node:
    """`formula` of whole numbers from 0 to `most`; -inf for other values, of which the formula sees 0."""
    k = ops.cast(value, "float")
    if is_own_sample(dist, value):
        return formula(k)
    inside = ops.logical_and(ops.less_equal(0.0, k), ops.equal(ops.floor(k), k))
    inside = inside if most is None else ops.logical_and(inside, ops.less_equal(k, most))
    return ops.where(inside, formula(ops.where(inside, k, 0.0)), -math.inf)


def poisson_log_mass(k: Node, rate: Node) -> Node:
    """The log-mass of a Poisson count; of a rate exp(x) by x, whose derivative k - exp(x) needs no division."""
    return ops.log_poisson_log_rate(k, rate.args[0]) if rate.op == "exp" else ops.log_poisson(k, rate)


def count_tail(value: Node, above: Callable[[Node], Node], below: float) -> Node:
    """A tail of a law of counts at any number x: ``above(floor(x) + 1)``, and `below` where x is less than 0."""
    k = ops.floor(ops.cast(value, "float"))
    count = ops.less_equal(0.0, k)
    return ops.where(count, above(ops.add(ops.where(count, k, 0.0), 1.0)), below)


def largest_total(total: Node) -> int | None:
    """The largest entry of a constant number of trials; None where it is symbolic."""
    value = constant_value(total)
    return None if value is None or not value.size else int(value.max())


class FiniteCount(Distribution):
    """Base of counts from 0 to a `total_count`; entropy, cdf, icdf and mode use a table of that constant range.

    A range that differs from unit to unit is tabulated up to the largest; values beyond a unit's own have no mass.
    """

    discrete = True
    dtype = "int"
    moving = frozenset({"total_count"})

    @property
    def support(self) -> Support:
        """{0, …, total_count}."""
        return Support.INTEGER

    @property
    def bounds(self) -> Interval:
        """From 0 to the largest total_count."""
        return Interval(0.0, bounds_of(self.params["total_count"]).hi, False, False)

    def unit_support(self) -> np.ndarray | None:
        """0 to total_count."""
        most = largest_total(self.params["total_count"])
        return None if most is None else np.arange(most + 1)

    def table(self) -> tuple[Node, np.ndarray]:
        """Log-masses along a new last dimension, and the counts they are of."""
        counts = self.unit_support()
        if counts is None or len(counts) > MOST_TABULATED_COUNTS:
            raise ModelError(
                f"{type(self).__name__}: its entropy, cdf, icdf and mode need a table of the support, for which "
                f"total_count must be a constant below {MOST_TABULATED_COUNTS}"
            )
        shape = (*self.event_shape, len(counts))
        expanded = (ops.expand(ops.reshape(p, (*self.event_shape, 1)), (), shape) for p in self.params.values())
        return self.with_params(tuple(expanded)).unit_log_prob(ops.expand(ops.const(counts), (), shape)), counts

    def unit_entropy(self) -> Node:
        """Minus the sum of p log p over the support."""
        log_mass, _ = self.table()
        return ops.neg(ops.reduce_sum(times_log_prob(ops.exp(log_mass), log_mass), -1))

    def node_cdf(self, value: Node) -> Node:
        """The sum of the masses up to `value`."""
        log_mass, counts = self.table()
        rows = ops.cast(ops.reshape(value, (*value.type.shape, 1)), "float")
        reached = ops.less_equal(counts.astype(float), rows)
        return ops.minimum(ops.reduce_sum(ops.where(reached, ops.exp(log_mass), 0.0), -1), 1.0)

    def node_mode(self) -> Node:
        """The count of largest mass, of several the first."""
        log_mass, _ = self.table()
        return ops.argmax(log_mass)

    def node_icdf(self, probability: Node) -> Node:
        """The least count whose cdf reaches the probability, as a float."""
        log_mass, _ = self.table()
        return tabulated_icdf(self.node_cdf, ops.exp(log_mass), probability)

    def node_sf(self, value: Node) -> Node:
        """The sum of the masses above `value`."""
        log_mass, counts = self.table()
        rows = ops.cast(ops.reshape(value, (*value.type.shape, 1)), "float")
        above = ops.less(rows, counts.astype(float))
        return ops.minimum(ops.reduce_sum(ops.where(above, ops.exp(log_mass), 0.0), -1), 1.0)

    def node_isf(self, probability: Node) -> Node:
        """The least count above which the mass is at most the probability, as a float."""
        log_mass, _ = self.table()
        return tabulated_isf(self.node_sf, ops.exp(log_mass), probability)
