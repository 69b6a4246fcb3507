"""Draws from finite weights by one uniform number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import Axis, sort_axes
from ppl.lang.time.record import base_name


def uniform(name: str, axes: Sequence[Axis], times: Sequence[Node] = ()) -> Node:
    """One uniform number for every entry of `axes`, keyed by a node's name."""
    return ops.noise(base_name(name), 0, sort_axes(axes), (), times)


def chosen(weights: Node, u: Node) -> Node:
    """A draw of an entry of the last event dimension, in proportion to `weights`; entries of weight 0 are not drawn."""
    sums, count = ops.cumsum(weights), weights.type.shape[-1]
    ends = tuple((0, n, 1) for n in sums.type.shape[:-1])
    total = ops.window(sums, (*ends, (count - 1, 1, 1)))
    at = ops.mul(total, ops.reshape(u, (*u.type.shape, 1)))
    before = ops.cast(ops.less_equal(sums, at), "int")
    last = ops.reduce("amax", ops.mul(ops.cast(ops.less(0.0, weights), "int"), ops.const(np.arange(count))), -1)
    return ops.minimum(ops.reduce_sum(before, -1), last)
