"""The guard at the edge of a support: log-density -inf outside, left out where no path can cross the edge."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.intervals import Interval
from ppl.distributions.parts.formulas import frozen
from ppl.ir import ops
from ppl.ir.node import Node, make

if TYPE_CHECKING:
    from ppl.distributions.base import Distribution


def owns(dist: Distribution, value: Node) -> bool:
    """Whether `value` is a random node's sample from this very distribution, or was placed inside its support."""
    if value.op != "sample":
        return False
    law = value.attrs["site"].dist
    return dist.same_law(getattr(law, "law", law))


def known_inside(value: Node, interval: Interval) -> Node:
    """`value`, which is known to lie in `interval` for a reason that `bounds_of` cannot read off its expression."""
    return make("mark", value, name=interval)


def guarded(dist: Distribution, value: Node, closure: Interval, safe: float, formula: Callable[[Node], Node]) -> Node:
    """`formula(value)` where every value lies in `closure` for sure; else with -inf outside of it.

    The guard is a jump, through which no pathwise gradient is allowed. Outside, the formula sees the number
    `safe`, so that it makes no NaN.
    """
    if owns(dist, value) or bounds_of(value).within(closure):
        return formula(value)
    inside = contains(closure, value)
    return ops.where(inside, formula(ops.where(inside, value, safe)), -math.inf)


def flat_where_dead(density: Node) -> Node:
    """`density`, a sum of which one term may be -inf, without the derivatives of the others where it is."""
    return ops.where(ops.equal(frozen(density), -math.inf), -math.inf, density)


def contains(closure: Interval, value: Node) -> Node:
    """Whether each entry of `value` lies in an interval with a finite lower end."""
    above = ops.less(closure.lo, value) if closure.lo_open else ops.less_equal(closure.lo, value)
    if math.isinf(closure.hi):
        return above
    below = ops.less(value, closure.hi) if closure.hi_open else ops.less_equal(value, closure.hi)
    return ops.logical_and(above, below)
