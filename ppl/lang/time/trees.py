"""Carries and inputs of loops: arrays, tuples and dicts of them, nested, as a list of values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang.value import Value, lift


class Tree(NamedTuple):
    """Nested values as `leaves`; `paths` say where each stands, `shape` rebuilds the nesting."""

    leaves: list[Node]
    paths: list[str]
    shape: Any

    def rebuilt(self, leaves: list[Node]) -> Any:
        """The same nesting of other values."""
        return _rebuilt(self.shape, iter(leaves))

    def like(self, other: Tree) -> Tree:
        """The same values in the order of `other`, where only entries of dicts come in another one."""
        if self.paths == other.paths or sorted(self.paths) != sorted(other.paths):
            return self
        at = dict(zip(self.paths, self.leaves, strict=True))
        return Tree([at[path] for path in other.paths], other.paths, other.shape)


def tree(what: str, value: Any) -> Tree:
    """`value` taken apart; every leaf is an array, a number or a symbolic value."""
    leaves: list[Node] = []
    paths: list[str] = []

    def visit(x: Any, path: str) -> Any:
        if x is None:
            return None
        if isinstance(x, Mapping):
            return {k: visit(v, f"{path}[{k!r}]") for k, v in x.items()}
        if isinstance(x, (tuple, list)):
            items = [visit(v, f"{path}[{i}]") for i, v in enumerate(x)]
            return type(x)(*items) if hasattr(x, "_fields") else type(x)(items)
        leaves.append(lift(path, ops.as_node, x).node)
        paths.append(path)
        return _LEAF

    shape = visit(value, what)
    return Tree(leaves, paths, shape)


_LEAF = object()


def _rebuilt(shape: Any, leaves: Any) -> Any:
    if shape is _LEAF:
        return Value(next(leaves))
    if isinstance(shape, dict):
        return {k: _rebuilt(v, leaves) for k, v in shape.items()}
    if isinstance(shape, (tuple, list)):
        items = [_rebuilt(v, leaves) for v in shape]
        return type(shape)(*items) if hasattr(shape, "_fields") else type(shape)(items)
    return None


def same_nesting(first: Tree, second: Tree, line: str) -> None:
    """Raise a ModelError unless a carry keeps its nesting."""
    if first.paths != second.paths:
        raise ModelError(f"scan: the carry starts as {_listed(first)} and step returns {_listed(second)}\n  at {line}")


def _listed(found: Tree) -> str:
    return ", ".join(found.paths) or "nothing"
