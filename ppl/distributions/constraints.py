"""Constraints on the parameters of a distribution: constants are checked here, symbolic parameters by programs.

`parameter_nodes` makes float nodes of one shape and checks constants when a distribution is made. A symbolic parameter
has a `Condition`, an expression, for each constraint; where interval arithmetic proves it for all parameters and data,
no program ever computes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ppl.arguments import masked, shown
from ppl.distributions.bounds import bounds_of, softmax_argument
from ppl.distributions.intervals import ANYTHING, CLOSED_UNIT, INF, NONNEGATIVE, POSITIVE, REAL, UNIT, Interval
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.op_facts import VIEWS
from ppl.records import dataclass

ROW_TOLERANCE = 1e-5


def _rows_sum_to_one(x: np.ndarray) -> np.ndarray:
    close = np.abs(x.sum(-1, keepdims=True) - 1.0) <= ROW_TOLERANCE
    return np.broadcast_to(close, x.shape) & (x >= 0) & (x <= 1 + ROW_TOLERANCE)


def _valid_class_logits(x: np.ndarray) -> np.ndarray:
    return np.isfinite(x) | ((x == -np.inf) & np.isfinite(x).any(-1, keepdims=True))


CONSTRAINTS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "real": ("finite", np.isfinite),
    "positive": ("positive and finite", lambda x: np.isfinite(x) & (x > 0)),
    "end": ("a number, perhaps infinite", lambda x: ~np.isnan(x)),
    "unit_interval": ("between 0 and 1", lambda x: (x >= 0) & (x <= 1)),
    "open_unit_interval": ("strictly between 0 and 1", lambda x: (x > 0) & (x < 1)),
    "positive_probability": ("above 0 and at most 1", lambda x: (x > 0) & (x <= 1)),
    "below_one": ("at least 0 and below 1", lambda x: (x >= 0) & (x < 1)),
    "count": ("a whole number of at least 0", lambda x: np.isfinite(x) & (x >= 0) & (x == np.floor(x))),
    "whole": ("a whole number", lambda x: np.isfinite(x) & (x == np.floor(x))),
    "logit": ("finite (for a sure outcome give probs=0 or probs=1)", np.isfinite),
    "simplex": ("non-negative with rows that sum to 1", _rows_sum_to_one),
    "open_simplex": ("positive with rows that sum to 1", lambda x: _rows_sum_to_one(x) & (x > 0)),
    "class_logits": ("finite or -inf, with a finite entry in every row", _valid_class_logits),
}


def constant_value(node: Node) -> np.ndarray | None:
    """The array of a constant, seen through broadcasting; None for a symbolic node."""
    while node.op == "expand":
        node = node.args[0]
    return node.attrs["value"].value if node.op == "const" else None


def parameter_nodes(owner: str, params: Mapping[str, Any], constraints: Mapping[str, str]) -> dict[str, Node]:
    """`params` as float nodes broadcast to one event shape, after the checks of constants."""
    nodes = {name: parameter_node(owner, name, value) for name, value in params.items()}
    check_constants(owner, nodes, constraints)
    try:
        shape = np.broadcast_shapes(*(n.type.shape for n in nodes.values()))
    except ValueError:
        listed = ", ".join(f"{k} {n.type.shape}" for k, n in nodes.items())
        raise ShapeError(f"{owner}: parameter shapes do not broadcast: {listed}") from None
    return {k: ops.expand(n, (), shape) for k, n in nodes.items()}


def parameter_node(owner: str, name: str, value: Any) -> Node:
    """`value` as a float node; constants become float constants at once."""
    if masked(value):
        raise ModelError(f"{owner}: {name} is a masked array: pass its .data, or .filled(...)")
    try:
        node = ops.as_node(value)
    except ShapeError:
        raise ModelError(
            f"{owner}: {name} must be a number, an array or a symbolic value, got {shown(value)}"
        ) from None
    return ops.const(node.attrs["value"].value, "float") if node.op == "const" else ops.cast(node, "float")


def check_constants(owner: str, params: Mapping[str, Node], constraints: Mapping[str, str]) -> None:
    """Raise a ModelError naming distribution, parameter and the first bad value of a constant parameter."""
    for name, node in params.items():
        value = constant_value(node)
        if value is None or name not in constraints:
            continue
        wanted, allowed = CONSTRAINTS[constraints[name]]
        value = np.broadcast_to(value, node.type.shape) if "row" in wanted else value
        with np.errstate(invalid="ignore"):
            bad = np.argwhere(~np.asarray(allowed(value)))
        if len(bad):
            raise ModelError(
                f"{owner}: {name} must be {wanted}, got {_format_bad_value(value, tuple(bad[0].tolist()), wanted)}"
            )


def require_ordered(owner: str, low: Node, high: Node, shape: tuple[int, ...]) -> None:
    """Raise a ModelError unless low < high wherever both are constant."""
    low_value, high_value = constant_value(low), constant_value(high)
    if low_value is None or high_value is None:
        return
    bad = np.argwhere(np.broadcast_to(low_value >= high_value, shape))
    if len(bad):
        first = tuple(bad[0].tolist())
        pair = [np.broadcast_to(v, shape)[first] for v in (low_value, high_value)]
        raise ModelError(f"{owner}: high must be greater than low, got low {pair[0]} and high {pair[1]}")


def _format_bad_value(value: np.ndarray, index: tuple[int, ...], wanted: str) -> str:
    if "row" in wanted:
        where = f" at row {index[:-1]}" if len(index) > 1 else ""
        return f"{np.array2string(value[index[:-1]], threshold=8)}{where}"
    return f"{value[index]}{f' at index {index}' if index else ''}"


CLASS_LOGIT_RANGE = Interval(-INF, INF, False)

CONSTRAINT_RANGES: dict[str, Interval] = {
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
    "class_logits": CLASS_LOGIT_RANGE,
}

BOUNDARY_VALUES = {"unit_interval": (0.0, 1.0), "positive_probability": (1.0,), "below_one": (0.0,), "simplex": (0.0,)}
"""Probabilities at which some value is never drawn."""

WHOLE_CONSTRAINTS = ("count", "whole")

ROW_CONSTRAINTS = {"simplex": 0.0, "open_simplex": 0.0, "class_logits": -INF}
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
            yield from _conditions_of_parameter(name, node, constraints[name])


def _conditions_of_parameter(name: str, node: Node, constraint: str) -> Iterator[Condition]:
    wanted, allowed, rows = CONSTRAINTS[constraint][0], CONSTRAINT_RANGES[constraint], constraint in ROW_CONSTRAINTS
    x = node if rows else without_expand(node)
    found = bounds_of(x)
    proved, good = found.within(allowed), in_interval(allowed, x)
    if rows:
        least = ROW_CONSTRAINTS[constraint]
        proved = proved and (found.within(Interval(least, INF)) or softmax_argument(x) is not None)
        top = ops.expand(ops.reduce("amax", x, -1, keepdims=True), (), x.type.shape)
        good = ops.logical_and(good, ops.less(least, top))
    yield Condition(name, wanted, x, good, node.type.shape, proved, constraint)
    if constraint in WHOLE_CONSTRAINTS:
        good = ops.equal(x, ops.floor(x))
        yield Condition(name, wanted, x, good, node.type.shape, _is_integer_valued(x), constraint, whole=True)


@dataclass(frozen=True)
class BoundaryValue:
    """A parameter that can lie at an edge of its range where some values are never drawn: where it does (`there`)."""

    name: str
    value: Node
    there: Node


def boundary_values_of(params: Mapping[str, Node], constraints: Mapping[str, str]) -> Iterator[BoundaryValue]:
    """The edges that parameters can lie at, as far as interval arithmetic does not exclude it."""
    for name, node in params.items():
        ends = BOUNDARY_VALUES.get(constraints.get(name, ""), ())
        found = bounds_of(node)
        near = [e for e in ends if not (found.lo > e or found.hi < e or (found.lo == e and found.lo_open)
                                        or (found.hi == e and found.hi_open))]  # fmt: skip
        if near and constant_value(node) is None:
            x = ops.stop(node, "formula")
            there = ops.equal(x, near[0])
            yield BoundaryValue(name, node, there if len(near) == 1 else ops.logical_or(there, ops.equal(x, near[1])))


def ordering_condition(low: Node, high: Node, equal: bool = False) -> Condition:
    """low < high, or low <= high where they may be `equal`."""
    compare, word = (ops.less_equal, "at most high") if equal else (ops.less, "less than high")
    a, b = bounds_of(low), bounds_of(high)
    constant = constant_value(low) is not None and constant_value(high) is not None
    proved = constant or a.hi < b.lo or (a.hi == b.lo and (equal or a.hi_open or b.lo_open))
    return Condition("low", word, low, compare(low, high), low.type.shape, proved)


def prefix_names(part: str, found: Iterator[Condition]) -> Iterator[Condition]:
    """The conditions of a part under the names that its parameters have in the whole."""
    return (replace(c, name=f"{part}.{c.name}") for c in found)


def without_expand(x: Node) -> Node:
    """`x` before broadcasting."""
    while x.op == "expand":
        x = x.args[0]
    return x


def in_interval(interval: Interval, x: Node) -> Node:
    """Whether each entry of `x` lies in an interval; NaN lies in none."""
    if interval == REAL:
        return ops.less(ops.absolute(x), math.inf)
    above = ops.less(interval.lo, x) if interval.lo_open else ops.less_equal(interval.lo, x)
    below = ops.less(x, interval.hi) if interval.hi_open else ops.less_equal(x, interval.hi)
    return ops.logical_and(above, below)


def _is_integer_valued(x: Node) -> bool:
    while x.op in VIEWS or x.op == "stop":
        x = x.args[0]
    return x.op == "floor" or (x.op == "cast" and x.args[0].type.dtype != "float")
