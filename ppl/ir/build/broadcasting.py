"""Operands of ops: constants, casts, and broadcasting over named axes, events and branch entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppl.arguments import masked
from ppl.errors import ShapeError
from ppl.ir import shapes as _shapes  # noqa: F401  (registers the shape rules)
from ppl.ir.node import Array, Node, make
from ppl.ir.types import TRUNK, Axis, Kind, Type, union_axes

Operand = Any


def const(value: Any, dtype: str | None = None) -> Node:
    """A constant: floats as float64 (cast at emission), ints as int64, bools as bool; masked entries are none."""
    if masked(value):
        raise ShapeError("cannot make a constant of a masked array: use its .data, or .filled(...)")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ShapeError(f"cannot make a constant of {type(value).__name__}: {error}") from None
    kind = dtype or {"f": "float", "i": "int", "u": "int", "b": "bool"}.get(array.dtype.kind)
    if kind is None:
        held = array.dtype == object and any(hasattr(x, "__ppl_node__") for x in array.flat)
        hint = ": it holds symbolic values; collect them in a list and write np.stack(entries)" if held else ""
        raise ShapeError(f"cannot make a constant of dtype {array.dtype}{hint}")
    array = np.array(array, {"float": np.float64, "int": np.int64, "bool": np.bool_}[kind])
    return make("const", value=Array(array))


def as_node(value: Operand) -> Node:
    """`value` as a node; objects with a `__ppl_node__` unwrap to it, numbers and arrays become constants."""
    if isinstance(value, Node):
        return value
    node = getattr(value, "__ppl_node__", None)
    return node if node is not None else const(value)


def cast(x: Operand, dtype: str) -> Node:
    """`x` with dtype "float", "int" or "bool"."""
    x = as_node(x)
    return x if x.type.dtype == dtype else make("cast", x, dtype=dtype)


def is_const(x: Node, value: float | None = None) -> bool:
    """Whether `x` is a constant (all of whose entries equal `value`, if given), seen through expands."""
    while x.op == "expand":
        x = x.args[0]
    return x.op == "const" and (value is None or bool(np.all(x.attrs["value"].value == value)))


def expand(x: Node, axes: Sequence[Axis] = (), shape: tuple[int, ...] | None = None) -> Node:
    """Broadcast `x` to all of the named `axes` and the event `shape`; a no-op where nothing changes."""
    shape = x.type.shape if shape is None else tuple(shape)
    branch = next((a for a in axes if a.kind is Kind.BRANCH), None)
    if branch is not None and x.type.branch is not None and x.type.branch != branch:
        x = to_branch(x, branch)
    new = tuple(a for a in union_axes(tuple(axes)) if a not in x.type.axes)
    if not new and shape == x.type.shape:
        return x
    live = tuple(c.live for c in branch.copies) if branch is not None and branch in new else None
    return make("expand", x, axes=new, shape=shape, live=live)


def to_branch(x: Node, to: Axis) -> Node:
    """Route `x` into branch axis `to`: its own entries, and its trunk wherever it has none."""
    own = x.type.branch
    if own == to:
        return x
    if own is None:
        return expand(x, (to,))
    index = {c: i for i, c in enumerate(own.copies)}
    terms = tuple(((0, index.get(c, 0)),) for c in to.copies)
    live = tuple(c in index or c.live for c in to.copies)
    return make("route", x, to=to, terms=terms, live=live)


def assemble(pieces: dict[Any, Node], to: Axis) -> Node:
    """A value over branch axis `to` from one branchless node per copy."""
    nodes = [pieces[c] for c in to.copies]
    axes = union_axes(*(n.type.axes for n in nodes))
    shape = np.broadcast_shapes(*(n.type.shape for n in nodes))
    nodes = [expand(n, axes, shape) for n in nodes]
    distinct = list(dict.fromkeys(nodes))
    terms = tuple(((distinct.index(n), 0),) for n in nodes)
    return make("route", *distinct, to=to, terms=terms, live=(True,) * len(nodes))


def pick(x: Node, copy: Any = TRUNK) -> Node:
    """One entry of the branch axis of `x` (its trunk where it has no such entry), without the axis."""
    branch = x.type.branch
    if branch is None:
        return x
    entry = branch.copies.index(copy) if copy in branch.copies else 0
    return make("route", x, to=None, terms=(((0, entry),),), live=(True,))


def broadcast(*values: Operand) -> list[Node]:
    """All of `values` with common axes and a common event shape."""
    nodes = [as_node(v) for v in values]
    axes = union_axes(*(n.type.axes for n in nodes))
    try:
        shape = np.broadcast_shapes(*(n.type.shape for n in nodes))
    except ValueError:
        listed = ", ".join(str(n.type.shape) for n in nodes)
        raise ShapeError(f"event shapes {listed} do not broadcast together") from None
    return [expand(n, axes, shape) for n in nodes]


def promote(nodes: list[Node]) -> list[Node]:
    """All of `nodes` as floats if one of them is float, else as ints."""
    dtypes = {n.type.dtype for n in nodes}
    target = "float" if "float" in dtypes else "int"
    return [cast(n, target) for n in nodes]


def zeros_like(t: Type) -> Node:
    """A zero of type `t`."""
    return expand(const(0.0), t.axes, t.shape)
