"""Adjoints of functions that distributions are made of."""

from __future__ import annotations

import math

from ppl.ir import ops
from ppl.ir.node import Node

Cotangents = tuple[Node | None, ...]


def nearest_to_zero(a: Node, b: Node) -> tuple[Node, Node, Node]:
    """Whether a > 0, whether b < 0, and the point of [a, b] nearest to 0; no jumps, they only choose formulas."""
    low, high = ops.less(0.0, ops.stop(a, "formula")), ops.less(ops.stop(b, "formula"), 0.0)
    return low, high, ops.where(low, a, ops.where(high, b, 0.0))


def _relative_density(a: Node, b: Node) -> Node:
    """exp((b^2 - a^2) / 2), 0 where a is infinite."""
    finite = ops.less(ops.absolute(ops.stop(a, "formula")), math.inf)
    a = ops.where(finite, a, 0.0)
    return ops.where(finite, ops.exp(ops.mul(0.5, ops.mul(ops.sub(b, a), ops.add(b, a)))), 0.0)


def log_mass_between(g: Node, n: Node, a: Node, b: Node) -> Cotangents:
    """Minus and plus the densities at the ends over the mass, and what moving e gives."""
    low, high, e = nearest_to_zero(a, b)
    over = ops.exp(ops.neg(n))
    at_a = ops.sub(ops.where(low, a, 0.0), ops.mul(_relative_density(a, e), over))
    at_b = ops.add(ops.where(high, b, 0.0), ops.mul(_relative_density(b, e), over))
    return ops.mul(g, at_a), ops.mul(g, at_b)


def quantile_between(g: Node, n: Node, p: Node, a: Node, b: Node) -> Cotangents:
    """phi(z) dz = Z dp + (1 - p) phi(a) da + p phi(b) db; less what moving e takes."""
    low, high, e = nearest_to_zero(a, b)
    z = ops.add(n, e)
    at_p = ops.mul(_relative_density(e, z), ops.exp(ops.log_mass_between(a, b)))
    at_a = ops.sub(ops.mul(ops.sub(1.0, p), _relative_density(a, z)), ops.cast(low, "float"))
    at_b = ops.sub(ops.mul(p, _relative_density(b, z)), ops.cast(high, "float"))
    return ops.mul(g, at_p), ops.mul(g, at_a), ops.mul(g, at_b)


def log_i0e(g: Node, n: Node, x: Node) -> Cotangents:
    """Beyond the second derivative, by A'' = (A / x - A') / x - 2 A A' of the ratio A = I1 / I0."""
    if n.attrs["n"] < 2:
        return (ops.mul(g, ops.log_i0e(x, n.attrs["n"] + 1)),)
    ratio = ops.add(ops.log_i0e(x, 1), 1.0)
    bend = ops.sub(ops.div(ops.sub(ops.div(ratio, x), n), x), ops.mul(2.0, ops.mul(ratio, n)))
    return (ops.mul(g, bend),)


def log_poisson(g: Node, n: Node, k: Node, rate: Node) -> Cotangents:
    """By the digamma function, and (k - rate) / rate."""
    slope = ops.where(ops.equal(k, 0.0), -1.0, ops.div(ops.sub(k, rate), rate))
    return ops.mul(g, ops.sub(ops.log(rate), ops.polygamma(0, ops.add(k, 1.0)))), ops.mul(g, slope)


def log_poisson_log_rate(g: Node, n: Node, k: Node, log_rate: Node) -> Cotangents:
    """By the digamma function, and k - rate."""
    at_k = ops.sub(log_rate, ops.polygamma(0, ops.add(k, 1.0)))
    return ops.mul(g, at_k), ops.mul(g, ops.sub(k, ops.exp(log_rate)))


def _log_choose(x: Node, y: Node) -> Cotangents:
    """Derivatives of log(gamma(x + y + 1) / (gamma(x + 1) gamma(y + 1)))."""
    top, left, right = (ops.polygamma(0, ops.add(v, 1.0)) for v in (ops.add(x, y), x, y))
    return ops.sub(top, left), ops.sub(top, right)


def log_binomial(g: Node, n: Node, x: Node, y: Node, p: Node) -> Cotangents:
    """By digamma functions, and x / p - y / (1 - p)."""
    (dx, dy), q = _log_choose(x, y), ops.sub(1.0, p)
    one, zero = (ops.where(ops.equal(v, 0.0), 0.0, ops.div(v, chance)) for v, chance in ((x, p), (y, q)))
    return (
        ops.mul(g, ops.add(dx, ops.log(p))),
        ops.mul(g, ops.add(dy, ops.log1p(ops.neg(p)))),
        ops.mul(g, ops.sub(one, zero)),
    )


def log_binomial_logits(g: Node, n: Node, x: Node, y: Node, a: Node) -> Cotangents:
    """As `log_binomial`, at p = sigmoid(a)."""
    dx, dy = _log_choose(x, y)
    slope = ops.sub(ops.mul(x, ops.sigmoid(ops.neg(a))), ops.mul(y, ops.sigmoid(a)))
    return (
        ops.mul(g, ops.sub(dx, ops.softplus(ops.neg(a)))),
        ops.mul(g, ops.sub(dy, ops.softplus(a))),
        ops.mul(g, slope),
    )
