"""Array operations as formulas on IR nodes: arithmetic, elementwise functions, reductions, shapes and indexing.

All act on event axes. Kinds of results are NumPy's: the IR has no sums or products of truth values, so `+` and `max` of
two are their or, `*` and `min` their and; what NumPy refuses (`-` of truth values) is refused. `ppl.lang.value` and
`ppl.lang.numpy_functions` apply these formulas to symbolic values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ppl.arguments import masked, number
from ppl.distributions.bounds import bounds_of
from ppl.distributions.intervals import POSITIVE
from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.ops import Operand, event_axes, event_axis, integer_tuple


def all_bool(*nodes: Node) -> bool:
    """Whether all of `nodes` are truth values."""
    return all(n.type.dtype == "bool" for n in nodes)


def all_whole(*nodes: Node) -> bool:
    """Whether all of `nodes` are integers or truth values."""
    return all(n.type.dtype != "float" for n in nodes)


def cast_sum_of_products(out: Node, *nodes: Node) -> Node:
    """A sum of products of `nodes` in their kind: integers of integers, of truth values whether any product is true."""
    return ops.cast(out, "bool" if all_bool(*nodes) else "int") if all_whole(*nodes) else out


def add(a: Node, b: Node) -> Node:
    """a + b; of truth values a or b."""
    return ops.logical_or(a, b) if all_bool(a, b) else ops.add(a, b)


def subtract(a: Node, b: Node) -> Node:
    """a - b, but not of truth values."""
    if all_bool(a, b):
        raise ShapeError("truth values cannot be subtracted: use a ^ b, or a.astype(int) - b")
    return ops.sub(a, b)


def multiply(a: Node, b: Node) -> Node:
    """a * b; of truth values a and b."""
    return ops.logical_and(a, b) if all_bool(a, b) else ops.mul(a, b)


def maximum(a: Node, b: Node) -> Node:
    """The larger one; of truth values a or b."""
    return ops.logical_or(a, b) if all_bool(a, b) else ops.maximum(a, b)


def minimum(a: Node, b: Node) -> Node:
    """The smaller one; of truth values a and b."""
    return ops.logical_and(a, b) if all_bool(a, b) else ops.minimum(a, b)


def matmul(a: Node, b: Node) -> Node:
    """a @ b."""
    return cast_sum_of_products(ops.matmul(a, b), a, b)


def vecdot(a: Node, b: Node) -> Node:
    """Sum of products over the last dimension, which is as long in both."""
    if a.type.shape[-1:] != b.type.shape[-1:]:
        raise ShapeError(f"vectors of event shapes {a.type.shape} and {b.type.shape} differ in length")
    return cast_sum_of_products(ops.reduce_sum(ops.mul(a, b), -1), a, b)


def absolute(x: Node) -> Node:
    """|x|; a truth value as it is."""
    return x if all_bool(x) else ops.absolute(x)


def refusing_bool(function: Callable[[Any], Node]) -> Callable[[Node], Node]:
    """`function` of numbers; truth values have no sign."""

    def rule(x: Node) -> Node:
        if all_bool(x):
            raise ShapeError("truth values have no sign: use ~x, or x.astype(int)")
        return function(x)

    return rule


negative, positive, sign = refusing_bool(ops.neg), refusing_bool(lambda x: x), refusing_bool(ops.sign)


def rounding_rule(function: Callable[[Any], Node]) -> Callable[[Node], Node]:
    """`function` that rounds; whole numbers stay what they are."""
    return lambda x: x if all_whole(x) else function(x)


def square(x: Node) -> Node:
    """x * x."""
    return ops.mul(x, x)


def reciprocal(x: Node) -> Node:
    """1 / x of floats; NumPy's of an integer is an integer, hardly what is meant."""
    if all_whole(x):
        raise ShapeError("the reciprocal of an integer is an integer, mostly 0: use 1 / x")
    return ops.div(1.0, x)


