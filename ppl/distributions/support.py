"""Supports of distributions and what can be said about the set a symbolic value lies in."""

from __future__ import annotations

from enum import Enum

from ppl.ir.node import Node


class Support(Enum):
    """Sets a sample can lie in. INTERVAL depends on parameters."""

    REAL = "real"
    POSITIVE = "positive"
    UNIT_INTERVAL = "unit interval"
    INTERVAL = "interval between parameters"
    SIMPLEX = "simplex"
    BINARY = "{0, 1}"
    INTEGER = "{0, …, K-1}"
    ONE_HOT = "one-hot"

    def within(self, other: Support) -> bool:
        """Whether this set lies inside `other` whatever the parameters."""
        return self is other is not Support.INTERVAL or other in INSIDE.get(self, ())


INSIDE: dict[Support, tuple[Support, ...]] = {
    Support.POSITIVE: (Support.REAL,),
    Support.UNIT_INTERVAL: (Support.POSITIVE, Support.REAL),
    Support.INTERVAL: (Support.REAL,),
    Support.SIMPLEX: (Support.UNIT_INTERVAL, Support.POSITIVE, Support.REAL),
    Support.BINARY: (Support.REAL,),
    Support.INTEGER: (Support.REAL,),
    Support.ONE_HOT: (Support.SIMPLEX, Support.REAL),
}

RANGE_OF_OP = {"exp": Support.POSITIVE, "sigmoid": Support.UNIT_INTERVAL, "softplus": Support.POSITIVE}
PASSES_THROUGH = ("expand", "reshape", "transpose", "slice", "route", "stop", "scale_grad", "collect", "distribute", "concat")


def support_of(value: Node) -> Support:
    """The smallest known set that contains every entry of `value`, read off the expression that makes it."""
    if value.op == "sample":
        return value.attrs["site"].dist.support
    if value.op in PASSES_THROUGH:
        found = {support_of(a) for a in value.args[: 1 if value.op == "scale_grad" else None]}
        return found.pop() if len(found) == 1 else Support.REAL
    return RANGE_OF_OP.get(value.op, Support.REAL)
