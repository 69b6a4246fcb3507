"""Parameters of a distribution: made float nodes of one shape, and checked where they are constants.

Symbolic parameters are not checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ppl.arguments import masked, shown
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node

ROW_TOLERANCE = 1e-5


def _row_sums(x: np.ndarray) -> np.ndarray:
    close = np.abs(x.sum(-1, keepdims=True) - 1.0) <= ROW_TOLERANCE
    return np.broadcast_to(close, x.shape) & (x >= 0) & (x <= 1 + ROW_TOLERANCE)


def _class_logits(x: np.ndarray) -> np.ndarray:
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
    "simplex": ("non-negative with rows that sum to 1", _row_sums),
    "open_simplex": ("positive with rows that sum to 1", lambda x: _row_sums(x) & (x > 0)),
    "class_logits": ("finite or -inf, with a finite entry in every row", _class_logits),
}


def constant_value(node: Node) -> np.ndarray | None:
    """The array of a constant, seen through broadcasting; None for a symbolic node."""
    while node.op == "expand":
        node = node.args[0]
    return node.attrs["value"].value if node.op == "const" else None


def checked_parameters(owner: str, params: Mapping[str, Any], constraints: Mapping[str, str]) -> dict[str, Node]:
    """`params` as float nodes broadcast to one event shape, after the checks of constants."""
    nodes = {name: parameter(owner, name, value) for name, value in params.items()}
    check_constants(owner, nodes, constraints)
    try:
        shape = np.broadcast_shapes(*(n.type.shape for n in nodes.values()))
    except ValueError:
        listed = ", ".join(f"{k} {n.type.shape}" for k, n in nodes.items())
        raise ShapeError(f"{owner}: parameter shapes do not broadcast: {listed}") from None
    return {k: ops.expand(n, (), shape) for k, n in nodes.items()}


def parameter(owner: str, name: str, value: Any) -> Node:
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
            raise ModelError(f"{owner}: {name} must be {wanted}, got {_shown(value, tuple(bad[0].tolist()), wanted)}")


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


def _shown(value: np.ndarray, index: tuple[int, ...], wanted: str) -> str:
    if "row" in wanted:
        where = f" at row {index[:-1]}" if len(index) > 1 else ""
        return f"{np.array2string(value[index[:-1]], threshold=8)}{where}"
    return f"{value[index]}{f' at index {index}' if index else ''}"