def power(a: Node, b: Node) -> Node:
    """a ** b; small constant exponents become products, whose derivative has no logarithm.

    Integers to a constant whole power from 0 are integers; other powers are floats, of integers too, so that negative
    exponents are fractions.
    """
    exponent = b.attrs["value"].value if b.op == "const" and not b.type.shape else None
    if exponent is None:
        return ops.power(a, b)
    if exponent.dtype.kind != "f" and all_whole(a) and exponent >= 0:
        return _whole_power(ops.cast(a, "int"), int(exponent))
    known = {
        0.5: lambda: ops.sqrt(a),
        1: lambda: a if a.type.dtype != "bool" else ops.cast(a, "int"),
        2: lambda: square(a),
        3: lambda: ops.mul(square(a), a),
        4: lambda: square(square(a)),
        -1: lambda: ops.div(1.0, a),
        -2: lambda: ops.div(1.0, square(a)),
    }
    formula = known.get(float(exponent))
    out = formula() if formula else ops.power(a, b)
    return ops.cast(out, "float") if exponent.dtype.kind == "f" else out


def _whole_power(a: Node, exponent: int) -> Node:
    """a ** exponent of integers, by squaring."""
    out = ops.expand(ops.const(1), a.type.axes, a.type.shape)
    while exponent:
        out = ops.mul(out, a) if exponent % 2 else out
        exponent //= 2
        a = square(a) if exponent else a
    return out


def floor_divide(a: Node, b: Node) -> Node:
    """floor(a / b), an integer if both are; of integers 0 where b is 0."""
    return _divmod_whole(a, b)[0] if all_whole(a, b) else ops.floor(ops.div(a, b))


def remainder(a: Node, b: Node) -> Node:
    """a - b floor(a / b), with the sign of b; of integers 0 where b is 0."""
    return _divmod_whole(a, b)[1] if all_whole(a, b) else ops.sub(a, ops.mul(b, floor_divide(a, b)))


QUOTIENT_ESTIMATES = 4
"""Quotients that are estimated in floats, each of what the one before left: of 63 bits float32 finds 23 at a time."""


def _divmod_whole(a: Node, b: Node) -> tuple[Node, Node]:
    """Quotient and remainder of integers, both exact, and 0 where b is 0."""
    none = ops.equal(b, 0)
    divisor, left = ops.where(none, 1, ops.cast(b, "int")), ops.cast(a, "int")
    quotient: Node | None = None
    for _ in range(QUOTIENT_ESTIMATES):
        estimate = ops.cast(ops.floor(ops.div(left, divisor)), "int")
        left = ops.sub(left, ops.mul(estimate, divisor))
        quotient = estimate if quotient is None else ops.add(quotient, estimate)
    assert quotient is not None
    for _ in range(2):  # an estimate of less than 1 may round to its neighbour, on either side
        step = _quotient_correction(left, divisor)
        quotient, left = ops.add(quotient, step), ops.sub(left, ops.mul(step, divisor))
    return ops.where(none, 0, quotient), ops.where(none, 0, left)


def _quotient_correction(left: Node, divisor: Node) -> Node:
    """1, -1 or 0: what the quotient lacks where `left` is not between 0 and `divisor`."""
    size, along = ops.absolute(divisor), ops.mul(left, ops.sign(divisor))
    return ops.where(ops.less(along, 0), -1, ops.where(ops.less(along, size), 0, 1))


LOG_2 = math.log(2.0)


def not_equal(a: Node, b: Node) -> Node:
    """a != b."""
    return ops.logical_not(ops.equal(a, b))


def _require_bool(nodes: tuple[Node, ...]) -> None:
    if any(n.type.dtype != "bool" for n in nodes):
        raise ShapeError(f"bit operations take truth values, not {', '.join(n.type.dtype for n in nodes)}")


def bit_and(a: Node, b: Node) -> Node:
    """a & b of truth values."""
    _require_bool((a, b))
    return ops.logical_and(a, b)


def bit_or(a: Node, b: Node) -> Node:
    """a | b of truth values."""
    _require_bool((a, b))
    return ops.logical_or(a, b)


def bit_not(a: Node) -> Node:
    """~a of truth values."""
    _require_bool((a,))
    return ops.logical_not(a)


def logical_xor(a: Node, b: Node) -> Node:
    """Whether exactly one of a, b is true."""
    return ops.logical_not(ops.equal(ops.cast(a, "bool"), ops.cast(b, "bool")))


