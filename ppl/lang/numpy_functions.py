"""NumPy and SciPy functions on symbolic values: formulas, tables of functions and ufuncs, dispatch.

Ufuncs are looked up by name, so that scipy.special need not be imported."""

from __future__ import annotations

import difflib
import functools
import inspect
import string
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ppl.arguments import array, flag, integer
from ppl.errors import ModelError, ShapeError
from ppl.ir import cdfs, ops
from ppl.ir.node import Node
from ppl.ir.ops import event_axes, event_axis, integer_tuple
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.lang import formulas as el
from ppl.lang.context import current_context
from ppl.lang.formulas import cast_sum_of_products
from ppl.lang.source import CALL_ERRORS, raise_malformed_call, user_line
from ppl.lang.value import IN_PLACE_FUNCTIONS, Value, as_value, lift, register_numpy_handlers
from ppl.names import keywords

__all__ = ["FUNCTIONS", "UFUNCS", "Value", "call_function", "call_ufunc", "refuse_function"]


def einsum(subscripts: str, *operands: Any, optimize: Any = None) -> Value:
    """np.einsum with subscripts in one string, no label twice in one operand; contracts left to right."""
    return lift("np.einsum", lambda *nodes: _einsum_nodes(subscripts, nodes), *operands)


def _einsum_nodes(subscripts: str, nodes: tuple[Node, ...]) -> Node:
    if not isinstance(subscripts, str):
        raise ShapeError("subscripts must be a string such as 'ij,j->i'")
    labels, out = _einsum_labels(subscripts.replace(" ", ""), nodes)
    acc, mine = nodes[0], labels[0]
    for i in range(1, len(nodes)):
        later = set(out).union(*labels[i + 1 :])
        acc, mine = _sum_out_labels(acc, mine, later | set(labels[i]))
        other, theirs = _sum_out_labels(nodes[i], labels[i], later | set(mine))
        kept = "".join(dict.fromkeys(c for c in mine + theirs if c in later))
        kept = out if i == len(nodes) - 1 else kept
        acc, mine = ops.einsum(acc, mine, other, theirs, kept), kept
    acc, mine = _sum_out_labels(acc, mine, set(out))
    return cast_sum_of_products(ops.transpose(acc, [mine.index(c) for c in out]) if out else acc, *nodes)


def _einsum_labels(subscripts: str, nodes: tuple[Node, ...]) -> tuple[list[str], str]:
    """Labels of each operand and of the result, with "..." spelt out."""
    left, arrow, right = subscripts.partition("->")
    parts = left.split(",")
    if len(parts) != len(nodes):
        raise ShapeError(f"{len(parts)} subscripts for {len(nodes)} operands")
    spare = [c for c in string.ascii_letters if c not in subscripts]
    if not set(subscripts) <= set(string.ascii_letters + ".,->"):
        raise ShapeError(f"subscripts {subscripts!r} must be letters")
    widths = [len(n.type.shape) - len(p.replace("...", "")) for p, n in zip(parts, nodes, strict=True)]
    widest = max((w for p, w in zip(parts, widths, strict=True) if "..." in p), default=0)
    dots = "".join(spare[:widest])
    labels = []
    for part, width, node in zip(parts, widths, nodes, strict=True):
        full = part.replace("...", dots[widest - width :] if width > 0 else "")
        if len(full) != len(node.type.shape):
            raise ShapeError(f"subscripts {part!r} do not fit event shape {node.type.shape}")
        if len(set(full)) != len(full):
            raise ShapeError(f"subscripts {part!r} repeat a label; use np.diagonal")
        labels.append(full)
    every = "".join(labels)
    if not arrow:
        right = ("..." if dots else "") + "".join(sorted(c for c in set(every) - set(dots) if every.count(c) == 1))
    out = right.replace("...", dots)
    if len(set(out)) != len(out) or not set(out) <= set(every):
        raise ShapeError(f"output subscripts {right!r} do not fit {left!r}")
    return labels, out


def _sum_out_labels(x: Node, labels: str, kept: set[str]) -> tuple[Node, str]:
    """Sum out the labels that are needed nowhere else."""
    dims = [d for d, c in enumerate(labels) if c not in kept]
    return (ops.reduce_sum(x, dims) if dims else x), "".join(c for c in labels if c in kept)


