"""Functions whose zeros are where a value jumps, has a kink or a pole: one row per op.

A row maps a node to a function of the values of its arguments. What comes out has the named dimensions and, flattened,
one entry per event entry.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.ir.node import Node
from tests.oracle.exact.walk import FROZEN, is_stop

if TYPE_CHECKING:
    from tests.oracle.exact.evaluate import Evaluation

Array = np.ndarray
Switch = Callable[["Evaluation"], Array]


def _wave(x: Array) -> Array:
    return np.sin(np.pi * x)


def _pairs(x: Array, *_: Any) -> Array:
    """Differences of all pairs along the last dimension."""
    pairs = list(combinations(range(x.shape[-1]), 2))
    out = np.empty((*x.shape[:-1], len(pairs)), x.dtype)
    for k, (i, j) in enumerate(pairs):
        np.subtract(x[..., i], x[..., j], out=out[..., k])
    return out


def _negative_integers(x: Array) -> Array:
    return np.where(x < 0.5, _wave(x), 1.0)


def _power(x: Array, exponent: Array) -> Array:
    return np.where((exponent >= 0) & (exponent == np.floor(exponent)), 1.0, x)


ROWS: dict[str, Callable[..., Array]] = {
    "abs": lambda x: x,
    "sign": lambda x: x,
    "log": lambda x: x,
    "sqrt": lambda x: x,
    "log1p": lambda x: 1 + x,
    "tan": np.cos,
    "floor": _wave,
    "lgamma": _negative_integers,
    "polygamma": _negative_integers,
    "lt": np.subtract,
    "le": np.subtract,
    "max": np.subtract,
    "min": np.subtract,
    "div": lambda a, b: b,
    "pow": _power,
    "argmax": _pairs,
    "amax": _pairs,
}


def _root(node: Node) -> Node:
    """x of x * x: what touches zero there crosses it here."""
    while node.op == "mul" and node.args[0] is node.args[1]:
        node = node.args[0]
    return node


def flat(kink: Switch, ev: Evaluation) -> Array:
    """A function of the evaluation with its event flattened."""
    out = kink(ev)
    return out.reshape(*out.shape[: ev.layout.rank], -1)


def _switch(node: Node, world: str, ev: Evaluation) -> Array:
    below = FROZEN if is_stop(node) else world
    args = [ev(_root(a) if node.op in ("sqrt", "log", "div") else a, below) for a in node.args]
    rank = ev.layout.rank
    if node.op == "cast":
        out = _wave(args[0])
    elif node.op in ("amax",):
        dims = [rank + d for d in node.attrs["dims"]]
        moved = np.moveaxis(args[0], dims, range(-len(dims), 0))
        out = _pairs(moved.reshape(*moved.shape[: moved.ndim - len(dims)], -1))
    else:
        with np.errstate(all="ignore"):
            out = np.asarray(ROWS[node.op](*args), np.float64)
    return out.reshape(*out.shape[:rank], -1)


def _hidden(node: Node) -> bool:
    """Whether `node` is a stop that only steadies a formula, such as the maximum inside log-sum-exp."""
    return node.op == "stop" and not is_stop(node)


def _quiet(nodes: list[tuple[Node, str]]) -> set[int]:
    """Ids of the nodes that are read for such stops alone."""
    readers: dict[int, list[Node]] = {}
    for node, _ in nodes:
        for a in node.args:
            readers.setdefault(id(a), []).append(node)
    out: set[int] = set()
    for node, _ in reversed(nodes):
        above = readers.get(id(node), [])
        if above and all(_hidden(r) or id(r) in out for r in above):
            out.add(id(node))
    return out


def switches(nodes: list[tuple[Node, str]]) -> list[Switch]:
    """The switches among `nodes`, which are given with the world that they are read in."""
    out: list[Switch] = []
    quiet = _quiet(nodes)
    for node, world in nodes:
        if id(node) in quiet or any(_hidden(a) for a in node.args):
            continue
        whole = node.op == "cast" and node.type.dtype == "int" and node.args[0].type.dtype == "float"
        if (node.op in ROWS and any(a.type.dtype == "float" for a in node.args)) or whole:
            out.append(partial(_switch, node, world))
    return out
