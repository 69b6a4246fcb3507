"""NumPy functions on values that rearrange event axes or entries: joining, splitting, moving, repeating."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang import elementwise as el
from ppl.lang.source import user_line
from ppl.lang.value import Value, as_value, lift


def axes_tuple(axis: Any) -> tuple[int, ...]:
    """One axis or several, as a tuple."""
    return (int(axis),) if isinstance(axis, (int, np.integer)) else tuple(int(d) for d in axis)


def concatenate(arrays: Sequence[Any], axis: int | None = 0) -> Value:
    """np.concatenate."""
    if axis is None:
        return concatenate([as_value(a).ravel() for a in arrays])
    ranks = {as_value(a).ndim for a in arrays}
    if len(ranks) > 1:
        shapes = ", ".join(str(as_value(a).shape) for a in arrays)
        raise ShapeError(f"np.concatenate: event shapes {shapes} differ in rank\n  at {user_line()}")

    def rule(*nodes: Node) -> Node:
        if nodes[0].type.shape:
            out = ops.concat(nodes, el.dim_of(nodes[0], axis))
            return ops.cast(out, "bool") if all(n.type.dtype == "bool" for n in nodes) else out
        return ops.concat(nodes)

    return lift("np.concatenate", rule, *arrays)


def stack(arrays: Sequence[Any], axis: int = 0) -> Value:
    """np.stack."""
    values = [as_value(a) for a in arrays]
    if len({v.shape for v in values}) > 1:
        shapes = ", ".join(str(v.shape) for v in values)
        raise ShapeError(f"np.stack: event shapes {shapes} are not equal\n  at {user_line()}")
    return concatenate([expand_dims(v, axis) for v in values], axis)


def as_rows(arrays: Sequence[Any]) -> list[Value]:
    """Scalars and vectors as matrices of one row."""
    values = [as_value(a) for a in arrays]
    return [v.reshape(1, -1) if v.ndim < 2 else v for v in values]


def hstack(arrays: Sequence[Any]) -> Value:
    """np.hstack."""
    values = [as_value(a) for a in arrays]
    values = [v.reshape(1) if v.ndim == 0 else v for v in values]
    return concatenate(values, 0 if values[0].ndim == 1 else 1)


def expand_dims(a: Any, axis: Any) -> Value:
    """np.expand_dims."""
    a = as_value(a)
    rank = a.ndim + len(axes_tuple(axis))
    new = {d % rank if -rank <= d < rank else rank for d in axes_tuple(axis)}
    if rank in new or len(new) != rank - a.ndim:
        raise ShapeError(f"np.expand_dims: axis {axis} does not fit event shape {a.shape}\n  at {user_line()}")
    old = iter(a.shape)
    return a.reshape([1 if d in new else next(old) for d in range(rank)])


def moveaxis(a: Any, source: Any, destination: Any) -> Value:
    """np.moveaxis."""
    a = as_value(a)
    sources = [d % a.ndim for d in axes_tuple(source)]
    targets = [d % a.ndim for d in axes_tuple(destination)]
    order = [d for d in range(a.ndim) if d not in sources]
    for target, origin in sorted(zip(targets, sources, strict=True)):
        order.insert(target, origin)
    return a.transpose(order)


def swapaxes(a: Any, axis1: int, axis2: int) -> Value:
    """np.swapaxes."""
    a = as_value(a)
    order = list(range(a.ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return a.transpose(order)


def reshape(a: Any, shape: Any = None, newshape: Any = None) -> Value:
    """np.reshape."""
    wanted = newshape if shape is None else shape
    return as_value(a).reshape(axes_tuple(wanted))


def broadcast_to(array: Any, shape: Any) -> Value:
    """np.broadcast_to."""
    wanted = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    return lift("np.broadcast_to", ops.expand, array, axes=(), shape=wanted)


def take(a: Any, indices: Any, axis: int | None = None) -> Value:
    """np.take."""
    a = as_value(a)
    if axis is None:
        return a.ravel()[indices]
    return a[(slice(None),) * (axis % a.ndim) + (indices,)]


def split(a: Any, indices_or_sections: Any, axis: int = 0) -> list[Value]:
    """np.split and np.array_split."""
    a = as_value(a)
    places = np.split(np.arange(a.shape[axis]), indices_or_sections)
    return [take(a, slice(int(p[0]) if len(p) else 0, int(p[-1]) + 1 if len(p) else 0), axis) for p in places]


def flip(m: Any, axis: Any = None) -> Value:
    """np.flip."""
    m = as_value(m)
    dims = range(m.ndim) if axis is None else [d % m.ndim for d in axes_tuple(axis)]
    return m[tuple(slice(None, None, -1) if d in dims else slice(None) for d in range(m.ndim))]


def tile(A: Any, reps: Any) -> Value:
    """np.tile."""
    value = as_value(A)
    counts = axes_tuple(reps)
    counts = (1,) * (value.ndim - len(counts)) + counts
    value = value.reshape((1,) * (len(counts) - value.ndim) + value.shape)
    for d, n in enumerate(counts):
        value = concatenate([value] * n, d) if n > 1 else value
    return value


def repeat(a: Any, repeats: Any, axis: int | None = None) -> Value:
    """np.repeat."""
    a = as_value(a).ravel() if axis is None else as_value(a)
    axis = 0 if axis is None else axis
    return take(a, np.repeat(np.arange(a.shape[axis]), repeats), axis)


def roll(a: Any, shift: int, axis: int | None = None) -> Value:
    """np.roll by one shift."""
    a = as_value(a)
    if axis is None:
        return roll(a.ravel(), shift, 0).reshape(a.shape)
    return take(a, np.roll(np.arange(a.shape[axis]), shift), axis)


def diagonal(a: Any) -> Value:
    """np.diagonal of a square matrix."""
    a = as_value(a)
    if a.ndim != 2 or a.shape[0] != a.shape[1]:
        raise ShapeError(f"np.diagonal takes a square matrix, not event shape {a.shape}\n  at {user_line()}")
    return a.ravel()[:: a.shape[0] + 1]


def diag(v: Any) -> Value:
    """np.diag: the diagonal of a matrix, or the matrix of a diagonal."""
    v = as_value(v)
    return diagonal(v) if v.ndim == 2 else v.reshape(-1, 1) * np.eye(v.shape[0])