def tensordot(a: Any, b: Any, axes: Any = 2) -> Value:
    """np.tensordot."""
    a, b = as_value(a), as_value(b)
    if isinstance(axes, (int, np.integer)):
        of_a, of_b = event_axes(a.shape, range(-int(axes), 0), "axes"), event_axes(b.shape, range(int(axes)), "axes")
    else:
        first, second = axes
        of_a, of_b = event_axes(a.shape, first, "axes"), event_axes(b.shape, second, "axes")
    if len(of_a) != len(of_b):
        raise ShapeError(f"np.tensordot: axes {axes} are not as many of the one as of the other\n  at {user_line()}")
    la = list(string.ascii_lowercase[: a.ndim])
    lb = list(string.ascii_uppercase[: b.ndim])
    for i, j in zip(of_a, of_b, strict=True):
        lb[j] = la[i]
    shared = {la[i] for i in of_a}
    out = [c for c in la + lb if c not in shared]
    return einsum(f"{''.join(la)},{''.join(lb)}->{''.join(out)}", a, b)


def inner(a: Any, b: Any) -> Value:
    """np.inner."""
    a, b = as_value(a), as_value(b)
    return a * b if a.ndim == 0 or b.ndim == 0 else tensordot(a, b, (-1, -1))


class Slogdet(NamedTuple):
    """Sign and logarithm of the absolute value of determinants, as NumPy returns them."""

    sign: Value
    logabsdet: Value


def cholesky(a: Any, /, *, upper: bool = False) -> Value:
    """np.linalg.cholesky: of the lower triangle, or of the upper one if `upper`; NaN if not positive definite."""
    flag("upper", upper, ShapeError)
    if not upper:
        return lift("np.linalg.cholesky", ops.cholesky, a)
    return lift("np.linalg.cholesky", lambda x: ops.matrix_transpose(ops.cholesky(_transpose_matrices(x))), a)


def _transpose_matrices(x: Node) -> Node:
    """Matrices transposed; anything else as it is, to be refused."""
    return ops.matrix_transpose(x) if len(x.type.shape) >= 2 else x


def slogdet(a: Any) -> Slogdet:
    """np.linalg.slogdet: (0, -inf) of singular matrices."""
    sign, size = (lift("np.linalg.slogdet", rule, a) for rule in (ops.sign_det, ops.log_det))
    return Slogdet(sign, size)


LINALG_FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    np.linalg.cholesky: cholesky,
    np.linalg.solve: lambda a, b: lift("np.linalg.solve", ops.solve, a, b),
    np.linalg.inv: lambda a: lift("np.linalg.inv", ops.inverse, a),
    np.linalg.det: lambda a: lift("np.linalg.det", ops.det, a),
    np.linalg.slogdet: slogdet,
}


@keywords
def solve_triangular(a: Any, b: Any, lower: bool = True, trans: bool = False) -> Any:
    """x with a x = b, or with a^T x = b if `trans`, for triangular matrices a, on values and arrays.

    Parameters
    ----------
    a : shape (…, d, d); what stands on the other side of the diagonal is not read.
    b : a vector (d,), or columns (…, d, k); leading axes broadcast, as in `np.linalg.solve`.
    lower : whether `a` is a lower triangle, else an upper one.
    trans : whether the transpose of `a` is meant.

    Returns
    -------
    A value, or an array if `a` and `b` are arrays; infinite or NaN where the diagonal has a 0.

    Raises
    ------
    ShapeError
        The shapes do not fit.
    """
    flag("solve_triangular: lower", lower, ShapeError)
    flag("solve_triangular: trans", trans, ShapeError)
    if isinstance(a, Value) or isinstance(b, Value):
        return lift("solve_triangular", ops.solve_triangular, a, b, lower=lower, trans=trans)
    a, b = array("solve_triangular: a", a, ShapeError), array("solve_triangular: b", b, ShapeError)
    kind = np.float32 if a.dtype == b.dtype == np.float32 else np.float64
    return evaluate([ops.solve_triangular(a, b, lower, trans)], Env(dtype=kind))[0]


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
            out = ops.concat(nodes, el.normalized_dim(nodes[0], axis))
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
    rank = a.ndim + len(integer_tuple("axis", axis))
    new = event_axes((1,) * rank, axis)
    old = iter(a.shape)
    return a.reshape([1 if d in new else next(old) for d in range(rank)])


def moveaxis(a: Any, source: Any, destination: Any) -> Value:
    """np.moveaxis."""
    a = as_value(a)
    sources = event_axes(a.shape, integer_tuple("source", source), "source")
    targets = event_axes(a.shape, integer_tuple("destination", destination), "destination")
    if len(sources) != len(targets):
        raise ShapeError(f"{len(sources)} axes of source and {len(targets)} of destination")
    order = [d for d in range(a.ndim) if d not in sources]
    for target, origin in sorted(zip(targets, sources, strict=True)):
        order.insert(target, origin)
    return a.transpose(order)


