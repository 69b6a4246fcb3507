"""Supports of distributions, and the smallest known support that a symbolic value lies in.

With tests of rows on the simplex and of Cholesky factors of correlation matrices."""

from __future__ import annotations

import math
from enum import Enum

import numpy as np

from ppl.distributions.bounds import bounds_of, softmax_argument
from ppl.distributions.constraints import ROW_TOLERANCE
from ppl.distributions.intervals import CIRCLE, CLOSED_UNIT, NONNEGATIVE, POSITIVE, REAL, UNIT, Interval
from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.ir.op_facts import MARKERS, VIEWS


class Support(Enum):
    """Sets a sample can lie in; POSITIVE, UNIT_INTERVAL, SIMPLEX are open, INTERVAL depends on parameters."""

    REAL = "real"
    NONNEGATIVE = "non-negative"
    POSITIVE = "positive"
    UNIT_INTERVAL = "unit interval"
    INTERVAL = "interval between parameters"
    CIRCLE = "(−π, π]"
    SIMPLEX = "simplex"
    BINARY = "{0, 1}"
    INTEGER = "{0, …, K-1}"
    COUNT = "{0, 1, …}"
    ONE_HOT = "one-hot"
    CORRELATION_CHOLESKY = "Cholesky factors of correlation matrices"

    def within(self, other: Support) -> bool:
        """Whether this set lies inside `other` whatever the parameters."""
        return self is other is not Support.INTERVAL or other in SUPERSETS.get(self, ())


SUPERSETS: dict[Support, tuple[Support, ...]] = {
    Support.NONNEGATIVE: (Support.REAL,),
    Support.POSITIVE: (Support.NONNEGATIVE, Support.REAL),
    Support.UNIT_INTERVAL: (Support.POSITIVE, Support.NONNEGATIVE, Support.REAL),
    Support.INTERVAL: (Support.REAL,),
    Support.CIRCLE: (Support.REAL,),
    Support.SIMPLEX: (Support.UNIT_INTERVAL, Support.POSITIVE, Support.NONNEGATIVE, Support.REAL),
    Support.BINARY: (Support.NONNEGATIVE, Support.REAL),
    Support.INTEGER: (Support.COUNT, Support.NONNEGATIVE, Support.REAL),
    Support.COUNT: (Support.NONNEGATIVE, Support.REAL),
    Support.ONE_HOT: (Support.NONNEGATIVE, Support.REAL),
    Support.CORRELATION_CHOLESKY: (Support.REAL,),
}

INTERVAL_OF: dict[Support, Interval] = {
    Support.REAL: REAL,
    Support.NONNEGATIVE: NONNEGATIVE,
    Support.POSITIVE: POSITIVE,
    Support.UNIT_INTERVAL: UNIT,
    Support.INTERVAL: REAL,
    Support.CIRCLE: CIRCLE,
    Support.SIMPLEX: UNIT,
    Support.BINARY: CLOSED_UNIT,
    Support.INTEGER: NONNEGATIVE,
    Support.COUNT: NONNEGATIVE,
    Support.ONE_HOT: CLOSED_UNIT,
    Support.CORRELATION_CHOLESKY: Interval(-1.0, 1.0, False, False),
}

SAME_ENTRIES = VIEWS | MARKERS

ROW_SUPPORTS = (Support.SIMPLEX, Support.ONE_HOT)


def support_of(value: Node) -> Support:
    """The smallest known set that holds every entry (row, for SIMPLEX and ONE_HOT) of `value`."""
    source, keeps_rows = value, True
    while source.op in SAME_ENTRIES and not _is_support_mark(source):
        keeps_rows = keeps_rows and _keeps_rows(source)
        source = source.args[0]
    found = _support_by_structure(source)
    if found is not None and (keeps_rows or found not in ROW_SUPPORTS):
        return found
    inside = bounds_of(value)
    narrow_first = (Support.UNIT_INTERVAL, Support.POSITIVE, Support.NONNEGATIVE)
    return next((s for s in narrow_first if inside.within(INTERVAL_OF[s])), Support.REAL)


def _support_by_structure(source: Node) -> Support | None:
    """The support that the expression itself shows, or None."""
    if source.op == "sample":
        return source.attrs["site"].dist.support
    if _is_support_mark(source):
        return source.attrs["name"]
    stack = indexed_array(source)
    if stack is not None:
        return support_of(stack) if len(stack.type.shape) > 1 else None
    if softmax_argument(source) is not None and bounds_of(source) == UNIT:
        return Support.SIMPLEX
    truth = source.op == "cast" and source.args[0].type.dtype == "bool"
    if truth or (source.op == "const" and np.isin(source.attrs["value"].value, (0, 1)).all()):
        return Support.BINARY
    return None


def mark_support(value: Node, support: Support) -> Node:
    """`value`, which is computed such that it lies in a support: its rows, or matrices, where that is one of these."""
    return make("mark", value, name=support)


