"""Hash-consed, frozen nodes of the expression IR, and walks over them.

Two structurally equal expressions are the same object, so common subexpressions cost nothing and identity is
equality.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

import numpy as np

from ppl.ir.op_facts import require_row
from ppl.ir.types import Type


class Array:
    """An immutable constant array, hashable by content, so that it can be a node attribute."""

    __slots__ = ("_key", "value")

    def __init__(self, value: np.ndarray):
        value = np.array(value, order="C")  # a copy: freezing must not touch the caller's array
        value.setflags(write=False)
        self.value = value
        self._key = (value.shape, value.dtype.str, value.tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Array) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"Array{self.value.shape}" if self.value.size > 4 else np.array2string(self.value, separator=",")


class Node:
    """One operation. Fields: `op` (name), `args` (nodes), `attrs` (dict-like, hashable values), `type`."""

    __slots__ = ("__weakref__", "args", "attrs", "key", "op", "type")
    op: str
    args: tuple[Node, ...]
    attrs: dict[str, Any]
    type: Type
    key: tuple

    def __init__(self, op: str, args: tuple[Node, ...], attrs: dict[str, Any], type_: Type, key: tuple):
        for field, value in zip(("op", "args", "attrs", "type", "key"), (op, args, attrs, type_, key), strict=True):
            object.__setattr__(self, field, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"IR nodes are frozen; cannot set {name!r}")

    def __copy__(self) -> Node:
        return self

    def __deepcopy__(self, memo: Any) -> Node:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (self.op, self.args, self.attrs)

    def __repr__(self) -> str:
        attrs = "".join(f", {k}={v}" for k, v in self.attrs.items())
        return f"<{self.op}({len(self.args)} args{attrs}) {self.type}>"


_interned: weakref.WeakValueDictionary[tuple, Node] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def _remade(op: str, args: tuple[Node, ...], attrs: dict[str, Any]) -> Node:
    """A node that was pickled."""
    return make(op, *args, **attrs)


class TypeRules(dict[str, Callable[..., Type]]):
    """Shape rules by op; an op without a row in the table of facts is refused."""

    def __setitem__(self, op: str, rule: Callable[..., Type]) -> None:
        require_row(op)
        super().__setitem__(op, rule)


type_rules = TypeRules()


def make(op: str, *args: Node, **attrs: Any) -> Node:
    """The one node for (op, args, attrs); its type comes from its shape rule, which may raise ShapeError."""
    key = (op, tuple(id(a) for a in args), tuple(sorted(attrs.items(), key=lambda item: item[0])))
    with _lock:
        found = _interned.get(key)
    if found is not None:
        return found
    node = Node(op, args, attrs, type_rules[op](tuple(a.type for a in args), attrs), key)
    with _lock:
        return _interned.setdefault(key, node)


def topological(outputs: Iterable[Node], known: Container[Node] = ()) -> list[Node]:
    """All nodes that `outputs` depend on, arguments before users, in an order fixed by structure alone.

    Nodes that are `known`, and what only they depend on, are left out.
    """
    order: list[Node] = []
    done: set[int] = set()
    stack: list[tuple[Node, int]] = []
    for output in outputs:
        stack.append((output, 0))
        while stack:
            node, position = stack.pop()
            if id(node) in done or (not position and node in known):
                continue
            if position < len(node.args):
                stack.append((node, position + 1))
                if id(node.args[position]) not in done:
                    stack.append((node.args[position], 0))
            else:
                done.add(id(node))
                order.append(node)
    return order


def rebuild(outputs: Sequence[Node], visit: Callable[[Node, tuple[Node, ...]], Node]) -> list[Node]:
    """Map every node once, bottom-up: `visit(node, new_args)` returns its replacement."""
    replaced: dict[int, Node] = {}
    for node in topological(outputs):
        replaced[id(node)] = visit(node, tuple(replaced[id(a)] for a in node.args))
    return [replaced[id(o)] for o in outputs]


def remake(node: Node, args: tuple[Node, ...]) -> Node:
    """`node` with other arguments (the same object if they are the same)."""
    same = len(args) == len(node.args) and all(a is b for a, b in zip(args, node.args, strict=True))
    return node if same else make(node.op, *args, **node.attrs)


def substitute(outputs: Sequence[Node], mapping: dict[Node, Node]) -> list[Node]:
    """`outputs` with the keys of `mapping` replaced by their values."""
    by_id = {id(k): v for k, v in mapping.items()}
    return rebuild(outputs, lambda node, args: by_id[id(node)] if id(node) in by_id else remake(node, args))