def swapaxes(a: Any, axis1: int, axis2: int) -> Value:
    """np.swapaxes."""
    a = as_value(a)
    first, second = event_axis(a.shape, axis1, "axis1"), event_axis(a.shape, axis2, "axis2")
    order = list(range(a.ndim))
    order[first], order[second] = second, first
    return a.transpose(order)


def reshape(a: Any, shape: Any = None, newshape: Any = None) -> Value:
    """np.reshape."""
    wanted = newshape if shape is None else shape
    return as_value(a).reshape(integer_tuple("shape", wanted))


def broadcast_to(array: Any, shape: Any) -> Value:
    """np.broadcast_to."""
    return lift("np.broadcast_to", ops.expand, array, axes=(), shape=integer_tuple("shape", shape, 0))


def index_along(a: Value, key: Any, dim: int) -> Value:
    """The entries at `key`, an index or a slice, of dimension `dim`."""
    return a[(slice(None),) * dim + (key,)]


def take(a: Any, indices: Any, axis: int | None = None) -> Value:
    """np.take; truth values count as 0 and 1."""
    a = as_value(a)
    if not isinstance(indices, Value):
        indices = np.asarray(indices)
        indices = indices.astype(np.int64) if indices.dtype == bool else indices
    return index_along(a.ravel(), indices, 0) if axis is None else index_along(a, indices, event_axis(a.shape, axis))


def _axis_positions(a: Value, axis: int) -> tuple[int, np.ndarray]:
    """A dimension, and the numbers of its entries."""
    dim = event_axis(a.shape, axis)
    return dim, np.arange(a.shape[dim])


def _require_static(name: str, value: Any) -> Any:
    if isinstance(value, Value):
        raise ShapeError(f"{name} must be known when the model is traced, and is a symbolic value")
    return value


def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Value]:
    """np.split."""
    a = as_value(ary)
    dim, places = _axis_positions(a, axis)
    return _slices_along(a, dim, np.split(places, _require_static("indices_or_sections", indices_or_sections)))


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Value]:
    """np.array_split."""
    a = as_value(ary)
    dim, places = _axis_positions(a, axis)
    return _slices_along(a, dim, np.array_split(places, _require_static("indices_or_sections", indices_or_sections)))


def _slices_along(a: Value, dim: int, parts: Sequence[np.ndarray]) -> list[Value]:
    return [index_along(a, slice(int(p[0]), int(p[-1]) + 1) if len(p) else slice(0, 0), dim) for p in parts]


def flip(m: Any, axis: Any = None) -> Value:
    """np.flip."""
    m = as_value(m)
    dims = event_axes(m.shape, axis)
    return m[tuple(slice(None, None, -1) if d in dims else slice(None) for d in range(m.ndim))]


def tile(A: Any, reps: Any) -> Value:
    """np.tile."""
    value = as_value(A)
    counts = integer_tuple("reps", reps, 0)
    counts = (1,) * (value.ndim - len(counts)) + counts
    value = value.reshape((1,) * (len(counts) - value.ndim) + value.shape)
    for d, n in enumerate(counts):
        if n == 0:
            value = index_along(value, slice(0, 0), d)
        value = concatenate([value] * n, d) if n > 1 else value
    return value


def repeat(a: Any, repeats: Any, axis: int | None = None) -> Value:
    """np.repeat."""
    a = as_value(a).ravel() if axis is None else as_value(a)
    dim, places = _axis_positions(a, 0 if axis is None else axis)
    return index_along(a, np.repeat(places, integer_tuple("repeats", repeats, 0)), dim)


def roll(a: Any, shift: Any, axis: Any = None) -> Value:
    """np.roll: one shift or several, each along its axis; one shift or axis goes with all of the others."""
    a = as_value(a)
    if axis is None:
        return roll(a.ravel(), sum(_integer_tuple("shift", shift)), 0).reshape(a.shape)
    shifts, axes = _integer_tuple("shift", shift), _integer_tuple("axis", axis)
    if len(shifts) != len(axes) and 1 not in (len(shifts), len(axes)):
        raise ShapeError(f"{len(shifts)} shifts for {len(axes)} axes")
    pairs = zip(shifts * len(axes) if len(shifts) == 1 else shifts, axes * len(shifts) if len(axes) == 1 else axes,
                strict=True)  # fmt: skip
    for each, along_axis in pairs:
        dim, places = _axis_positions(a, along_axis)
        a = index_along(a, np.roll(places, each), dim)
    return a


