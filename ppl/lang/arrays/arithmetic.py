"""Arithmetic on values with NumPy's kinds of results: what operators and ufuncs do with truth values and integers.

The IR has no sums or products of truth values; here, as in NumPy, `+` and `max` of two are their or, `*`, `min` and the
products of vectors and matrices their and, and what NumPy refuses (`-`, the sign of one) is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl.errors import ShapeError
from ppl.ir import ops
from ppl.ir.node import Node


def truths(*nodes: Node) -> bool:
    """Whether all of `nodes` are truth values."""
    return all(n.type.dtype == "bool" for n in nodes)


def whole(*nodes: Node) -> bool:
    """Whether all of `nodes` are integers or truth values."""
    return all(n.type.dtype != "float" for n in nodes)


def of_kind(out: Node, *nodes: Node) -> Node:
    """A sum of products of `nodes` in their kind: integers of integers, of truth values whether any product is true."""
    return ops.cast(out, "bool" if truths(*nodes) else "int") if whole(*nodes) else out


def add(a: Node, b: Node) -> Node:
    """a + b; of truth values a or b."""
    return ops.logical_or(a, b) if truths(a, b) else ops.add(a, b)


def subtract(a: Node, b: Node) -> Node:
    """a - b, but not of truth values."""
    if truths(a, b):
        raise ShapeError("truth values cannot be subtracted: use a ^ b, or a.astype(int) - b")
    return ops.sub(a, b)


def multiply(a: Node, b: Node) -> Node:
    """a * b; of truth values a and b."""
    return ops.logical_and(a, b) if truths(a, b) else ops.mul(a, b)


def maximum(a: Node, b: Node) -> Node:
    """The larger one; of truth values a or b."""
    return ops.logical_or(a, b) if truths(a, b) else ops.maximum(a, b)


def minimum(a: Node, b: Node) -> Node:
    """The smaller one; of truth values a and b."""
    return ops.logical_and(a, b) if truths(a, b) else ops.minimum(a, b)


def matmul(a: Node, b: Node) -> Node:
    """a @ b."""
    return of_kind(ops.matmul(a, b), a, b)


def vecdot(a: Node, b: Node) -> Node:
    """Sum of products over the last dimension, which is as long in both."""
    if a.type.shape[-1:] != b.type.shape[-1:]:
        raise ShapeError(f"vectors of event shapes {a.type.shape} and {b.type.shape} differ in length")
    return of_kind(ops.reduce_sum(ops.mul(a, b), -1), a, b)


def absolute(x: Node) -> Node:
    """|x|; a truth value as it is."""
    return x if truths(x) else ops.absolute(x)


def signed(function: Callable[[Any], Node]) -> Callable[[Node], Node]:
    """`function` of numbers; truth values have no sign."""

    def rule(x: Node) -> Node:
        if truths(x):
            raise ShapeError("truth values have no sign: use ~x, or x.astype(int)")
        return function(x)

    return rule


negative, positive, sign = signed(ops.neg), signed(lambda x: x), signed(ops.sign)


def rounded(function: Callable[[Any], Node]) -> Callable[[Node], Node]:
    """`function` that rounds; whole numbers stay what they are."""
    return lambda x: x if whole(x) else function(x)


def square(x: Node) -> Node:
    """x * x."""
    return ops.mul(x, x)


def reciprocal(x: Node) -> Node:
    """1 / x of floats; NumPy's of an integer is an integer, hardly what is meant."""
    if whole(x):
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
    if exponent.dtype.kind != "f" and whole(a) and exponent >= 0:
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
    return _divided(a, b)[0] if whole(a, b) else ops.floor(ops.div(a, b))


def remainder(a: Node, b: Node) -> Node:
    """a - b floor(a / b), with the sign of b; of integers 0 where b is 0."""
    return _divided(a, b)[1] if whole(a, b) else ops.sub(a, ops.mul(b, floor_divide(a, b)))


ESTIMATES = 4
"""Quotients that are estimated in floats, each of what the one before left: of 63 bits float32 finds 23 at a time."""


def _divided(a: Node, b: Node) -> tuple[Node, Node]:
    """Quotient and remainder of integers, both exact, and 0 where b is 0."""
    none = ops.equal(b, 0)
    divisor, left = ops.where(none, 1, ops.cast(b, "int")), ops.cast(a, "int")
    quotient: Node | None = None
    for _ in range(ESTIMATES):
        estimate = ops.cast(ops.floor(ops.div(left, divisor)), "int")
        left = ops.sub(left, ops.mul(estimate, divisor))
        quotient = estimate if quotient is None else ops.add(quotient, estimate)
    assert quotient is not None
    for _ in range(2):  # an estimate of less than 1 may round to its neighbour, on either side
        step = _overshoot(left, divisor)
        quotient, left = ops.add(quotient, step), ops.sub(left, ops.mul(step, divisor))
    return ops.where(none, 0, quotient), ops.where(none, 0, left)


def _overshoot(left: Node, divisor: Node) -> Node:
    """1, -1 or 0: what the quotient lacks where `left` is not between 0 and `divisor`."""
    size, along = ops.absolute(divisor), ops.mul(left, ops.sign(divisor))
    return ops.where(ops.less(along, 0), -1, ops.where(ops.less(along, size), 0, 1))