def bit_xor(a: Node, b: Node) -> Node:
    """a ^ b of truth values."""
    _require_bool((a, b))
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


def _reduced_count(x: Node, dims: Any) -> int:
    kept = ops.reduce_sum(x, dims).type.event_size
    return x.type.event_size // max(kept, 1)


def _mean_divisor(x: Node, dims: Any, ddof: float = 0) -> float:
    """The number of entries of each mean, less `ddof`."""
    n = number("ddof", ddof, error=ShapeError)
    count = _reduced_count(x, dims)
    if not n < count:
        listed = f"{count} entries over axis {dims} of event shape {x.type.shape}"
        raise ShapeError(f"{listed}, less ddof={ddof}, leave nothing to divide by")
    return count - n


def mean(x: Node, dims: Any = None, keepdims: bool = False) -> Node:
    """Mean over event dimensions."""
    return ops.mul(ops.reduce_sum(ops.cast(x, "float"), dims, keepdims), 1.0 / _mean_divisor(x, dims))


def variance(x: Node, dims: Any = None, ddof: int = 0, keepdims: bool = False) -> Node:
    """Variance over event dimensions."""
    x = ops.cast(x, "float")
    centred = ops.sub(x, mean(x, dims, keepdims=True))
    return ops.mul(ops.reduce_sum(square(centred), dims, keepdims), 1.0 / _mean_divisor(x, dims, ddof))


def amax(x: Node, dims: Any = None, keepdims: bool = False) -> Node:
    """Maximum over event dimensions."""
    if any(x.type.shape[d] == 0 for d in event_axes(x.type.shape, dims)):
        raise ShapeError(f"axis {dims} of event shape {x.type.shape} has no entries")
    found = ops.reduce("amax", x, dims, keepdims)
    return ops.cast(found, "bool") if all_bool(x) else found


def amin(x: Node, dims: Any = None, keepdims: bool = False) -> Node:
    """Minimum over event dimensions."""
    if all_bool(x):
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


def normalized_dim(x: Node, axis: int) -> int:
    """`axis` as a non-negative event dimension."""
    return event_axis(x.type.shape, axis)


def move_dim(x: Node, source: int, target: int) -> Node:
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
        dims = (normalized_dim(x, axis),)
        found = ops.argmax(move_dim(x, dims[0], len(shape) - 1))
    return ops.reshape(found, [1 if d in dims else n for d, n in enumerate(shape)]) if keepdims else found


def argmin(x: Node, axis: int | None = None, keepdims: bool = False) -> Node:
    """Index of the first minimum."""
    return argmax(ops.neg(x if x.type.dtype == "float" else ops.cast(x, "int")), axis, keepdims)


def reshape(x: Node, shape: tuple[int, ...]) -> Node:
    """Reshape the event; one entry may be -1."""
    shape = integer_tuple("a length", shape, -1)
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
    return ops.transpose(x, [normalized_dim(x, p) for p in perm])


def cumsum(x: Node, axis: int | None = None) -> Node:
    """Cumulative sum along one event dimension, by a product with a triangular matrix of ones."""
    if axis is None:
        x, axis = ops.reshape(x, (x.type.event_size,)), 0
    dim, dtype = normalized_dim(x, axis), x.type.dtype
    last = len(x.type.shape) - 1
    moved = move_dim(x, dim, last)
    out = ops.matmul(ops.cast(moved, "float"), np.triu(np.ones((x.type.shape[dim],) * 2)))
    return ops.cast(move_dim(out, last, dim), "float" if dtype == "float" else "int")


def squeeze(x: Node, axis: Any = None) -> Node:
    """Drop event dimensions of length 1."""
    shape = x.type.shape
    dims = [d for d, n in enumerate(shape) if n == 1] if axis is None else list(event_axes(shape, axis))
    if any(shape[d] != 1 for d in dims):
        raise ShapeError(f"axis {axis} of event shape {shape} is not 1 long")
    return ops.reshape(x, [n for d, n in enumerate(shape) if d not in dims])