def _integer_tuple(name: str, value: Any) -> tuple[int, ...]:
    """A whole number, or a sequence of them, as a tuple."""
    if isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str) and np.ndim(value):
        return tuple(integer(name, v, error=ShapeError) for v in value)
    return (integer(name, value, error=ShapeError),)


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """np.diagonal: of the matrices along two axes, along a last axis of the result."""
    a, k = as_value(a), integer("offset", offset, error=ShapeError)
    if a.ndim < 2:
        raise ShapeError(f"it takes a matrix, not event shape {a.shape}")
    first, second = event_axis(a.shape, axis1, "axis1"), event_axis(a.shape, axis2, "axis2")
    if first == second:
        raise ShapeError(f"axis1 and axis2 are both {first}")
    rest = [d for d in range(a.ndim) if d not in (first, second)]
    rows, columns = a.shape[first], a.shape[second]
    flat = a.transpose([*rest, first, second]).reshape([*(a.shape[d] for d in rest), rows * columns])
    start = k if k >= 0 else -k * columns
    count = max(min(rows + min(k, 0), columns - max(k, 0)), 0)
    key = slice(start, start + (count - 1) * (columns + 1) + 1, columns + 1) if count else slice(0, 0)
    return index_along(flat, key, len(rest))


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


def _reduction_rule(method: str) -> Callable[..., Value]:
    def rule(a: Any, axis: Any = None, keepdims: bool = False, **options: Any) -> Value:
        return getattr(as_value(a), method)(axis=axis, keepdims=keepdims, **options)

    return rule


def _argmax_rule(label: str, formula: Callable[..., Any]) -> Callable[..., Value]:
    def rule(a: Any, axis: int | None = None, *, keepdims: bool = False) -> Value:
        return lift(label, formula, a, axis=axis, keepdims=keepdims)

    return rule


def outer(a: Any, b: Any) -> Value:
    """np.outer."""
    return as_value(a).reshape(-1, 1) * as_value(b).reshape(1, -1)


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Value:
    """np.linalg.norm: of vectors with ord 1, 2 or inf, Frobenius of matrices. The gradient at 0 is NaN."""
    x = as_value(x).astype("float")
    count = x.ndim if axis is None else len(event_axes(x.shape, axis))
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
        dim = event_axis(a.shape, axis)
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
    dim = event_axis(a.shape, axis)
    for _ in range(integer("n", n, 0, error=ShapeError)):
        later, earlier = index_along(a, slice(1, None), dim), index_along(a, slice(None, -1), dim)
        a = later ^ earlier if a.dtype == "bool" else later - earlier
    return a


def _triangle_rule(make: Callable[..., np.ndarray]) -> Callable[..., Value]:
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
        out = _noted_where("np.select", condition, choice, out)
    return out


def where(condition: Any, *choices: Any) -> Value:
    """np.where with three arguments."""
    if len(choices) != 2:
        raise ShapeError(f"np.where of a symbolic value takes three arguments\n  at {user_line()}")
    return _noted_where("np.where", condition, *choices)


def _noted_where(label: str, condition: Any, choice: Any, other: Any) -> Value:
    found = lift(label, ops.where, condition, choice, other)
    context = current_context()
    if context is not None:
        context.trace.choices.append(found.node)
    return found


FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    np.where: where,
    np.select: select,
    np.clip: clip,
    np.sum: _reduction_rule("sum"),
    np.mean: _reduction_rule("mean"),
    np.max: _reduction_rule("max"),
    np.amax: _reduction_rule("max"),
    np.min: _reduction_rule("min"),
    np.amin: _reduction_rule("min"),
    np.var: _reduction_rule("var"),
    np.std: _reduction_rule("std"),
    np.any: _reduction_rule("any"),
    np.all: _reduction_rule("all"),
    np.average: average,
    np.argmax: _argmax_rule("np.argmax", el.argmax),
    np.argmin: _argmax_rule("np.argmin", el.argmin),
    np.cumsum: lambda a, axis=None: lift("np.cumsum", el.cumsum, a, axis=axis),
    np.diff: diff,
    np.linalg.norm: norm,
    **LINALG_FUNCTIONS,
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
        "np.transpose", el.transpose, a, perm=None if axes is None else integer_tuple("axes", axes)
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
    np.tril: _triangle_rule(np.tril),
    np.triu: _triangle_rule(np.triu),
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
    np.size: lambda a, axis=None: a.size if axis is None else a.shape[event_axis(a.shape, axis)],
    np.copy: lambda a: as_value(a),
}

