"""NumPy functions on values (`np.where`, `np.sum`, …): the formulas, and one flat table at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ppl.arguments import integer
from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.axes import axes_of, axis_of, whole_numbers
from ppl.lang.arrays import elementwise as el
from ppl.lang.arrays.contraction import einsum, inner, tensordot
from ppl.lang.arrays.linalg import LINALG
from ppl.lang.arrays.numpy_shapes import (
    along,
    array_split,
    as_rows,
    broadcast_to,
    concatenate,
    diag,
    diagonal,
    expand_dims,
    flip,
    hstack,
    moveaxis,
    repeat,
    reshape,
    roll,
    split,
    stack,
    swapaxes,
    take,
    tile,
    trace,
)
from ppl.lang.arrays.refusals import IN_PLACE
from ppl.lang.context import current
from ppl.lang.source import user_line
from ppl.lang.value import Value, as_value, lift


def _reduction(method: str) -> Callable[..., Value]:
    def rule(a: Any, axis: Any = None, keepdims: bool = False, **options: Any) -> Value:
        return getattr(as_value(a), method)(axis=axis, keepdims=keepdims, **options)

    return rule


def _position(label: str, formula: Callable[..., Any]) -> Callable[..., Value]:
    def rule(a: Any, axis: int | None = None, *, keepdims: bool = False) -> Value:
        return lift(label, formula, a, axis=axis, keepdims=keepdims)

    return rule


def outer(a: Any, b: Any) -> Value:
    """np.outer."""
    return as_value(a).reshape(-1, 1) * as_value(b).reshape(1, -1)


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Value:
    """np.linalg.norm: of vectors with ord 1, 2 or inf, Frobenius of matrices. The gradient at 0 is NaN."""
    x = as_value(x).astype("float")
    count = x.ndim if axis is None else len(axes_of(x.shape, axis))
    vectors = isinstance(axis, (int, np.integer)) or (axis is None and x.ndim == 1)
    plain = ord is None and (axis is None or 0 < count <= 2)
    if plain or (isinstance(ord, str) and ord == "fro" and count == 2) or (vectors and ord == 2):
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
    if weights.shape != a.shape:
        dim = axis_of(a.shape, axis)
        if weights.shape != a.shape[dim : dim + 1]:
            raise ShapeError(f"weights of shape {weights.shape} for axis {axis} of event shape {a.shape}")
        weights = weights.reshape([-1 if d == dim else 1 for d in range(a.ndim)])
    weights = broadcast_to(weights, a.shape)
    return (a * weights).sum(axis) / weights.sum(axis)


def clip(a: Any, a_min: Any = None, a_max: Any = None, min: Any = None, max: Any = None) -> Value:
    """np.clip."""
    if (a_min is not None or a_max is not None) and (min is not None or max is not None):
        raise ShapeError("give a_min and a_max, or min and max, not both")
    return as_value(a).clip(a_min if min is None else min, a_max if max is None else max)


def full_like(a: Any, fill_value: Any) -> Value:
    """np.full_like: of the dtype of `a`."""
    a = as_value(a)
    return broadcast_to(as_value(fill_value).astype(a.dtype), a.shape)


def diff(a: Any, n: int = 1, axis: int = -1) -> Value:
    """np.diff."""
    a = as_value(a)
    dim = axis_of(a.shape, axis)
    for _ in range(integer("n", n, 0, error=ShapeError)):
        later, earlier = along(a, slice(1, None), dim), along(a, slice(None, -1), dim)
        a = later ^ earlier if a.dtype == "bool" else later - earlier
    return a


def _triangle(make: Callable[..., np.ndarray]) -> Callable[..., Value]:
    def rule(m: Any, k: int = 0) -> Value:
        m = as_value(m)
        zero = False if m.dtype == "bool" else 0
        return lift(make.__name__, lambda x: ops.where(make(np.ones(x.type.shape, bool), k), x, zero), m)

    return rule


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Value:
    """np.select: the first choice whose condition is true."""
    if not len(condlist) or len(condlist) != len(choicelist):
        raise ShapeError(f"{len(condlist)} conditions and {len(choicelist)} choices")
    out = as_value(default)
    for condition, choice in reversed(list(zip(condlist, choicelist, strict=True))):
        if as_value(condition).dtype != "bool":
            raise ShapeError(f"a condition must be truth values, not {as_value(condition).dtype}")
        out = _chosen("np.select", condition, choice, out)
    return out


def where(condition: Any, *choices: Any) -> Value:
    """np.where with three arguments."""
    if len(choices) != 2:
        raise ShapeError(f"np.where of a symbolic value takes three arguments\n  at {user_line()}")
    return _chosen("np.where", condition, *choices)


def _chosen(label: str, condition: Any, choice: Any, other: Any) -> Value:
    found = lift(label, ops.where, condition, choice, other)
    context = current()
    if context is not None:
        context.trace.choices.append(found.node)
    return found


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
    np.argmax: _position("np.argmax", el.argmax),
    np.argmin: _position("np.argmin", el.argmin),
    np.cumsum: lambda a, axis=None: lift("np.cumsum", el.cumsum, a, axis=axis),
    np.diff: diff,
    np.linalg.norm: norm,
    **LINALG,
    np.concatenate: concatenate,
    np.stack: stack,
    np.vstack: lambda tup: concatenate(as_rows(tup), 0),
    np.hstack: hstack,
    np.split: split,
    np.array_split: array_split,
    np.tile: tile,
    np.repeat: repeat,
    np.roll: roll,
    np.flip: flip,
    np.reshape: reshape,
    np.ravel: lambda a: as_value(a).ravel(),
    np.transpose: lambda a, axes=None: lift(
        "np.transpose", el.transpose, a, perm=None if axes is None else whole_numbers("axes", axes)
    ),
    np.expand_dims: expand_dims,
    np.squeeze: lambda a, axis=None: as_value(a).squeeze(axis),
    np.moveaxis: moveaxis,
    np.swapaxes: swapaxes,
    np.broadcast_to: broadcast_to,
    np.take: take,
    np.diagonal: diagonal,
    np.diag: diag,
    np.trace: trace,
    np.tril: _triangle(np.tril),
    np.triu: _triangle(np.triu),
    np.dot: lambda a, b: as_value(a).dot(b),
    np.vdot: lambda a, b: as_value(a).ravel().dot(as_value(b).ravel()),
    np.inner: inner,
    np.outer: outer,
    np.tensordot: tensordot,
    np.einsum: einsum,
    np.zeros_like: lambda a: full_like(a, 0),
    np.ones_like: lambda a: full_like(a, 1),
    np.full_like: full_like,
    np.shape: lambda a: a.shape,
    np.ndim: lambda a: a.ndim,
    np.size: lambda a, axis=None: a.size if axis is None else a.shape[axis_of(a.shape, axis)],
    np.copy: lambda a: as_value(a),
}

REFUSED: dict[str, str] = {
    **IN_PLACE,
    "prod": "use np.exp(np.sum(np.log(x))) for positive entries, or multiply them one by one",
    "cumprod": "use np.exp(np.cumsum(np.log(x))) for positive entries",
    "sort": "sorting has no rule; use ppl.external",
    "argsort": "sorting has no rule; use ppl.external",
    "array": "use np.stack",
    "round": "use np.floor(x + 0.5)",
    "nan_to_num": "use np.where(np.isnan(x), 0.0, x)",
}
