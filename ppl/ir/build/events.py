"""Ops on whole events: sums and maxima, moves of entries, products, and named axes as event dimensions."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from ppl.arguments import shown
from ppl.errors import ShapeError
from ppl.ir.axes import axes_of
from ppl.ir.build.broadcasting import Operand, as_node, cast, const, expand, promote
from ppl.ir.node import Node, make
from ppl.ir.types import Axis, union_axes


def _dims(x: Node, dims: int | Sequence[int] | None) -> tuple[int, ...]:
    return tuple(sorted(axes_of(x.type.shape, dims)))


def reduce(op: str, x: Operand, dims: Any = None, keepdims: bool = False) -> Node:
    """Reduce `x` over event dimensions (`None`: all of them) by "sum" or "amax"."""
    x = as_node(x)
    x = cast(x, "int") if x.type.dtype == "bool" else x
    dims = _dims(x, dims)
    if not isinstance(keepdims, (bool, int, np.bool_)):
        raise ShapeError(f"keepdims must be True or False, not {shown(keepdims)}")
    out = make(op, x, axes=(), dims=dims) if dims else x
    if keepdims:
        out = reshape(out, tuple(1 if d in dims else n for d, n in enumerate(x.type.shape)))
    return out


def reduce_sum(x: Operand, dims: Any = None, keepdims: bool = False) -> Node:
    """Sum over event dimensions."""
    return reduce("sum", x, dims, keepdims)


def sum_axes(x: Node, axes: Sequence[Axis]) -> Node:
    """Sum over named axes (those that `x` has)."""
    own = tuple(a for a in x.type.axes if a in axes)
    return make("sum", x, axes=own, dims=()) if own else x


def size(axis: Axis) -> Node:
    """The length of a named axis as a float scalar."""
    return const(float(axis.size)) if axis.size is not None else make("size", axis=axis)


def argmax(x: Operand) -> Node:
    """Index of the first maximum along the last event dimension."""
    return make("argmax", as_node(x))


def cumsum(x: Operand) -> Node:
    """Running sums along the last event dimension, added up in order."""
    return make("cumsum", cast(x, "float"))


def reshape(x: Operand, shape: Sequence[int]) -> Node:
    """Reshape the event."""
    x, shape = as_node(x), tuple(int(n) for n in shape)
    return x if x.type.shape == shape else make("reshape", x, shape=shape)


def transpose(x: Operand, perm: Sequence[int] | None = None) -> Node:
    """Permute event dimensions (reverse them by default)."""
    x = as_node(x)
    rank = len(x.type.shape)
    perm = tuple(range(rank))[::-1] if perm is None else tuple(int(p) % rank for p in perm)
    return x if perm == tuple(range(rank)) else make("transpose", x, perm=perm)


def window(x: Node, window_: Sequence[tuple[int, int, int]]) -> Node:
    """Strided event window: (start, length, step) per dimension."""
    full = tuple((0, n, 1) for n in x.type.shape)
    return x if tuple(window_) == full else make("slice", x, window=tuple(window_))


def concat(values: Sequence[Operand], dim: int = 0) -> Node:
    """Concatenate along an event dimension."""
    nodes = promote([as_node(v) for v in values])
    if any(not n.type.shape for n in nodes):
        raise ShapeError("cannot concatenate scalars; use np.stack")
    axes = union_axes(*(n.type.axes for n in nodes))
    nodes = [expand(n, axes) for n in nodes]
    return nodes[0] if len(nodes) == 1 else make("concat", *nodes, dim=int(dim) % len(nodes[0].type.shape))


def take(table: Operand, index: Operand) -> Node:
    """Rows of `table` at integer `index`."""
    table, index = as_node(table), as_node(index)
    axes = union_axes(table.type.axes, index.type.axes)
    return make("take", expand(table, axes), expand(index, axes))


def einsum(a: Operand, la: str, b: Operand, lb: str, out: str, over: tuple[Axis, ...] = ()) -> Node:
    """Contraction of two operands over event labels missing from `out` and named axes `over`."""
    a, b = cast(a, "float"), cast(b, "float")
    axes = union_axes(a.type.axes, b.type.axes)
    return make("contract", expand(a, axes), expand(b, axes), a=la, b=lb, out=out, over=over)


def matmul(a: Operand, b: Operand) -> Node:
    """NumPy's `@` on event axes: vectors, matrices and stacks of matrices."""
    a, b = as_node(a), as_node(b)
    ra, rb = len(a.type.shape), len(b.type.shape)
    if not ra or not rb:
        raise ShapeError("matmul does not take scalars; use *")
    inner_a, inner_b = a.type.shape[-1], b.type.shape[0 if rb == 1 else -2]
    if inner_a != inner_b:
        raise ShapeError(f"matmul: event shapes {a.type.shape} and {b.type.shape} do not fit ({inner_a} != {inner_b})")
    batch = string.ascii_lowercase[: max(ra, rb) - 2] if max(ra, rb) > 2 else ""
    if batch:
        lead = np.broadcast_shapes(a.type.shape[:-2], b.type.shape[:-2])
        a = expand(a, (), lead + a.type.shape[-2:]) if ra >= 2 else a
        b = expand(b, (), lead + b.type.shape[-2:]) if rb >= 2 else b
    la = "y" if ra == 1 else batch + "xy"
    lb = "y" if rb == 1 else batch + "yz"
    out = (batch if ra > 1 or rb > 1 else "") + ("x" if ra > 1 else "") + ("z" if rb > 1 else "")
    return einsum(a, la, b, lb, out)


def collect(x: Node, axis: Axis) -> Node:
    """A fixed-size named axis as leading event dimension."""
    return make("collect", expand(x, (axis,)), axis=axis)


def distribute(x: Node, axis: Axis) -> Node:
    """The leading event dimension as named axis `axis`."""
    return make("distribute", x, axis=axis)