REFUSED_FUNCTIONS: dict[str, str] = {
    **IN_PLACE_FUNCTIONS,
    "prod": "use np.exp(np.sum(np.log(x))) for positive entries, or multiply them one by one",
    "cumprod": "use np.exp(np.cumsum(np.log(x))) for positive entries",
    "sort": "sorting has no rule; use ppl.external",
    "argsort": "sorting has no rule; use ppl.external",
    "array": "use np.stack",
    "round": "use np.floor(x + 0.5)",
    "nan_to_num": "use np.where(np.isnan(x), 0.0, x)",
}

UFUNCS: dict[str, Callable[..., Node]] = {
    "add": el.add,
    "subtract": el.subtract,
    "multiply": el.multiply,
    "divide": ops.div,
    "true_divide": ops.div,
    "floor_divide": el.floor_divide,
    "remainder": el.remainder,
    "power": el.power,
    "float_power": lambda a, b: ops.cast(el.power(a, b), "float"),
    "matmul": el.matmul,
    "vecdot": el.vecdot,
    "negative": el.negative,
    "positive": el.positive,
    "absolute": el.absolute,
    "fabs": lambda x: ops.cast(ops.absolute(x), "float"),
    "sign": el.sign,
    "floor": el.rounding_rule(ops.floor),
    "ceil": el.rounding_rule(el.ceil),
    "trunc": el.rounding_rule(el.trunc),
    "maximum": el.maximum,
    "minimum": el.minimum,
    "exp": ops.exp,
    "exp2": lambda x: ops.exp(ops.mul(x, el.LOG_2)),
    "expm1": ops.expm1,
    "log": ops.log,
    "log2": lambda x: ops.mul(ops.log(x), 1 / el.LOG_2),
    "log10": lambda x: ops.mul(ops.log(x), 1 / np.log(10.0)),
    "log1p": ops.log1p,
    "logaddexp": el.logaddexp,
    "sqrt": ops.sqrt,
    "square": el.square,
    "reciprocal": el.reciprocal,
    "hypot": lambda a, b: ops.sqrt(ops.add(el.square(a), el.square(b))),
    "sin": ops.sin,
    "cos": ops.cos,
    "tan": ops.tan,
    "arcsin": el.arcsin,
    "arccos": lambda x: ops.sub(np.pi / 2, el.arcsin(x)),
    "arctan": ops.atan,
    "sinh": el.sinh,
    "cosh": el.cosh,
    "tanh": ops.tanh,
    "arctanh": el.arctanh,
    "deg2rad": lambda x: ops.mul(x, np.pi / 180),
    "rad2deg": lambda x: ops.mul(x, 180 / np.pi),
    "less": ops.less,
    "less_equal": ops.less_equal,
    "greater": lambda a, b: ops.less(b, a),
    "greater_equal": lambda a, b: ops.less_equal(b, a),
    "equal": ops.equal,
    "not_equal": el.not_equal,
    "logical_and": ops.logical_and,
    "logical_or": ops.logical_or,
    "logical_xor": el.logical_xor,
    "logical_not": ops.logical_not,
    "bitwise_and": el.bit_and,
    "bitwise_or": el.bit_or,
    "bitwise_xor": el.bit_xor,
    "invert": el.bit_not,
    "isnan": el.is_nan,
    "isfinite": lambda x: ops.less(ops.absolute(x), np.inf),
    "isinf": lambda x: ops.equal(ops.absolute(x), np.inf),
    # scipy.special
    "expit": ops.sigmoid,
    "log_expit": ops.log_sigmoid,
    "logit": el.logit,
    "gammaln": el.gammaln,
    "psi": el.digamma,
    "digamma": el.digamma,
    "betaln": el.betaln,
    "erf": ops.erf,
    "erfc": ops.erfc,
    "erfinv": ops.erfinv,
    "ndtr": ops.ndtr,
    "ndtri": ops.ndtri,
    "log_ndtr": ops.log_ndtr,
    "gammainc": cdfs.gammainc,
    "gammaincc": cdfs.gammaincc,
    "gammaincinv": cdfs.gammaincinv,
    "gammainccinv": cdfs.gammainccinv,
    "betainc": cdfs.betainc,
    "betaincinv": cdfs.betaincinv,
    "stdtr": cdfs.student_cdf,
    "stdtrit": cdfs.student_icdf,
    "xlogy": el.xlogy,
    "xlog1py": el.xlog1py,
    "entr": el.entr,
}

