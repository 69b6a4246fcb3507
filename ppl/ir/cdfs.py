"""Distribution functions as ops: incomplete gamma and beta functions, Student's t, von Mises, and their inverses.

Each op carries the order of its derivative in its parameters, up to 2 together; derivatives in the value are those of
the density, written in other ops. An inverse q = F^-1(p) moves by dq = (dp - F_theta(q) dtheta) / f(q)."""

from __future__ import annotations

import math
from typing import Any

from ppl.errors import EstimatorError
from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.ir.ops import Operand

LOG_TWO_PI = math.log(2 * math.pi)

HALF_LOG_PI = 0.5 * math.log(math.pi)


def _make_float_op(op: str, *args: Operand, **attrs: Any) -> Node:
    return make(op, *(ops.cast(x, "float") for x in ops.broadcast(*args)), **attrs)


def gammainc(a: Operand, x: Operand, order: int = 0) -> Node:
    """P(a, x), the regularized lower incomplete gamma function, or its derivative of order 1 or 2 in a."""
    return _make_float_op("gammainc", a, x, order=order)


def gammaincc(a: Operand, x: Operand) -> Node:
    """Q(a, x) = 1 - P(a, x), accurate where it is small."""
    return _make_float_op("gammaincc", a, x)


def gammaincinv(a: Operand, p: Operand) -> Node:
    """x with P(a, x) = p."""
    return _make_float_op("gammaincinv", a, p)


def gammainccinv(a: Operand, q: Operand) -> Node:
    """x with Q(a, x) = q."""
    return _make_float_op("gammainccinv", a, q)


def betainc(a: Operand, b: Operand, x: Operand, order: tuple[int, int] = (0, 0)) -> Node:
    """I_x(a, b), the regularized incomplete beta function, or its derivative of orders `order` in a and b."""
    return _make_float_op("betainc", a, b, x, order=order)


def betaincinv(a: Operand, b: Operand, p: Operand) -> Node:
    """x with I_x(a, b) = p."""
    return _make_float_op("betaincinv", a, b, p)


def student_cdf(df: Operand, t: Operand, order: int = 0) -> Node:
    """P(T <= t) of Student's t, or its derivative of order 1 or 2 in the degrees of freedom."""
    return _make_float_op("student_cdf", df, t, order=order)


def student_icdf(df: Operand, p: Operand) -> Node:
    """t with P(T <= t) = p."""
    return _make_float_op("student_icdf", df, p)


def vonmises_cdf(concentration: Operand, x: Operand, order: int = 0) -> Node:
    """P(-pi < X <= x) of a von Mises angle around 0, |x| <= pi, or its derivative in the concentration."""
    return _make_float_op("vonmises_cdf", concentration, x, order=order)


def vonmises_icdf(concentration: Operand, p: Operand) -> Node:
    """x with P(-pi < X <= x) = p."""
    return _make_float_op("vonmises_icdf", concentration, p)


def poisson_icdf(rate: Operand, p: Operand) -> Node:
    """The least count k with P(X <= k) >= p, as a float."""
    return _make_float_op("poisson_icdf", rate, p)


def negative_binomial_icdf(total: Operand, odds: Operand, p: Operand) -> Node:
    """The least count k with P(X <= k) >= p, of successes at `odds` before `total` failures, as a float."""
    return _make_float_op("negative_binomial_icdf", total, odds, p)


def poisson_isf(rate: Operand, q: Operand) -> Node:
    """The least count k with P(X > k) <= q, as a float; exact where q is small."""
    return _make_float_op("poisson_isf", rate, q)


def negative_binomial_isf(total: Operand, odds: Operand, q: Operand) -> Node:
    """The least count k with P(X > k) <= q, of successes at `odds` before `total` failures, as a float."""
    return _make_float_op("negative_binomial_isf", total, odds, q)


def _density_derivative(log_density: Node, slope: Node, bend: Node, order: int) -> Node:
    """The density, or its derivative of order 1 or 2 in a parameter in which its logarithm has `slope` and `bend`."""
    density = ops.exp(log_density)
    if order == 0:
        return density
    return ops.mul(density, slope if order == 1 else ops.add(ops.mul(slope, slope), bend))


def _gamma_density(a: Node, x: Node, order: int = 0) -> Node:
    log_x = ops.log(x)
    log_density = ops.sub(ops.sub(ops.mul(ops.sub(a, 1.0), log_x), x), ops.lgamma(a))
    return _density_derivative(log_density, ops.sub(log_x, ops.polygamma(0, a)), ops.neg(ops.polygamma(1, a)), order)


def _beta_density(a: Node, b: Node, x: Node, order: tuple[int, int] = (0, 0)) -> Node:
    log_x, log_y, total = ops.log(x), ops.log1p(ops.neg(x)), ops.add(a, b)
    powers = ops.add(ops.mul(ops.sub(a, 1.0), log_x), ops.mul(ops.sub(b, 1.0), log_y))
    log_density = ops.sub(ops.add(powers, ops.lgamma(total)), ops.add(ops.lgamma(a), ops.lgamma(b)))
    psi, bend = ops.polygamma(0, total), ops.polygamma(1, total)
    in_a = ops.add(log_x, ops.sub(psi, ops.polygamma(0, a)))
    in_b = ops.add(log_y, ops.sub(psi, ops.polygamma(0, b)))
    if order == (1, 1):
        return ops.mul(ops.exp(log_density), ops.add(ops.mul(in_a, in_b), bend))
    own, slope = (a, in_a) if order[0] else (b, in_b)
    return _density_derivative(log_density, slope, ops.sub(bend, ops.polygamma(1, own)), sum(order))