def dot(a: Node, b: Node) -> Node:
    """Product of scalars, vectors and matrices."""
    ranks = len(a.type.shape), len(b.type.shape)
    if 0 in ranks:
        return multiply(a, b)
    if max(ranks) > 2:
        raise ShapeError(f"dot of event shapes {a.type.shape} and {b.type.shape}: use @ or np.einsum")
    return matmul(a, b)


def gammaln(x: Operand) -> Node:
    """log |gamma(x)|; infinite at 0, -1, -2, …"""
    x = ops.cast(x, "float")
    if bounds_of(x).within(POSITIVE):
        return ops.lgamma(x)
    above, mirrored, rest = _reflect_argument(x)
    positive = ops.lgamma(mirrored)
    return ops.where(above, positive, ops.sub(ops.log(ops.div(np.pi, ops.absolute(ops.sin(rest)))), positive))


def digamma(x: Operand) -> Node:
    """The derivative of `gammaln`; -inf at 0, NaN at -1, -2, …"""
    x = ops.cast(x, "float")
    if bounds_of(x).within(POSITIVE):
        return ops.polygamma(0, x)
    above, mirrored, rest = _reflect_argument(x)
    positive = ops.polygamma(0, mirrored)
    pole = ops.where(ops.equal(x, 0.0), -np.inf, np.nan)
    below = ops.sub(positive, ops.div(np.pi, ops.tan(rest)))
    return ops.where(above, positive, ops.where(ops.equal(rest, 0.0), pole, below))


def betaln(a: Operand, b: Operand) -> Node:
    """log |beta(a, b)|."""
    return ops.sub(ops.add(gammaln(a), gammaln(b)), gammaln(ops.add(a, b)))


def _reflect_argument(x: Node) -> tuple[Node, Node, Node]:
    """Whether x > 0; x there and 1 - x elsewhere; pi x elsewhere without whole periods, at most pi / 2 in size."""
    above = ops.less(0.0, x)
    rest = ops.mul(np.pi, ops.sub(x, ops.floor(ops.add(x, 0.5))))
    return above, ops.where(above, x, ops.sub(1.0, x)), ops.where(above, np.pi / 2, rest)


def get_item(x: Node, key: Any, used: list[tuple[Node, int, Node]]) -> Node:
    """`x[key]` on event axes. Symbolic integers must lie in [0, n), which is checked at run time.

    They are added to `used`, each with n and the `take` that reads it.
    """
    entries = _normalize_key(x.type.shape, key if isinstance(key, tuple) else (key,))
    shape = iter(x.type.shape)
    x = ops.reshape(x, [1 if e is None else next(shape) for e in entries])
    filled = [slice(None) if e is None else e for e in entries]
    if any(isinstance(e, Node) for e in filled):
        out = read = _advanced_indexing(x, filled)
        while read.op == "transpose":
            read = read.args[0]
        places = zip(filled, x.type.shape, strict=True)
        used += [(e, n, read) for e, n in places if isinstance(e, Node) and e.op != "const"]
        return out
    return _basic_indexing(x, filled)


def _normalize_key(shape: tuple[int, ...], key: tuple[Any, ...]) -> list[Any]:
    """Entries (int, slice, None or index node), one per axis of `shape` apart from None."""
    used = sum(_consumed_axes(e) for e in key)
    if used > len(shape):
        raise ShapeError(f"too many indices: {used} for event shape {shape}")
    if sum(e is Ellipsis for e in key) > 1:
        raise ShapeError("an index has at most one Ellipsis")
    if not any(e is Ellipsis for e in key):
        key = (*key, Ellipsis)
    entries: list[Any] = []
    dim = 0
    for e in key:
        if e is Ellipsis:
            entries += [slice(None)] * (len(shape) - used)
            dim += len(shape) - used
        elif e is None or isinstance(e, slice):
            ends = () if e is None else (e.start, e.stop, e.step)
            if not all(n is None or isinstance(n, (int, np.integer)) for n in ends):
                raise ShapeError(f"the ends of a slice are whole numbers, not {e}")
            if e is not None and e.step is not None and e.step == 0:
                raise ShapeError(f"the step of a slice must not be 0: {e}")
            entries.append(e)
            dim += e is not None
        else:
            entries += _index_entry(e, shape[dim : dim + _consumed_axes(e)])
            dim += _consumed_axes(e)
    return entries


