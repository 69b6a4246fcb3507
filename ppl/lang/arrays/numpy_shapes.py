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


def roll(a: Any, shift: Any, axis: Any = None) -> Value:
    """np.roll: one shift or several, each along its axis; one shift or axis goes with all of the others."""
    a = as_value(a)
    if axis is None:
        return roll(a.ravel(), sum(_integers("shift", shift)), 0).reshape(a.shape)
    shifts, axes = _integers("shift", shift), _integers("axis", axis)
    if len(shifts) != len(axes) and 1 not in (len(shifts), len(axes)):
        raise ShapeError(f"{len(shifts)} shifts for {len(axes)} axes")
    pairs = zip(shifts * len(axes) if len(shifts) == 1 else shifts, axes * len(shifts) if len(axes) == 1 else axes,
                strict=True)  # fmt: skip
    for each, along_axis in pairs:
        dim, places = _places(a, along_axis)
        a = along(a, np.roll(places, each), dim)
    return a


def _integers(name: str, value: Any) -> tuple[int, ...]:
    """A whole number, or a sequence of them, as a tuple."""
    if isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str) and np.ndim(value):
        return tuple(integer(name, v, error=ShapeError) for v in value)
    return (integer(name, value, error=ShapeError),)


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """np.diagonal: of the matrices along two axes, along a last axis of the result."""
    a, k = as_value(a), integer("offset", offset, error=ShapeError)
    if a.ndim < 2:
        raise ShapeError(f"it takes a matrix, not event shape {a.shape}")
    first, second = axis_of(a.shape, axis1, "axis1"), axis_of(a.shape, axis2, "axis2")
    if first == second:
        raise ShapeError(f"axis1 and axis2 are both {first}")
    rest = [d for d in range(a.ndim) if d not in (first, second)]
    rows, columns = a.shape[first], a.shape[second]
    flat = a.transpose([*rest, first, second]).reshape([*(a.shape[d] for d in rest), rows * columns])
    start = k if k >= 0 else -k * columns
    count = max(min(rows + min(k, 0), columns - max(k, 0)), 0)
    key = slice(start, start + (count - 1) * (columns + 1) + 1, columns + 1) if count else slice(0, 0)
    return along(flat, key, len(rest))


def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """np.trace."""
    return diagonal(a, offset, axis1, axis2).sum(-1)


def diag(v: Any, k: int = 0) -> Value:
    """np.diag: a diagonal of a matrix, or the matrix of a diagonal."""
    v, k = as_value(v), integer("k", k, error=ShapeError)
    if v.ndim == 2:
        return diagonal(v, k)
    if v.ndim != 1:
        raise ShapeError(f"it takes a vector or a matrix, not event shape {v.shape}")
    zero = False if v.dtype == "bool" else 0
    padded = concatenate([v, np.full(abs(k), zero)]) if k else v
    wide = padded.reshape(-1, 1) if k >= 0 else padded.reshape(1, -1)
    there = np.eye(padded.shape[0], k=k, dtype=bool)
    return lift("np.diag", lambda x: ops.where(there, x, zero), wide)
