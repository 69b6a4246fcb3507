"""Conditions on the parameters of a distribution, as expressions, for parameters known only at run time.

Constants are checked where a distribution is made (`checks.py`). A symbolic parameter has a `Condition` for each
constraint; where interval arithmetic proves it for all parameters and data, no program ever computes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ppl.distributions.domain.bounds import bounds_of, softmax_argument
from ppl.distributions.domain.checks import CONSTRAINTS, constant_value
from ppl.distributions.domain.intervals import (
    ANYTHING,
    CLOSED_UNIT,
    INF,
    NONNEGATIVE,
    POSITIVE,
    REAL,
    UNIT,
    Interval,
)
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.op_facts import VIEWS
from ppl.records import dataclass

LOGITS = Interval(-INF, INF, False)
RANGES: dict[str, Interval] = {
    "real": REAL,
    "logit": REAL,
    "end": ANYTHING,
    "positive": POSITIVE,
    "unit_interval": CLOSED_UNIT,
    "open_unit_interval": UNIT,
    "positive_probability": Interval(0.0, 1.0, True, False),
    "below_one": Interval(0.0, 1.0, False, True),
    "count": NONNEGATIVE,
    "whole": REAL,
    "simplex": NONNEGATIVE,
    "open_simplex": POSITIVE,
    "class_logits": LOGITS,
}
EDGES = {"unit_interval": (0.0, 1.0), "positive_probability": (1.0,), "below_one": (0.0,), "simplex": (0.0,)}
"""Probabilities at which some value is never drawn."""
WHOLE = ("count", "whole")
ROWS = {"simplex": 0.0, "open_simplex": 0.0, "class_logits": -INF}
"""Constraints of rows: something in a row has to exceed this. Symbolic weights are normalised, so any sum will do."""


@dataclass(frozen=True)
class Condition:
    """One condition on a parameter.

    Parameters
    ----------
    name : the parameter, "components.scale" for that of a part.
    wanted : what it must be, in words.
    value : the parameter, before broadcasting.
    good : truth values of its shape.
    shape : the parameter's event shape, of which `value` may be a part that is broadcast.
    proved : whether it holds for all parameters and data.
    constraint : key of `checks.CONSTRAINTS`; empty where the condition is between two parameters.
    whole : whether it is about whole numbers, which a relaxed sample upstream may fail to be.
    shows : whether every density is NaN where it fails, and samples are none the worse.
    draws : whether constants that fail it spoil draws only, since densities are folded in float64.
    """

    name: str
    wanted: str
    value: Node
    good: Node
    shape: tuple[int, ...]
    proved: bool
    constraint: str = ""
    whole: bool = False
    shows: bool = False
    draws: bool = False


def conditions_of(params: Mapping[str, Node], constraints: Mapping[str, str]) -> Iterator[Condition]:
    """The conditions of parameters that are not constant."""
    for name, node in params.items():
        if name in constraints and constant_value(node) is None:
            yield from _conditions(name, node, constraints[name])


def _conditions(name: str, node: Node, constraint: str) -> Iterator[Condition]:
    wanted, allowed, rows = CONSTRAINTS[constraint][0], RANGES[constraint], constraint in ROWS
    x = node if rows else unexpanded(node)
    found = bounds_of(x)
    proved, good = found.within(allowed), inside(allowed, x)
    if rows:
        least = ROWS[constraint]
        proved = proved and (found.within(Interval(least, INF)) or softmax_argument(x) is not None)
        top = ops.expand(ops.reduce("amax", x, -1, keepdims=True), (), x.type.shape)
        good = ops.logical_and(good, ops.less(least, top))
    yield Condition(name, wanted, x, good, node.type.shape, proved, constraint)
    if constraint in WHOLE:
        good = ops.equal(x, ops.floor(x))
        yield Condition(name, wanted, x, good, node.type.shape, _is_whole(x), constraint, whole=True)


@dataclass(frozen=True)
class Edge:
    """A parameter that can lie at an edge of its range where some values are never drawn: where it does (`there`)."""

    name: str
    value: Node
    there: Node


def edges_of(params: Mapping[str, Node], constraints: Mapping[str, str]) -> Iterator[Edge]:
    """The edges that parameters can lie at, as far as interval arithmetic does not exclude it."""
    for name, node in params.items():
        ends = EDGES.get(constraints.get(name, ""), ())
        found = bounds_of(node)
        near = [e for e in ends if not (found.lo > e or found.hi < e or (found.lo == e and found.lo_open)
                                        or (found.hi == e and found.hi_open))]  # fmt: skip
        if near and constant_value(node) is None:
            x = ops.stop(node, "formula")
            there = ops.equal(x, near[0])
            yield Edge(name, node, there if len(near) == 1 else ops.logical_or(there, ops.equal(x, near[1])))


def ordered(low: Node, high: Node, equal: bool = False) -> Condition:
    """low < high, or low <= high where they may be `equal`."""
    compare, word = (ops.less_equal, "at most high") if equal else (ops.less, "less than high")
    a, b = bounds_of(low), bounds_of(high)
    constant = constant_value(low) is not None and constant_value(high) is not None
    proved = constant or a.hi < b.lo or (a.hi == b.lo and (equal or a.hi_open or b.lo_open))
    return Condition("low", word, low, compare(low, high), low.type.shape, proved)


def prefixed(part: str, found: Iterator[Condition]) -> Iterator[Condition]:
    """The conditions of a part under the names that its parameters have in the whole."""
    return (replace(c, name=f"{part}.{c.name}") for c in found)


def unexpanded(x: Node) -> Node:
    """`x` before broadcasting."""
    while x.op == "expand":
        x = x.args[0]
    return x


def inside(interval: Interval, x: Node) -> Node:
    """Whether each entry of `x` lies in an interval; NaN lies in none."""
    if interval == REAL:
        return ops.less(ops.absolute(x), math.inf)
    above = ops.less(interval.lo, x) if interval.lo_open else ops.less_equal(interval.lo, x)
    below = ops.less(x, interval.hi) if interval.hi_open else ops.less_equal(x, interval.hi)
    return ops.logical_and(above, below)


def _is_whole(x: Node) -> bool:
    while x.op in VIEWS or x.op == "stop":
        x = x.args[0]
    return x.op == "floor" or (x.op == "cast" and x.args[0].type.dtype != "float")
