"""Rows on the simplex: numbers that are not negative and sum to 1, up to rounding."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from ppl.distributions.domain.checks import ROW_TOLERANCE
from ppl.distributions.domain.guards import owns
from ppl.distributions.domain.support import Support, support_of
from ppl.ir import ops
from ppl.ir.node import Node

if TYPE_CHECKING:
    from ppl.distributions.base import Distribution


def on_simplex(value: Node, inside: bool) -> Node:
    """Whether each row is on the simplex, shape (…, 1); its edges, where a number is 0, are left out if `inside`."""
    low = ops.neg(ops.reduce("amax", ops.neg(value), -1, keepdims=True))
    miss = ops.absolute(ops.sub(ops.reduce_sum(value, -1, keepdims=True), 1.0))
    return ops.logical_and((ops.less if inside else ops.less_equal)(0.0, low), ops.less_equal(miss, ROW_TOLERANCE))


def guarded_rows(dist: Distribution, value: Node, formula: Callable[[Node], Node]) -> Node:
    """`formula(value)`, a number for each row; -inf for rows that are not inside the simplex, unless all are."""
    if owns(dist, value) or support_of(value) is Support.SIMPLEX:
        return formula(value)
    inside = on_simplex(value, True)
    density = formula(ops.where(inside, value, 1.0 / value.type.shape[-1]))
    return ops.where(ops.reshape(inside, density.type.shape), density, -math.inf)
