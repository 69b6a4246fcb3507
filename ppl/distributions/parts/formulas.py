"""Formulas that several distributions share, in the form that stays right in the tails."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.intervals import POSITIVE, Interval
from ppl.ir import ops
from ppl.ir.node import Node

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
EULER = 0.57721566490153286061
BELOW_ONE = Interval(-math.inf, 1.0)
HUGE = 1e30
FAR = 2.0**60


def logit(u: Node) -> Node:
    """log u - log(1 - u); of sigmoid(x) it is x."""
    return u.args[0] if u.op == "sigmoid" else ops.sub(ops.log(u), ops.log1p(ops.neg(u)))


def log_odds_jacobian(x: Node) -> Node:
    """log x + log(1 - x), stable for a sigmoid."""
    if x.op == "sigmoid":
        y = x.args[0]
        return ops.neg(ops.add(ops.softplus(y), ops.softplus(ops.neg(y))))
    return ops.add(ops.log(x), ops.log1p(ops.neg(x)))


def simplex_covariance(p: Node) -> Node:
    """diag(p) - p p^T, class probabilities along the last event dimension."""
    shape = p.type.shape
    column, row = ops.reshape(p, (*shape, 1)), ops.reshape(p, (*shape[:-1], 1, shape[-1]))
    return ops.sub(ops.mul(column, np.eye(shape[-1])), ops.mul(column, row))


def gumbel(u: Node) -> Node:
    """A standard Gumbel variable -log(-log u) from a uniform u."""
    return ops.neg(ops.log(ops.neg(ops.log(u))))


def frozen(x: Node) -> Node:
    """`x` where it only decides which formula applies to the same function: no derivative, no jump."""
    return ops.stop(x, "formula")


def weigh(x: Node, log_p: Node, finite: bool = True) -> Node:
    """x log p with 0 * (-inf) = 0, linear in x; bounds tell whether log p is finite where parameters and data are."""
    if not (finite and bounds_of(log_p).lo_open):
        dead = ops.logical_and(ops.equal(frozen(x), 0.0), ops.equal(frozen(log_p), -math.inf))
        log_p = ops.where(dead, 0.0, log_p)
    return ops.mul(x, log_p)


def weigh_log(x: Node, p: Node) -> Node:
    """x log p with 0 log 0 = 0, linear in x; the derivative in p is 0 where both are 0."""
    if not bounds_of(p).within(POSITIVE):
        p = ops.where(ops.logical_and(ops.equal(frozen(x), 0.0), ops.equal(frozen(p), 0.0)), 1.0, p)
    return ops.mul(x, ops.log(p))


def weigh_log1m(x: Node, p: Node) -> Node:
    """x log(1 - p) with 0 log 0 = 0, linear in x."""
    if not bounds_of(p).within(BELOW_ONE):
        p = ops.where(ops.logical_and(ops.equal(frozen(x), 0.0), ops.equal(frozen(p), 1.0)), 0.0, p)
    return ops.mul(x, ops.log1p(ops.neg(p)))


def finite(x: Node) -> Node:
    """`x` with huge numbers for infinities, so that x / temperature has a derivative in the temperature."""
    inside = bounds_of(x)
    x = x if inside.lo_open else ops.maximum(x, -HUGE)
    return x if inside.hi_open else ops.minimum(x, HUGE)


def standardize(value: Node, loc: Node, scale: Node) -> Node:
    """(value - loc) / scale."""
    return ops.div(ops.sub(value, loc), scale)


def affine(loc: Node, scale: Node, standard: Node) -> Node:
    """loc + scale * standard."""
    return ops.add(loc, ops.mul(scale, standard))


def turns(angle: Node) -> Node:
    """The whole turns, in radians, that move `angle` into (-pi, pi]."""
    return ops.mul(2 * math.pi, ops.floor(ops.sub(0.5, ops.div(angle, 2 * math.pi))))


def one_minus_cos(angle: Node) -> Node:
    """1 - cos(angle) without cancellation near 0, written in sin and cos of `angle` alone, so visibly periodic."""
    sine, cosine = ops.sin(angle), ops.cos(angle)
    near = ops.less(0.0, frozen(cosine))
    return ops.where(
        near, ops.div(ops.mul(sine, sine), ops.add(1.0, ops.where(near, cosine, 0.0))), ops.sub(1.0, cosine)
    )


def log1p_square(z: Node) -> Node:
    """log(1 + z^2), also where the square overflows: from 2^60 on it is 2 log(1 + |z|), to the last bit of a double."""
    far = ops.less(FAR, ops.absolute(frozen(z)))
    factor = ops.where(far, ops.where(ops.less(frozen(z), 0.0), -1.0, 1.0), z)
    return ops.mul(ops.where(far, 2.0, 1.0), ops.log1p(ops.mul(factor, z)))


def mode_of_unit_interval(up: Node, down: Node, peak: Node) -> Node:
    """`peak` where the powers `up` of x and `down` of 1 - x are not negative; the end towards which only one of them
    drives the density; NaN where both do, or neither.
    """
    low, high = ops.less(up, 0.0), ops.less(down, 0.0)
    flat = ops.logical_and(ops.less_equal(up, 0.0), ops.less_equal(down, 0.0))
    single = ops.where(low, 0.0, ops.where(high, 1.0, peak))
    return ops.where(ops.logical_and(flat, ops.equal(low, high)), math.nan, single)


def above(x: Node, threshold: float, formula: Callable[[Node], Node], otherwise: float) -> Node:
    """`formula(x)` where x exceeds `threshold`, else `otherwise`; the formula never sees an x that does not."""
    inside = ops.less(threshold, x)
    return ops.where(inside, formula(ops.where(inside, x, threshold + 1.0)), otherwise)


def log_of(x: Node) -> Node:
    """log x; of exp(y) it is y, which is known where exp(y) has rounded to 1."""
    return x.args[0] if x.op == "exp" else ops.log(x)


def log_quotient(x: Node, scale: Node) -> Node:
    """log(x / scale), also where the quotient overflows or underflows."""
    ratio = ops.div(frozen(x), frozen(scale))
    held = ops.logical_and(ops.less(1.0 / HUGE, ratio), ops.less(ratio, HUGE))
    near = ops.log(ops.where(held, ops.div(x, scale), 1.0))
    return ops.where(held, near, ops.sub(ops.log(x), ops.log(scale)))


def stirling_gap(a: Node) -> Node:
    """a log a - a - log gamma(a + 1), without the cancellation of its terms (Loader 2000)."""
    return ops.log_poisson(a, a)


def log_beta(one: Node, zero: Node) -> Node:
    """log B(one, zero), from Stirling's corrections; a large share of the whole by what it lacks."""
    whole = ops.add(one, zero)
    parts = [_share(one, zero, whole), _share(zero, one, whole)]
    return ops.add(ops.add(*parts), ops.add(stirling_gap(whole), ops.log(whole)))