def _consumed_axes(entry: Any) -> int:
    if entry is None or entry is Ellipsis:
        return 0
    if isinstance(entry, (slice, int, np.integer)) or hasattr(entry, "__ppl_node__"):
        return 1
    array = _static_index(entry)
    return array.ndim if array.dtype == bool else 1


def _static_index(entry: Any) -> np.ndarray:
    """A static index as an array."""
    if masked(entry):
        raise ShapeError("an index is a masked array")
    try:
        array = np.asarray(entry)
    except ValueError as error:
        raise ShapeError(f"an index is no array: {error}") from None
    if array.dtype == bool and array.ndim == 0:
        raise ShapeError("a truth value is no index")
    return array


def _index_entry(entry: Any, lengths: tuple[int, ...]) -> list[Any]:
    """An int, or the index nodes that `entry` (array or symbolic) stands for, on axes of `lengths`."""
    node = getattr(entry, "__ppl_node__", None)
    if node is not None:
        if node.type.dtype != "int":
            hint = "; select with np.where" if node.type.dtype == "bool" else "; use .astype(int)"
            raise ShapeError(f"a symbolic index must be an integer, not {node.type.dtype}{hint}")
        return [node]
    array = _static_index(entry)
    if array.dtype == bool:
        if array.shape != lengths:
            raise ShapeError(f"boolean index of shape {array.shape} on axes of shape {lengths}")
        return [ops.const(i) for i in np.nonzero(array)]
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise ShapeError(f"an index must be an integer, not {array.dtype}")
    (n,) = lengths
    if np.any(array < -n) or np.any(array >= n):
        raise ShapeError(f"index {array if array.size < 5 else 'array'} is out of range for an axis of length {n}")
    array = np.where(array < 0, array + n, array)
    return [int(array) if array.ndim == 0 else ops.const(array)]


def _apply_slices(x: Node, entries: list[Any]) -> Node:
    """Apply the slices among `entries`; ints become windows of length 1, index nodes leave axes whole."""
    window, flipped = [], {}
    for dim, (e, n) in enumerate(zip(entries, x.type.shape, strict=True)):
        if isinstance(e, slice):
            places = range(*e.indices(n))
            step = places.step if len(places) > 1 else 1
            if step < 0:
                places, step = places[::-1], -step
                flipped[dim] = len(places)
            window.append((places.start if len(places) else 0, len(places), step))
        else:
            window.append((e, 1, 1) if isinstance(e, int) else (0, n, 1))
    x = ops.window(x, window)
    for dim, n in flipped.items():
        x = move_dim(ops.take(move_dim(x, dim, 0), np.arange(n)[::-1]), 0, dim)
    return x


def _basic_indexing(x: Node, entries: list[Any]) -> Node:
    x = _apply_slices(x, entries)
    return ops.reshape(x, [n for e, n in zip(entries, x.type.shape, strict=True) if not isinstance(e, int)])


def _advanced_indexing(x: Node, entries: list[Any]) -> Node:
    """Index arrays broadcast; their axes go where they stood if they are adjacent, else to the front."""
    entries = [ops.const(e) if isinstance(e, int) else e for e in entries]
    x = _apply_slices(x, entries)
    dims = [d for d, e in enumerate(entries) if isinstance(e, Node)]
    rest = [d for d in range(len(entries)) if d not in dims]
    lengths = [x.type.shape[d] for d in dims]
    index = entries[dims[0]]
    for d, n in zip(dims[1:], lengths[1:], strict=True):
        index = ops.add(ops.mul(index, n), entries[d])
    kept = [x.type.shape[d] for d in rest]
    table = ops.reshape(ops.transpose(x, dims + rest), [math.prod(lengths), *kept])
    out = ops.take(table, index)
    rank = len(index.type.shape)
    front = dims[0] if dims == list(range(dims[0], dims[-1] + 1)) else 0
    total = rank + len(rest)
    order = [*range(rank, rank + front), *range(rank), *range(rank + front, total)]
    return ops.transpose(out, order) if total else out
