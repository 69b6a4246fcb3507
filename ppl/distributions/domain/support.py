"""Supports of distributions and what can be said about the set a symbolic value lies in."""

from __future__ import annotations

import math
from enum import Enum

import numpy as np

from ppl.distributions.domain.bounds import bounds_of, softmax_argument
from ppl.distributions.domain.intervals import CIRCLE, CLOSED_UNIT, NONNEGATIVE, POSITIVE, REAL, UNIT, Interval
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
        return self is other is not Support.INTERVAL or other in INSIDE.get(self, ())


INSIDE: dict[Support, tuple[Support, ...]] = {
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
ROWS = (Support.SIMPLEX, Support.ONE_HOT)


def support_of(value: Node) -> Support:
    """The smallest known set that holds every entry (row, for SIMPLEX and ONE_HOT) of `value`."""
    source, keeps_rows = value, True
    while source.op in SAME_ENTRIES and not _says(source):
        keeps_rows = keeps_rows and _keeps_rows(source)
        source = source.args[0]
    found = _structure(source)
    if found is not None and (keeps_rows or found not in ROWS):
        return found
    inside = bounds_of(value)
    narrow_first = (Support.UNIT_INTERVAL, Support.POSITIVE, Support.NONNEGATIVE)
    return next((s for s in narrow_first if inside.within(INTERVAL_OF[s])), Support.REAL)


def _structure(source: Node) -> Support | None:
    """The support that the expression itself shows, or None."""
    if source.op == "sample":
        return source.attrs["site"].dist.support
    if _says(source):
        return source.attrs["name"]
    stack = entry_of(source)
    if stack is not None:
        return support_of(stack) if len(stack.type.shape) > 1 else None
    if softmax_argument(source) is not None and bounds_of(source) == UNIT:
        return Support.SIMPLEX
    truth = source.op == "cast" and source.args[0].type.dtype == "bool"
    if truth or (source.op == "const" and np.isin(source.attrs["value"].value, (0, 1)).all()):
        return Support.BINARY
    return None


def placed_in(value: Node, support: Support) -> Node:
    """`value`, which is computed such that it lies in a support: its rows, or matrices, where that is one of these."""
    return make("mark", value, name=support)


def _says(value: Node) -> bool:
    """Whether a value is marked with the support that it was placed in."""
    return value.op == "mark" and value.attrs["name"] in INTERVAL_OF


def entry_of(value: Node) -> Node | None:
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


EXACT = "numbers of log_prob"


def is_constant(value: Node) -> bool:
    """Whether `value` is a constant seen through broadcasting, as in eager calls."""
    return _leaf(value).op == "const"


def exact(value: Node) -> Node:
    """`value` where it is computed; constants as numbers that have to lie in the support itself.

    Those of an observation may lie in the hull over which a discrete density extends.
    """
    return ops.mark(value, EXACT) if is_constant(value) else value


def is_exact(value: Node) -> bool:
    """Whether `value` is such numbers."""
    found = _leaf(value)
    return found.op == "mark" and found.attrs["name"] == EXACT


def _leaf(value: Node) -> Node:
    while value.op in ("expand", "reshape", "cast", "distribute"):
        value = value.args[0]
    return value


def infinite(value: Node, unit_rank: int) -> Node:
    """Which units have an infinite entry: no density reaches there, but its formula may give NaN."""
    there = ops.equal(ops.absolute(ops.cast(value, "float")), math.inf)
    return ops.less(0, ops.reduce_sum(there, tuple(range(-unit_rank, 0)))) if unit_rank else there
