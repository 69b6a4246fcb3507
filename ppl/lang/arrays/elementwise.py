"""Formulas in IR for the NumPy and SciPy functions that are not themselves ops: on nodes, event axes only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ppl.arguments import number
from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.axes import axes_of, axis_of, whole_numbers
from ppl.ir.node import Node
from ppl.lang.arrays import arithmetic as ar

LOG_2 = math.log(2.0)


def not_equal(a: Node, b: Node) -> Node:
    """a != b."""
    return ops.logical_not(ops.equal(a, b))


def _bits(nodes: tuple[Node, ...]) -> None:
    if any(n.type.dtype != "bool" for n in nodes):
        raise ShapeError(f"bit operations take truth values, not {', '.join(n.type.dtype for n in nodes)}")


def bit_and(a: Node, b: Node) -> Node:
    """a & b of truth values."""
    _bits((a, b))
    return ops.logical_and(a, b)


def bit_or(a: Node, b: Node) -> Node:
    """a | b of truth values."""
    _bits((a, b))
    return ops.logical_or(a, b)


def bit_not(a: Node) -> Node:
    """~a of truth values."""
    _bits((a,))
    return ops.logical_not(a)


def logical_xor(a: Node, b: Node) -> Node:
    """Whether exactly one of a, b is true."""
    return ops.logical_not(ops.equal(ops.cast(a, "bool"), ops.cast(b, "bool")))


def bit_xor(a: Node, b: Node) -> Node:
    """a ^ b of truth values."""
    _bits((a, b))
    return logical_xor(a, b)


def is_nan(x: Node) -> Node:
    """Whether x is NaN; not x <= inf, which no algebraic rewrite folds."""
    return ops.logical_not(ops.less_equal(ops.cast(x, "float"), np.inf))


def ceil(x: Node) -> Node:
    """Smallest integer not below x."""
    return ops.neg(ops.floor(ops.neg(x)))


def trunc(x: Node) -> Node:
    """x rounded towards zero."""
    return ops.where(ops.less(x, 0.0), ceil(x), ops.floor(x))


def sinh(x: Node) -> Node:
    """Hyperbolic sine, exact near 0."""
    return ops.mul(0.5, ops.sub(ops.expm1(x), ops.expm1(ops.neg(x))))


def cosh(x: Node) -> Node:
    """Hyperbolic cosine."""
    return ops.mul(0.5, ops.add(ops.exp(x), ops.exp(ops.neg(x))))


def arcsin(x: Node) -> Node:
    """Inverse sine."""
    return ops.atan(ops.div(x, ops.sqrt(ops.mul(ops.sub(1.0, x), ops.add(1.0, x)))))


def arctanh(x: Node) -> Node:
    """Inverse hyperbolic tangent."""
    return ops.mul(0.5, ops.sub(ops.log1p(x), ops.log1p(ops.neg(x))))


def logaddexp(a: Node, b: Node) -> Node:
    """log(exp a + exp b); two equal infinities stay what they are."""
    same = ops.equal(*(ops.stop(x, "formula") for x in ops.broadcast(a, b)))
    gap = ops.where(same, 0.0, ops.sub(a, b))
    return ops.add(ops.maximum(a, b), ops.log1p(ops.exp(ops.neg(ops.absolute(ops.cast(gap, "float"))))))


def logit(p: Node) -> Node:
    """log p - log(1 - p)."""
    return ops.sub(ops.log(p), ops.log1p(ops.neg(p)))


def xlogy(x: Node, y: Node) -> Node:
    """x log y, and 0 where x = 0 and y <= 0."""
    edge = ops.logical_and(ops.equal(x, 0.0), ops.less_equal(y, 0.0))
    return ops.mul(x, ops.log(ops.where(edge, 1.0, y)))


def xlog1py(x: Node, y: Node) -> Node:
    """x log(1 + y), and 0 where x = 0 and y <= -1."""
    edge = ops.logical_and(ops.equal(x, 0.0), ops.less_equal(y, -1.0))
    return ops.mul(x, ops.log1p(ops.where(edge, 0.0, y)))


def entr(x: Node) -> Node:
    """-x log x; 0 at 0 and -inf below."""
    inside = ops.less(0.0, x)
    value = ops.neg(ops.mul(x, ops.log(ops.where(inside, x, 1.0))))
    return ops.where(inside, value, ops.where(ops.equal(x, 0.0), 0.0, -np.inf))


# --- reductions and shapes ------------------------------------------------------------------------------


def _count(x: Node, dims: Any) -> int:
    kept = ops.reduce_sum(x, dims).type.event_size
    return x.type.event_size // max(kept, 1)


def _divisor(x: Node, dims: Any, ddof: float = 0) -> float:
    """The number of entries of each mean, less `ddof`."""
    n = number("ddof", ddof, error=ShapeError)
    count = _count(x, dims)
    if not n < count:
        listed = f"{count} entries over axis {dims} of event shape {x.type.shape}"
        raise ShapeError(f"{listed}, less ddof={ddof}, leave nothing to divide by")
    return count - n


def mean(x: Node, dims: Any = None, keepdims: bool = False) -> Node:
    """Mean over event dimensions."""
    return ops.mul(ops.reduce_sum(ops.cast(x, "float"), dims, keepdims), 1.0 / _divisor(x, dims))


def variance(x: Node, dims: Any = None, ddof: int = 0, keepdims: bool = False) -> Node:
    """Variance over event dimensions."""
    x = ops.cast(x, "float")
    centred = ops.sub(x, mean(x, dims, keepdims=True))
    return ops.mul(ops.reduce_sum(ar.square(centred), dims, keepdims), 1.0 / _divisor(x, dims, ddof))


def amax(x: Node, dims: Any = None, keepdims: bool = False) -> Node:
    """Maximum over event dimensions."""
    if any(x.type.shape[d] == 0 for d in axes_of(x.type.shape, dims)):
        raise ShapeError(f"axis {dims} of event shape {x.type.shape} has no entries")
    found = ops.reduce("amax", x, dims, keepdims)
    return ops.cast(found, "bool") if ar.truths(x) else found


def amin(x: Node, dims: Any = None, keepdims: bool = False) -> Node:
    """Minimum over event dimensions."""
    if ar.truths(x):
        return ops.logical_not(amax(ops.logical_not(x), dims, keepdims))
    return ops.neg(amax(ops.neg(x), dims, keepdims))


def any_true(x: Node, dims: Any = None, keepdims: bool = False) -> Node:
    """Whether some entry is true."""
    if not x.type.event_size:
        return ops.less(0, ops.reduce_sum(ops.cast(x, "bool"), dims, keepdims))
    return amax(ops.cast(x, "bool"), dims, keepdims)


def all_true(x: Node, dims: Any = None, keepdims: bool = False) -> Node:
    """Whether all entries are true."""
    return ops.logical_not(any_true(ops.logical_not(x), dims, keepdims))


def dim_of(x: Node, axis: int) -> int:
    """`axis` as a non-negative event dimension."""
    return axis_of(x.type.shape, axis)


def move(x: Node, source: int, target: int) -> Node:
    """Move one event dimension."""
    order = [d for d in range(len(x.type.shape)) if d != source]
    order.insert(target, source)
    return ops.transpose(x, order)


def argmax(x: Node, axis: int | None = None, keepdims: bool = False) -> Node:
    """Index of the first maximum along one event dimension (of the ravelled event by default)."""
    x = ops.cast(x, "int") if x.type.dtype == "bool" else x
    shape = x.type.shape
    if not x.type.event_size:
        raise ShapeError(f"event shape {shape} has no entries")
    if axis is None:
        found, dims = ops.argmax(ops.reshape(x, (x.type.event_size,))), tuple(range(len(shape)))
    else:
        dims = (dim_of(x, axis),)
        found = ops.argmax(move(x, dims[0], len(shape) - 1))
    return ops.reshape(found, [1 if d in dims else n for d, n in enumerate(shape)]) if keepdims else found


def argmin(x: Node, axis: int | None = None, keepdims: bool = False) -> Node:
    """Index of the first minimum."""
    return argmax(ops.neg(x if x.type.dtype == "float" else ops.cast(x, "int")), axis, keepdims)


def reshape(x: Node, shape: tuple[int, ...]) -> Node:
    """Reshape the event; one entry may be -1."""
    shape = whole_numbers("a length", shape, -1)
    if shape.count(-1) > 1:
        raise ShapeError(f"cannot reshape the event to {shape}: more than one -1")
    if -1 in shape:
        rest = math.prod(n for n in shape if n != -1)
        if rest == 0 or x.type.event_size % rest:
            raise ShapeError(f"cannot reshape event shape {x.type.shape} to {shape}")
        shape = tuple(x.type.event_size // rest if n == -1 else n for n in shape)
    return ops.reshape(x, shape)


def transpose(x: Node, perm: tuple[int, ...] | None = None) -> Node:
    """Permute event dimensions."""
    if perm is None:
        return ops.transpose(x)
    if len(perm) != len(x.type.shape):
        raise ShapeError(f"transpose: {perm} does not list the axes of event shape {x.type.shape}")
    return ops.transpose(x, [dim_of(x, p) for p in perm])


def cumsum(x: Node, axis: int | None = None) -> Node:
    """Cumulative sum along one event dimension, by a product with a triangular matrix of ones."""
    if axis is None:
        x, axis = ops.reshape(x, (x.type.event_size,)), 0
    dim, dtype = dim_of(x, axis), x.type.dtype
    last = len(x.type.shape) - 1
    moved = move(x, dim, last)
    out = ops.matmul(ops.cast(moved, "float"), np.triu(np.ones((x.type.shape[dim],) * 2)))
    return ops.cast(move(out, last, dim), "float" if dtype == "float" else "int")


def squeeze(x: Node, axis: Any = None) -> Node:
    """Drop event dimensions of length 1."""
    shape = x.type.shape
    dims = [d for d, n in enumerate(shape) if n == 1] if axis is None else list(axes_of(shape, axis))
    if any(shape[d] != 1 for d in dims):
        raise ShapeError(f"axis {axis} of event shape {shape} is not 1 long")
    return ops.reshape(x, [n for d, n in enumerate(shape) if d not in dims])


def dot(a: Node, b: Node) -> Node:
    """Product of scalars, vectors and matrices."""
    ranks = len(a.type.shape), len(b.type.shape)
    if 0 in ranks:
        return ar.multiply(a, b)
    if max(ranks) > 2:
        raise ShapeError(f"dot of event shapes {a.type.shape} and {b.type.shape}: use @ or np.einsum")
    return ar.matmul(a, b)
