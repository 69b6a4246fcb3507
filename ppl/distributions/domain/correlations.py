"""Cholesky factors of correlation matrices: lower triangular, a positive diagonal, rows of length 1 up to rounding."""

from __future__ import annotations

import numpy as np

from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.checks import ROW_TOLERANCE
from ppl.distributions.domain.intervals import POSITIVE
from ppl.distributions.domain.support import Support
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
    """Whether a value is known to be such factors: a draw, as a whole or in a step of a loop."""
    while y.op in ("expand", "mark"):
        y = y.args[0]
    if y.op == "sample":
        return y.attrs["site"].dist.support is Support.CORRELATION_CHOLESKY
    scan = y.attrs["scan"] if y.op == "step_input" else None
    return scan is not None and y in scan.slices and len(y.type.shape) > 1 and drawn_factor(scan.slices[y])


def positive_diagonal(matrix: Node) -> bool:
    """Whether the diagonal is known to be positive: that of a drawn factor, perhaps times positive numbers."""
    while matrix.op == "expand":
        matrix = matrix.args[0]
    if drawn_factor(matrix):
        return True
    if matrix.op != "mul":
        return False
    a, b = matrix.args
    return any(bounds_of(x).within(POSITIVE) and positive_diagonal(y) for x, y in ((a, b), (b, a)))
