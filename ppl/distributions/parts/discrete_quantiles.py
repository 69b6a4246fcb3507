"""Quantile functions of discrete distributions: the least value whose cdf reaches a probability."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ppl.distributions.domain.guards import contains
from ppl.distributions.domain.intervals import CLOSED_UNIT
from ppl.ir import ops
from ppl.ir.node import Node

Cdf = Callable[[Node], Node]


def within_unit(probability: Node, formula: Callable[[Node], Node]) -> Node:
    """`formula` of probabilities, NaN where they leave [0, 1]."""
    inside = contains(CLOSED_UNIT, probability)
    return ops.where(inside, formula(ops.where(inside, probability, 0.5)), math.nan)


def enough(cdf: Cdf, k: Node, probability: Node) -> Node:
    """Whether the cdf has reached the probability at k, and is positive there."""
    reached = cdf(k)
    return ops.logical_and(ops.less(0.0, reached), ops.less_equal(probability, reached))


def settled(cdf: Cdf, k: Node, probability: Node, high: Node | float = math.inf) -> Node:
    """A quantile from a guess that rounding may have moved by one; at most `high`."""
    short = ops.logical_not(enough(cdf, k, probability))
    up = ops.where(ops.logical_and(short, ops.less(k, high)), ops.add(k, 1.0), k)
    before = ops.sub(k, 1.0)
    return ops.where(enough(cdf, before, probability), before, up)


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
            reached = enough(cdf, middle, p)
            low, high = ops.where(reached, low, middle), ops.where(reached, middle, high)
        return high

    return within_unit(probability, search)


def settled_above(sf: Cdf, k: Node, probability: Node, low: Node | float = 0.0) -> Node:
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

    return within_unit(probability, search)