def _student_density(df: Node, t: Node, order: int = 0) -> Node:
    half, square = ops.mul(0.5, df), ops.mul(t, t)
    more, below = ops.add(half, 0.5), ops.mul(df, ops.add(df, square))
    tail, ratio = ops.log1p(ops.div(square, df)), ops.div(ops.mul(ops.add(df, 1.0), square), below)
    norm = ops.sub(ops.sub(ops.lgamma(more), ops.lgamma(half)), ops.add(ops.mul(0.5, ops.log(df)), HALF_LOG_PI))
    gap = ops.sub(ops.polygamma(0, more), ops.polygamma(0, half))
    slope = ops.mul(0.5, ops.add(ops.sub(ops.sub(gap, ops.div(1.0, df)), tail), ratio))
    turn = ops.mul(ratio, ops.div(ops.add(ops.add(df, df), square), below))
    rest = ops.add(ops.div(1.0, ops.mul(df, df)), ops.sub(ops.mul(2.0, ops.div(square, below)), turn))
    curve = ops.mul(0.25, ops.sub(ops.polygamma(1, more), ops.polygamma(1, half)))
    return _density_derivative(ops.sub(norm, ops.mul(more, tail)), slope, ops.add(curve, ops.mul(0.5, rest)), order)


def _vonmises_density(k: Node, x: Node, order: int = 0) -> Node:
    lean = ops.neg(ops.mul(2.0, ops.power(ops.sin(ops.mul(0.5, x)), 2.0)))  # cos x - 1
    log_density = ops.sub(ops.sub(ops.mul(k, lean), ops.log_i0e(k)), LOG_TWO_PI)
    return _density_derivative(log_density, ops.sub(lean, ops.log_i0e(k, 1)), ops.neg(ops.log_i0e(k, 2)), order)


def _with_order(n: Node, order: Any) -> Node:
    """The op of `n` with another order of derivative, which is at most 2."""
    if (order if isinstance(order, int) else sum(order)) > 2:
        raise EstimatorError(f"{n.op} has derivatives up to the second order in its parameters, not the third")
    return make(n.op, *n.args, order=order)


def _cdf_vjp(density: Any) -> Any:
    def rule(g: Node, n: Node, theta: Node, x: Node) -> tuple[Node | None, ...]:
        order = n.attrs["order"]
        return ops.mul(g, _with_order(n, order + 1)), ops.mul(g, density(theta, x, order))

    return rule


def _inverse_cdf_vjp(op: str, density: Any, sign: float = 1.0) -> Any:
    """The rule of an inverse cdf (of an inverse survival function, if `sign` is -1)."""

    def rule(g: Node, n: Node, theta: Node, p: Node) -> tuple[Node | None, ...]:
        over = ops.div(g, density(theta, n))
        moved = make(op, theta, n, order=1)
        return ops.neg(ops.mul(over, moved)), over if sign > 0 else ops.neg(over)

    return rule


def _gammaincc_vjp(g: Node, n: Node, a: Node, x: Node) -> tuple[Node | None, ...]:
    return ops.neg(ops.mul(g, gammainc(a, x, 1))), ops.neg(ops.mul(g, _gamma_density(a, x)))


def _betainc_vjp(g: Node, n: Node, a: Node, b: Node, x: Node) -> tuple[Node | None, ...]:
    da, db = n.attrs["order"]
    in_a, in_b = _with_order(n, (da + 1, db)), _with_order(n, (da, db + 1))
    return ops.mul(g, in_a), ops.mul(g, in_b), ops.mul(g, _beta_density(a, b, x, (da, db)))


def _betaincinv_vjp(g: Node, n: Node, a: Node, b: Node, p: Node) -> tuple[Node | None, ...]:
    over = ops.div(g, _beta_density(a, b, n))
    in_a, in_b = betainc(a, b, n, (1, 0)), betainc(a, b, n, (0, 1))
    return ops.neg(ops.mul(over, in_a)), ops.neg(ops.mul(over, in_b)), over


CDF_VJPS: dict[str, Any] = {
    "gammainc": _cdf_vjp(_gamma_density),
    "gammaincc": _gammaincc_vjp,
    "gammaincinv": _inverse_cdf_vjp("gammainc", _gamma_density),
    "gammainccinv": _inverse_cdf_vjp("gammainc", _gamma_density, -1.0),
    "betainc": _betainc_vjp,
    "betaincinv": _betaincinv_vjp,
    "student_cdf": _cdf_vjp(_student_density),
    "student_icdf": _inverse_cdf_vjp("student_cdf", _student_density),
    "vonmises_cdf": _cdf_vjp(_vonmises_density),
    "vonmises_icdf": _inverse_cdf_vjp("vonmises_cdf", _vonmises_density),
}