def _share(a: Node, other: Node, whole: Node) -> Node:
    """a log(a / whole) - log gamma(a) - a log a + a."""
    large = ops.less(frozen(other), frozen(a))
    rest = ops.log1p(ops.div(ops.where(large, other, 0.0), a))
    log_share = ops.sub(ops.log(ops.where(large, 1.0, ops.div(a, whole))), rest)
    return ops.sub(ops.mul(a, log_share), ops.add(stirling_gap(a), ops.log(a)))


NEAR, FACTOR = 0.1, 1e6


def gamma_exponent(m: Node, log_m: Node, a: Node) -> Node:
    """a log(m / a) + a - m, in which a gamma density varies; no cancellation where a is large and m near it.

    With d = m / a - 1 and v = d / (2 + d) it is a (2 v^3 (1/3 + v^2/5 + ...) - d v), since log(1 + d) = 2 artanh v.
    Where a is small, or far from m, the logarithm is that of m, which may underflow. Derivatives are those of the plain
    terms, which do not cancel.
    """
    gap, ratio, few = ops.sub(m, a), ops.div(m, a), ops.less(frozen(a), 16.0)
    apart = ops.logical_or(ops.less(frozen(ratio), 1.0 / FACTOR), ops.less(FACTOR, frozen(ratio)))
    apart = ops.logical_or(few, apart)
    log_r = ops.where(apart, ops.sub(log_m, ops.log(a)), ops.log(ops.where(apart, 1.0, ratio)))
    plain, d = ops.sub(ops.mul(a, log_r), gap), frozen(ops.div(gap, a))
    near = ops.logical_and(ops.less(ops.absolute(d), NEAR), ops.logical_not(few))
    return ops.graft(ops.where(near, ops.mul(a, _log1p_less(ops.where(near, d, 0.0))), plain), plain, exact=True)


def _log1p_less(d: Node) -> Node:
    """log(1 + d) - d for |d| < 0.1."""
    v = ops.div(d, ops.add(2.0, d))
    square = ops.mul(v, v)
    series = ops.as_node(1 / 11)
    for odd in (9, 7, 5, 3):
        series = ops.add(ops.mul(series, square), 1 / odd)
    return ops.sub(ops.mul(ops.mul(2.0, series), ops.mul(square, v)), ops.mul(d, v))