UFUNC_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "add": np.sum,
    "maximum": np.max,
    "minimum": np.min,
    "logical_and": np.all,
    "logical_or": np.any,
}


def _qualified_name(name: str) -> str:
    """A function's name with its module."""
    module = "np" if hasattr(np, name) else "np.linalg" if hasattr(np.linalg, name) else "scipy.special"
    return f"{module}.{name}"


def refuse_function(name: str, known: Iterable[str], hint: str = "") -> NoReturn:
    """Raise the ModelError for a function that has no rule, naming close alternatives."""
    close = difflib.get_close_matches(name.rsplit(".", 1)[-1], list(known), n=3, cutoff=0.5)
    advice = hint or ("close to it: " + ", ".join(map(_qualified_name, close)) if close else "")
    advice = advice or "write it with NumPy ufuncs, or as ppl.external"
    raise ModelError(f"{name} has no rule for symbolic values; {advice}\n  at {user_line()}")


def call_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`Value.__array_ufunc__`: the call, `.reduce`, `.accumulate` (of add) and `.outer`."""
    name = ufunc.__name__
    if kwargs.get("out") is not None:
        raise ModelError(
            f"np.{name}: values are immutable and arrays cannot hold them; drop out= (and use a = a + b "
            f"rather than array += value)\n  at {user_line()}"
        )
    if method == "reduce" and name in UFUNC_REDUCTIONS:
        return UFUNC_REDUCTIONS[name](inputs[0], **{"axis": 0, **kwargs})
    if method == "accumulate" and name == "add":
        return np.cumsum(inputs[0], **{"axis": 0, **kwargs})
    rule = UFUNCS.get(name)
    if rule is None or method not in ("__call__", "outer"):
        refuse_function(f"np.{name}" + ("" if method == "__call__" else f".{method}"), UFUNCS)
    extra = sorted(k for k, v in kwargs.items() if v is not None)
    if extra:
        raise ModelError(f"np.{name}: {', '.join(extra)} cannot be used with symbolic values\n  at {user_line()}")
    if method == "outer":
        a, b = (as_value(x) for x in inputs)
        inputs = (a.reshape(*a.shape, *(1,) * b.ndim), b)
    return lift(f"np.{name}", rule, *inputs)


@functools.cache
def _positional_arguments(function: Callable[..., Any], rule: Callable[..., Any]) -> tuple[int, tuple[str, ...]]:
    """The number of arguments that go to `rule` by position, and NumPy's names of those after them.

    They part where NumPy's order has an argument (dtype, out, ...) that the rule lacks.
    """
    try:
        theirs = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return 0, ()
    ours = list(inspect.signature(rule).parameters.values())
    if any(p.kind is p.VAR_POSITIONAL for p in (*ours, *theirs)):
        return 0, ()
    names = [p.name for p in theirs if p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD)]
    own = [p.name for p in ours if p.kind is p.POSITIONAL_OR_KEYWORD]
    first = next((i for i in range(1, len(names)) if i >= len(own) or names[i] != own[i]), len(names))
    return first, tuple(names[first:])


def call_function(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`Value.__array_function__`."""
    rule = FUNCTIONS.get(function)
    module = function.__module__.replace("numpy", "np")
    label = f"{module}.{function.__name__}"
    if rule is None:
        names = [f.__name__ for f in FUNCTIONS] + list(UFUNCS)
        refuse_function(label, names, REFUSED_FUNCTIONS.get(function.__name__, ""))
    first, later = _positional_arguments(function, rule)
    kwargs = {**kwargs, **dict(zip(later, args[first:], strict=False))}
    args = args[:first] if later else args
    if isinstance(kwargs.get("order"), str) and kwargs["order"] == "C":
        del kwargs["order"]
    for option in ("out", "dtype", "where", "initial", "casting", "order"):
        if kwargs.pop(option, None) is not None:
            raise ModelError(
                f"np.{function.__name__}: {option}= cannot be used with symbolic values\n  at {user_line()}"
            )
    try:
        return rule(*args, **kwargs)
    except ShapeError as error:
        if "\n  at " in str(error):
            raise
        raise ShapeError(f"{label}: {error}\n  at {user_line()}") from None
    except CALL_ERRORS as error:
        raise_malformed_call(label, args, kwargs, error)


register_numpy_handlers(call_ufunc, call_function)
