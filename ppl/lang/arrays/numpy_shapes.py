"""NumPy functions on values that rearrange event axes or entries: joining, splitting, moving, repeating."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppl.arguments import integer
from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.axes import axes_of, axis_of, whole_numbers
from ppl.ir.node import Node
from ppl.lang.arrays import elementwise as el
from ppl.lang.source import user_line
from ppl.lang.value import Value, as_value, lift


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
    rank = a.ndim + len(whole_numbers("axis", axis))
    new = axes_of((1,) * rank, axis)
    old = iter(a.shape)
    return a.reshape([1 if d in new else next(old) for d in range(rank)])


def moveaxis(a: Any, source: Any, destination: Any) -> Value:
    """np.moveaxis."""
    a = as_value(a)
    sources = axes_of(a.shape, whole_numbers("source", source), "source")
    targets = axes_of(a.shape, whole_numbers("destination", destination), "destination")
    if len(sources) != len(targets):
        raise ShapeError(f"{len(sources)} axes of source and {len(targets)} of destination")
    order = [d for d in range(a.ndim) if d not in sources]
    for target, origin in sorted(zip(targets, sources, strict=True)):
        order.insert(target, origin)
    return a.transpose(order)


def swapaxes(a: Any, axis1: int, axis2: int) -> Value:
    """np.swapaxes."""
    a = as_value(a)
    first, second = axis_of(a.shape, axis1, "axis1"), axis_of(a.shape, axis2, "axis2")
    order = list(range(a.ndim))
    order[first], order[second] = second, first
    return a.transpose(order)


def reshape(a: Any, shape: Any = None, newshape: Any = None) -> Value:
    """np.reshape."""
    wanted = newshape if shape is None else shape
    return as_value(a).reshape(whole_numbers("shape", wanted))


def broadcast_to(array: Any, shape: Any) -> Value:
    """np.broadcast_to."""
    return lift("np.broadcast_to", ops.expand, array, axes=(), shape=whole_numbers("shape", shape, 0))


def along(a: Value, key: Any, dim: int) -> Value:
    """The entries at `key`, an index or a slice, of dimension `dim`."""
    return a[(slice(None),) * dim + (key,)]


def take(a: Any, indices: Any, axis: int | None = None) -> Value:
    """np.take; truth values count as 0 and 1."""
    a = as_value(a)
    if not isinstance(indices, Value):
        indices = np.asarray(indices)
        indices = indices.astype(np.int64) if indices.dtype == bool else indices
    return along(a.ravel(), indices, 0) if axis is None else along(a, indices, axis_of(a.shape, axis))


def _places(a: Value, axis: int) -> tuple[int, np.ndarray]:
    """A dimension, and the numbers of its entries."""
    dim = axis_of(a.shape, axis)
    return dim, np.arange(a.shape[dim])


def _static(name: str, value: Any) -> Any:
    if isinstance(value, Value):
        raise ShapeError(f"{name} must be known when the model is traced, and is a symbolic value")
    return value


def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Value]:
    """np.split."""
    a = as_value(ary)
    dim, places = _places(a, axis)
    return _cut(a, dim, np.split(places, _static("indices_or_sections", indices_or_sections)))


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Value]:
    """np.array_split."""
    a = as_value(ary)
    dim, places = _places(a, axis)
    return _cut(a, dim, np.array_split(places, _static("indices_or_sections", indices_or_sections)))


def _cut(a: Value, dim: int, parts: Sequence[np.ndarray]) -> list[Value]:
    return [along(a, slice(int(p[0]), int(p[-1]) + 1) if len(p) else slice(0, 0), dim) for p in parts]


def flip(m: Any, axis: Any = None) -> Value:
    """np.flip."""
    m = as_value(m)
    dims = axes_of(m.shape, axis)
    return m[tuple(slice(None, None, -1) if d in dims else slice(None) for d in range(m.ndim))]


def tile(A: Any, reps: Any) -> Value:
    """np.tile."""
    value = as_value(A)
    counts = whole_numbers("reps", reps, 0)
    counts = (1,) * (value.ndim - len(counts)) + counts
    value = value.reshape((1,) * (len(counts) - value.ndim) + value.shape)
    for d, n in enumerate(counts):
        if n == 0:
            value = along(value, slice(0, 0), d)
        value = concatenate([value] * n, d) if n > 1 else value
    return value


def repeat(a: Any, repeats: Any, axis: int | None = None) -> Value:
    """np.repeat."""
    a = as_value(a).ravel() if axis is None else as_value(a)
    dim, places = _places(a, 0 if axis is None else axis)
    return along(a, np.repeat(places, whole_numbers("repeats", repeats, 0)), dim)


def roll(a: Any, shift: int, axis: int | None = None) -> Value:
    """np.roll by one shift."""
    a = as_value(a)
    if axis is None:
        return roll(a.ravel(), shift, 0).reshape(a.shape)
    dim, places = _places(a, axis)
    return along(a, np.roll(places, integer("shift", shift, error=ShapeError)), dim)


def diagonal(a: Any) -> Value:
    """np.diagonal of a square matrix."""
    a = as_value(a)
    if a.ndim != 2 or a.shape[0] != a.shape[1]:
        raise ShapeError(f"np.diagonal takes a square matrix, not event shape {a.shape}\n  at {user_line()}")
    return a.ravel()[:: a.shape[0] + 1]


def diag(v: Any) -> Value:
    """np.diag: the diagonal of a matrix, or the matrix of a diagonal."""
    v = as_value(v)
    if v.ndim not in (1, 2):
        raise ShapeError(f"it takes a vector or a matrix, not event shape {v.shape}")
    return diagonal(v) if v.ndim == 2 else v.reshape(-1, 1) * np.eye(v.shape[0])
