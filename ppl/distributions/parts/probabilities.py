"""Probabilities as they are, not as exponentials of logarithms: with the right derivatives where they are 0.

A sum over states weighs each of them by its probability w. Where w is 0 its derivative need not be: d/dp E f(b) at
p = 1 is f(1) - f(0), and exp(log w) has none there.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.intervals import POSITIVE
from ppl.distributions.parts.formulas import frozen
from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.ir.types import Axis, sort_axes

STEEPEST = 80.0
"""Largest log-ratio of an impossible state's density to the total that a derivative shows: exp(88) is too large."""


def always_positive(probability: Node) -> bool:
    """Whether `probability` is positive for all parameters and data."""
    return bounds_of(probability).within(POSITIVE)


def product(x: Node) -> Node:
    """The product along the last event dimension, by pairs, so that its derivatives divide by nothing."""
    *lead, count = x.type.shape
    whole = tuple((0, n, 1) for n in lead)
    while count > 1:
        half = count // 2
        pairs = ops.mul(ops.window(x, (*whole, (0, half, 1))), ops.window(x, (*whole, (half, half, 1))))
        left = [ops.window(x, (*whole, (2 * half, 1, 1)))] if count % 2 else []
        x, count = ops.concat([pairs, *left], len(lead)), half + count % 2
    return ops.reshape(x, lead) if count else ops.expand(ops.const(1.0), x.type.axes, tuple(lead))


def binomial_mass(k: Node, n: Node, p: Node) -> Node:
    """C(n, k) p^k (1 - p)^(n - k); at p = 0 and p = 1 by its expansion, exact to second order."""
    edge = ops.logical_or(ops.less_equal(frozen(p), 0.0), ops.less_equal(1.0, frozen(p)))
    usual = ops.exp(ops.log_binomial(k, ops.sub(n, k), ops.where(edge, 0.5, p)))
    low = ops.less(frozen(p), 0.5)
    count, rare = ops.where(low, k, ops.sub(n, k)), ops.where(low, p, ops.sub(1.0, p))
    first = ops.mul(n, rare)
    second = ops.mul(ops.mul(0.5, ops.mul(n, ops.sub(n, 1.0))), ops.mul(rare, rare))
    masses = ops.where(ops.equal(count, 2.0), second, 0.0)
    masses = ops.where(ops.equal(count, 1.0), ops.sub(first, ops.mul(2.0, second)), masses)
    masses = ops.where(ops.equal(count, 0.0), ops.add(ops.sub(1.0, first), second), masses)
    return ops.where(edge, masses, usual)


def poisson_factor(k: Node, rate: Node) -> Node:
    """rate^k exp(-rate) / k!; at rate 0 by its expansion, exact to second order."""
    edge = ops.equal(frozen(rate), 0.0)
    usual = ops.exp(ops.log_poisson(k, ops.where(edge, 1.0, rate)))
    square = ops.mul(0.5, ops.mul(rate, rate))
    masses = ops.where(ops.equal(k, 2.0), square, 0.0)
    masses = ops.where(ops.equal(k, 1.0), ops.sub(rate, ops.mul(2.0, square)), masses)
    masses = ops.where(ops.equal(k, 0.0), ops.add(ops.sub(1.0, rate), square), masses)
    return ops.where(edge, masses, usual)


def log_total(weight: Node, log_value: Node, axes: Sequence[Axis] = ()) -> Node:
    """log of the sum of weight * exp(log_value) over named `axes`, or over the last event dimension.

    A state of weight 0 adds nothing to the value. Its weight still has a derivative, exp(log_value) over the sum, where
    that is finite; nothing that its `log_value` depends on has one. All terms 0 give -inf without a derivative.
    """
    weight, log_value = ops.broadcast(weight, log_value)
    live = ops.less(0.0, frozen(weight))
    terms = ops.where(live, ops.add(log_value, ops.log(ops.where(live, weight, 1.0))), -float("inf"))
    top = ops.stop(_reduced("amax", terms, axes), "shift")
    dead = ops.logical_not(ops.less(ops.absolute(top), float("inf")))
    top = ops.where(dead, 0.0, top)
    known = ops.where(ops.less(frozen(log_value), float("inf")), frozen(log_value), -float("inf"))
    ratio = ops.exp(ops.minimum(ops.sub(known, top), STEEPEST))
    idle = ops.where(live, 0.0, ops.mul(ops.where(live, 0.0, weight), ratio))
    terms = ops.where(live, ops.exp(ops.sub(ops.where(live, terms, 0.0), top)), idle)
    sums = _reduced("sum", terms, axes)
    none = ops.equal(frozen(sums), 0.0)
    found = ops.where(none, -float("inf"), ops.add(ops.log(ops.where(none, 1.0, sums)), top))
    return found if axes else ops.reshape(found, log_value.type.shape[:-1])


def _reduced(op: str, x: Node, axes: Sequence[Axis]) -> Node:
    """`x` reduced over named axes, or over its last event dimension, which stays."""
    return make(op, x, axes=sort_axes(axes), dims=()) if axes else ops.reduce(op, x, -1, keepdims=True)