def _is_support_mark(value: Node) -> bool:
    """Whether a value is marked with the support that it was placed in."""
    return value.op == "mark" and value.attrs["name"] in INTERVAL_OF


def indexed_array(value: Node) -> Node | None:
    """The value whose leading event dimension `value` is an entry, or entries, of: of a step of a loop, or by index."""
    if value.op == "take":
        return value.args[0]
    scan = value.attrs["scan"] if value.op == "step_input" else None
    return scan.slices.get(value) if scan is not None else None


def _keeps_rows(view: Node) -> bool:
    """Whether the last event dimension of a view holds the same rows as that of its argument."""
    before, after = view.args[0].type.shape, view.type.shape
    if view.op == "transpose" and view.attrs["perm"][-1:] != (len(after) - 1,):
        return False
    return before[-1:] == after[-1:]


EXACT_MARK = "numbers of log_prob"


def is_constant(value: Node) -> bool:
    """Whether `value` is a constant seen through broadcasting, as in eager calls."""
    return _without_views(value).op == "const"


def mark_exact(value: Node) -> Node:
    """`value` where it is computed; constants as numbers that have to lie in the support itself.

    Those of an observation may lie in the hull over which a discrete density extends.
    """
    return ops.mark(value, EXACT_MARK) if is_constant(value) else value


def is_marked_exact(value: Node) -> bool:
    """Whether `value` is such numbers."""
    found = _without_views(value)
    return found.op == "mark" and found.attrs["name"] == EXACT_MARK


def _without_views(value: Node) -> Node:
    while value.op in ("expand", "reshape", "cast", "distribute"):
        value = value.args[0]
    return value


def has_infinite_entry(value: Node, unit_rank: int) -> Node:
    """Which units have an infinite entry: no density reaches there, but its formula may give NaN."""
    there = ops.equal(ops.absolute(ops.cast(value, "float")), math.inf)
    return ops.less(0, ops.reduce_sum(there, tuple(range(-unit_rank, 0)))) if unit_rank else there


def on_simplex(value: Node, inside: bool) -> Node:
    """Whether each row is on the simplex, shape (…, 1); its edges, where a number is 0, are left out if `inside`."""
    low = ops.neg(ops.reduce("amax", ops.neg(value), -1, keepdims=True))
    miss = ops.absolute(ops.sub(ops.reduce_sum(value, -1, keepdims=True), 1.0))
    return ops.logical_and((ops.less if inside else ops.less_equal)(0.0, low), ops.less_equal(miss, ROW_TOLERANCE))


def is_correlation_factor(y: Node) -> Node:
    """Whether each matrix is such a factor, shape (..., 1, 1)."""
    n = y.type.shape[-1]
    upper = ops.reduce_sum(ops.mul(ops.absolute(y), np.triu(np.ones((n, n)), 1)), (-2, -1), keepdims=True)
    length = ops.reduce_sum(ops.mul(y, y), -1, keepdims=True)
    miss = ops.reduce("amax", ops.absolute(ops.sub(length, 1.0)), -2, keepdims=True)
    diagonal = ops.reduce_sum(ops.mul(y, np.eye(n)), -1, keepdims=True)
    low = ops.neg(ops.reduce("amax", ops.neg(diagonal), -2, keepdims=True))
    inside = ops.logical_and(ops.less_equal(upper, 0.0), ops.less(0.0, low))
    return ops.logical_and(inside, ops.less_equal(miss, ROW_TOLERANCE))


def known_correlation_factor(y: Node) -> bool:
    """Whether a value is known to be such factors: a draw, or entries of one along leading dimensions."""
    while y.op in SAME_ENTRIES or indexed_array(y) is not None:
        if y.op == "mark" and y.attrs["name"] is Support.CORRELATION_CHOLESKY:
            return True
        source = indexed_array(y)
        if source is None:
            source, kept = y.args[0], y.op != "transpose" and _keeps_matrices(y)
        else:
            kept = len(source.type.shape) > 2
        if not kept or source.type.shape[-2:] != y.type.shape[-2:]:
            return False
        y = source
    return y.op == "sample" and y.attrs["site"].dist.support is Support.CORRELATION_CHOLESKY


def _keeps_matrices(view: Node) -> bool:
    """Whether a view leaves matrices in the last two dimensions as they are, given that these keep their lengths."""
    return view.op != "slice" or all((start, step) == (0, 1) for start, _, step in view.attrs["window"][-2:])


def has_positive_diagonal(matrix: Node) -> bool:
    """Whether the diagonal is known to be positive: that of a drawn factor, perhaps times positive numbers."""
    if matrix.op == "expand":
        return has_positive_diagonal(matrix.args[0])
    if known_correlation_factor(matrix):
        return True
    if matrix.op != "mul":
        return False
    a, b = matrix.args
    return any(bounds_of(x).within(POSITIVE) and has_positive_diagonal(y) for x, y in ((a, b), (b, a)))
