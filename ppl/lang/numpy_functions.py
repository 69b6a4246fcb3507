"""NumPy functions on values (`np.where`, `np.concatenate`, …): the formulas, and one flat table at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang import elementwise as el
from ppl.lang.contraction import einsum, inner, tensordot
from ppl.lang.source import user_line
from ppl.lang.value import Value, as_value, lift


def _reduction(method: str) -> Callable[..., Value]:
    def rule(a: Any, axis: Any = None, keepdims: bool = False, **options: Any) -> Value:
        return getattr(as_value(a), method)(axis=axis, keepdims=keepdims, **options)

    return rule


def _scalar_or_tuple(axis: Any) -> tuple[int, ...]:
    return (axis,) if isinstance(axis, (int, np.integer)) else tuple(axis)


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


def expand_dims(a: Any, axis: Any) -> Value:
    """np.expand_dims."""
    a = as_value(a)
    rank = a.ndim + len(_scalar_or_tuple(axis))
    new = {d % rank if -rank <= d < rank else rank for d in _scalar_or_tuple(axis)}
    if rank in new or len(new) != rank - a.ndim:
        raise ShapeError(
            f"np.expand_dims: axis {axis} does not fit event shape {a.shape}\n  at {user_line()}"
        )
    old = iter(a.shape)
    return a.reshape([1 if d in new else next(old) for d in range(rank)])


def squeeze(a: Any, axis: Any = None) -> Value:
    """np.squeeze."""
    a = as_value(a)
    dims = (
        [d for d, n in enumerate(a.shape) if n == 1]
        if axis is None
        else [d % a.ndim for d in _scalar_or_tuple(axis)]
    )
    if any(a.shape[d] != 1 for d in dims):
        raise ShapeError(
            f"np.squeeze: axis {axis} of event shape {a.shape} is not 1 long\n  at {user_line()}"
        )
    return a.reshape([n for d, n in enumerate(a.shape) if d not in dims])


def moveaxis(a: Any, source: Any, destination: Any) -> Value:
    """np.moveaxis."""
    a = as_value(a)
    sources = [d % a.ndim for d in _scalar_or_tuple(source)]
    targets = [d % a.ndim for d in _scalar_or_tuple(destination)]
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


def clip(a: Any, a_min: Any = None, a_max: Any = None, min: Any = None, max: Any = None) -> Value:  # noqa: A002
    """np.clip."""
    low, high = a_min if min is None else min, a_max if max is None else max
    out = as_value(a)
    out = out if low is None else lift("np.clip", ops.maximum, out, low)
    return out if high is None else lift("np.clip", ops.minimum, out, high)


def dot(a: Any, b: Any) -> Value:
    """np.dot, for operands of up to two axes."""
    a, b = as_value(a), as_value(b)
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    if a.ndim > 2 or b.ndim > 2:
        raise ShapeError(
            f"np.dot of event shapes {a.shape} and {b.shape}: use @ or np.einsum\n  at {user_line()}"
        )
    return a @ b


def outer(a: Any, b: Any) -> Value:
    """np.outer."""
    return as_value(a).reshape(-1, 1) * as_value(b).reshape(1, -1)


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


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Value:  # noqa: A002
    """np.linalg.norm: of vectors with ord 1, 2 or inf, Frobenius of matrices. The gradient at 0 is NaN."""
    x = as_value(x)
    vectors = isinstance(axis, (int, np.integer)) or (axis is None and x.ndim == 1)
    if ord in (None, "fro") or (ord == 2 and vectors):
        return lift("np.linalg.norm", ops.sqrt, (x * x).sum(axis, keepdims))
    if ord == 1 and vectors:
        return abs(x).sum(axis, keepdims)
    if ord == np.inf and vectors:
        return abs(x).max(axis, keepdims)
    raise ShapeError(
        f"np.linalg.norm: ord={ord!r} for event shape {x.shape}, axis={axis} has no rule\n  at {user_line()}"
    )


def average(a: Any, axis: Any = None, weights: Any = None) -> Value:
    """np.average."""
    a = as_value(a)
    if weights is None:
        return a.mean(axis)
    weights = as_value(weights)
    if weights.shape != a.shape and axis is not None and weights.ndim == 1:
        weights = weights.reshape([-1 if d == axis % a.ndim else 1 for d in range(a.ndim)])
    weights = broadcast_to(weights, a.shape)
    return (a * weights).sum(axis) / weights.sum(axis)


def broadcast_to(array: Any, shape: Any) -> Value:
    """np.broadcast_to."""
    wanted = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    return lift("np.broadcast_to", ops.expand, array, axes=(), shape=wanted)


def full_like(a: Any, fill_value: Any) -> Value:
    """np.full_like."""
    return broadcast_to(fill_value, as_value(a).shape)


def flip(m: Any, axis: Any = None) -> Value:
    """np.flip."""
    m = as_value(m)
    dims = range(m.ndim) if axis is None else [d % m.ndim for d in _scalar_or_tuple(axis)]
    return m[tuple(slice(None, None, -1) if d in dims else slice(None) for d in range(m.ndim))]


def tile(A: Any, reps: Any) -> Value:
    """np.tile."""
    value = as_value(A)
    counts = _scalar_or_tuple(reps)
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


def diff(a: Any, n: int = 1, axis: int = -1) -> Value:
    """np.diff."""
    a = as_value(a)
    for _ in range(n):
        a = take(a, slice(1, None), axis) - take(a, slice(None, -1), axis)
    return a


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


def _triangle(make: Callable[..., np.ndarray]) -> Callable[..., Value]:
    def rule(m: Any, k: int = 0) -> Value:
        m = as_value(m)
        return lift(make.__name__, lambda x: ops.where(make(np.ones(x.type.shape, bool), k), x, 0), m)

    return rule


def _atleast_2d_rows(arrays: Sequence[Any]) -> list[Value]:
    values = [as_value(a) for a in arrays]
    return [v.reshape(1, -1) if v.ndim < 2 else v for v in values]


def hstack(arrays: Sequence[Any]) -> Value:
    """np.hstack."""
    values = [as_value(a) for a in arrays]
    values = [v.reshape(1) if v.ndim == 0 else v for v in values]
    return concatenate(values, 0 if values[0].ndim == 1 else 1)


def select(conditions: Sequence[Any], choices: Sequence[Any], default: Any = 0) -> Value:
    """np.select: the first choice whose condition is true."""
    out = as_value(default)
    for condition, choice in reversed(list(zip(conditions, choices, strict=True))):
        out = lift("np.select", ops.where, condition, choice, out)
    return out


def where(condition: Any, *choices: Any) -> Value:
    """np.where with three arguments."""
    if len(choices) != 2:
        raise ShapeError(f"np.where of a symbolic value takes three arguments\n  at {user_line()}")
    return lift("np.where", ops.where, condition, *choices)


def reshape(a: Any, shape: Any = None, newshape: Any = None) -> Value:
    """np.reshape."""
    wanted = newshape if shape is None else shape
    return as_value(a).reshape(_scalar_or_tuple(wanted))


FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    np.where: where,
    np.select: select,
    np.clip: clip,
    np.sum: _reduction("sum"),
    np.mean: _reduction("mean"),
    np.max: _reduction("max"),
    np.amax: _reduction("max"),
    np.min: _reduction("min"),
    np.amin: _reduction("min"),
    np.var: _reduction("var"),
    np.std: _reduction("std"),
    np.any: _reduction("any"),
    np.all: _reduction("all"),
    np.average: average,
    np.argmax: lambda a, axis=None: as_value(a).argmax(axis),
    np.argmin: lambda a, axis=None: (-as_value(a)).argmax(axis),
    np.cumsum: lambda a, axis=None: lift("np.cumsum", el.cumsum, a, axis=axis),
    np.diff: diff,
    np.linalg.norm: norm,
    np.concatenate: concatenate,
    np.stack: stack,
    np.vstack: lambda tup: concatenate(_atleast_2d_rows(tup), 0),
    np.hstack: hstack,
    np.split: split,
    np.array_split: lambda ary, indices_or_sections, axis=0: [
        take(ary, p, axis) for p in np.array_split(np.arange(as_value(ary).shape[axis]), indices_or_sections)
    ],
    np.tile: tile,
    np.repeat: repeat,
    np.roll: roll,
    np.flip: flip,
    np.reshape: reshape,
    np.ravel: lambda a: as_value(a).ravel(),
    np.transpose: lambda a, axes=None: as_value(a).transpose(*(axes or ())),
    np.expand_dims: expand_dims,
    np.squeeze: squeeze,
    np.moveaxis: moveaxis,
    np.swapaxes: swapaxes,
    np.broadcast_to: broadcast_to,
    np.take: take,
    np.diagonal: diagonal,
    np.diag: diag,
    np.trace: lambda a: diagonal(a).sum(),
    np.tril: _triangle(np.tril),
    np.triu: _triangle(np.triu),
    np.dot: dot,
    np.vdot: lambda a, b: dot(as_value(a).ravel(), as_value(b).ravel()),
    np.inner: inner,
    np.outer: outer,
    np.tensordot: tensordot,
    np.einsum: einsum,
    np.zeros_like: lambda a: full_like(a, 0.0),
    np.ones_like: lambda a: full_like(a, 1.0),
    np.full_like: full_like,
    np.shape: lambda a: a.shape,
    np.ndim: lambda a: a.ndim,
    np.size: lambda a, axis=None: a.size if axis is None else a.shape[axis],
    np.copy: lambda a: as_value(a),
}

REFUSED: dict[str, str] = {
    "prod": "use np.exp(np.sum(np.log(x))) for positive entries, or multiply them one by one",
    "cumprod": "use np.exp(np.cumsum(np.log(x))) for positive entries",
    "sort": "sorting has no rule; use ppl.external",
    "argsort": "sorting has no rule; use ppl.external",
    "array": "use np.stack",
    "round": "use np.floor(x + 0.5)",
    "nan_to_num": "use np.where(np.isnan(x), 0.0, x)",
}
