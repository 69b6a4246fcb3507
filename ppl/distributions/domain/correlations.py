"""Cholesky factors of correlation matrices: lower triangular, a positive diagonal, rows of length 1 up to rounding."""

from __future__ import annotations

import numpy as np

from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.checks import ROW_TOLERANCE
from ppl.distributions.domain.intervals import POSITIVE
from ppl.distributions.domain.support import SAME_ENTRIES, Support, entry_of
from ppl.ir import ops
from ppl.ir.node import Node


def is_factor(y: Node) -> Node:
    """Whether each matrix is such a factor, shape (..., 1, 1)."""
    n = y.type.shape[-1]
    upper = ops.reduce_sum(ops.mul(ops.absolute(y), np.triu(np.ones((n, n)), 1)), (-2, -1), keepdims=True)
    length = ops.reduce_sum(ops.mul(y, y), -1, keepdims=True)
    miss = ops.reduce("amax", ops.absolute(ops.sub(length, 1.0)), -2, keepdims=True)
    diagonal = ops.reduce_sum(ops.mul(y, np.eye(n)), -1, keepdims=True)
    low = ops.neg(ops.reduce("amax", ops.neg(diagonal), -2, keepdims=True))
    inside = ops.logical_and(ops.less_equal(upper, 0.0), ops.less(0.0, low))
    return ops.logical_and(inside, ops.less_equal(miss, ROW_TOLERANCE))


def drawn_factor(y: Node) -> bool:
    """Whether a value is known to be such factors: a draw, or entries of one along leading dimensions."""
    while y.op in SAME_ENTRIES or entry_of(y) is not None:
        if y.op == "mark" and y.attrs["name"] is Support.CORRELATION_CHOLESKY:
            return True
        source = entry_of(y)
        if source is None:
            source, kept = y.args[0], y.op != "transpose" and _whole(y)
        else:
            kept = len(source.type.shape) > 2
        if not kept or source.type.shape[-2:] != y.type.shape[-2:]:
            return False
        y = source
    return y.op == "sample" and y.attrs["site"].dist.support is Support.CORRELATION_CHOLESKY


def _whole(view: Node) -> bool:
    """Whether a view leaves matrices in the last two dimensions as they are, given that these keep their lengths."""
    return view.op != "slice" or all((start, step) == (0, 1) for start, _, step in view.attrs["window"][-2:])


def positive_diagonal(matrix: Node) -> bool:
    """Whether the diagonal is known to be positive: that of a drawn factor, perhaps times positive numbers."""
    if matrix.op == "expand":
        return positive_diagonal(matrix.args[0])
    if drawn_factor(matrix):
        return True
    if matrix.op != "mul":
        return False
    a, b = matrix.args
    return any(bounds_of(x).within(POSITIVE) and positive_diagonal(y) for x, y in ((a, b), (b, a)))
