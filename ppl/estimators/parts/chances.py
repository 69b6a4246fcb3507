"""Costs in states whose probability is known."""

from __future__ import annotations

import math

from ppl.ir import ops
from ppl.ir.node import Node


def counted(chance: Node, cost: Node) -> Node:
    """A cost, or a difference of costs; nothing where it is not finite in a state that cannot happen."""
    counts = ops.logical_or(ops.less(0.0, ops.stop(chance)), ops.less(ops.absolute(cost), math.inf))
    return ops.where(counts, cost, 0.0)
