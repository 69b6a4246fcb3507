"""Formulas that several distributions share, in the form that stays accurate in the tails.

Logarithms, modes and standardized values; probabilities with the right derivatives where they are 0; entropies and
divergences of the gamma family without the cancellation of large concentrations: log gamma(a) = a log a - a - log a
- d(a)
and digamma(a) = log a - e(a), d Stirling's correction and e the gap of digamma, whose logarithms cancel on paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ppl.distributions.bounds import bounds_of, contains
from ppl.distributions.intervals import CLOSED_UNIT, POSITIVE, Interval
from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.ir.types import Axis, sort_axes

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)

EULER = 0.57721566490153286061

BELOW_ONE = Interval(-math.inf, 1.0)

FINITE_INFINITY = 1e30

SQUARE_DOMINATES = 2.0**60


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


def gumbel_noise(u: Node) -> Node:
    """A standard Gumbel variable -log(-log u) from a uniform u."""
    return ops.neg(ops.log(ops.neg(ops.log(u))))


def frozen(x: Node) -> Node:
    """`x` where it only decides which formula applies to the same function: no derivative, no jump."""
    return ops.stop(x, "formula")


def times_log_prob(x: Node, log_p: Node, finite: bool = True) -> Node:
    """x log p with 0 * (-inf) = 0, linear in x; bounds tell whether log p is finite where parameters and data are."""
    if not (finite and bounds_of(log_p).lo_open):
        dead = ops.logical_and(ops.equal(frozen(x), 0.0), ops.equal(frozen(log_p), -math.inf))
        log_p = ops.where(dead, 0.0, log_p)
    return ops.mul(x, log_p)


def xlogy(x: Node, p: Node) -> Node:
    """x log p with 0 log 0 = 0, linear in x; the derivative in p is 0 where both are 0."""
    if not bounds_of(p).within(POSITIVE):
        p = ops.where(ops.logical_and(ops.equal(frozen(x), 0.0), ops.equal(frozen(p), 0.0)), 1.0, p)
    return ops.mul(x, ops.log(p))


def xlog1my(x: Node, p: Node) -> Node:
    """x log(1 - p) with 0 log 0 = 0, linear in x."""
    if not bounds_of(p).within(BELOW_ONE):
        p = ops.where(ops.logical_and(ops.equal(frozen(x), 0.0), ops.equal(frozen(p), 1.0)), 0.0, p)
    return ops.mul(x, ops.log1p(ops.neg(p)))


def replace_infinities(x: Node) -> Node:
    """`x` with huge numbers for infinities, so that x / temperature has a derivative in the temperature."""
    inside = bounds_of(x)
    x = x if inside.lo_open else ops.maximum(x, -FINITE_INFINITY)
    return x if inside.hi_open else ops.minimum(x, FINITE_INFINITY)


def standardize(value: Node, loc: Node, scale: Node) -> Node:
    """(value - loc) / scale."""
    return ops.div(ops.sub(value, loc), scale)


def affine(loc: Node, scale: Node, standard: Node) -> Node:
    """loc + scale * standard."""
    return ops.add(loc, ops.mul(scale, standard))


def wrapping_rotation(angle: Node) -> Node:
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
    far = ops.less(SQUARE_DOMINATES, ops.absolute(frozen(z)))
    factor = ops.where(far, ops.where(ops.less(frozen(z), 0.0), -1.0, 1.0), z)
    return ops.mul(ops.where(far, 2.0, 1.0), ops.log1p(ops.mul(factor, z)))


def mode_on_unit_interval(up: Node, down: Node, peak: Node) -> Node:
    """`peak` where the powers `up` of x and `down` of 1 - x are not negative; the end towards which only one of them
    drives the density; NaN where both do, or neither.
    """
    low, high = ops.less(up, 0.0), ops.less(down, 0.0)
    flat = ops.logical_and(ops.less_equal(up, 0.0), ops.less_equal(down, 0.0))
    single = ops.where(low, 0.0, ops.where(high, 1.0, peak))
    return ops.where(ops.logical_and(flat, ops.equal(low, high)), math.nan, single)


def where_above(x: Node, threshold: float, formula: Callable[[Node], Node], otherwise: float) -> Node:
    """`formula(x)` where x exceeds `threshold`, else `otherwise`; the formula never sees an x that does not."""
    inside = ops.less(threshold, x)
    return ops.where(inside, formula(ops.where(inside, x, threshold + 1.0)), otherwise)


def log_of(x: Node) -> Node:
    """log x; of exp(y) it is y, which is known where exp(y) has rounded to 1."""
    return x.args[0] if x.op == "exp" else ops.log(x)


def log_quotient(x: Node, scale: Node) -> Node:
    """log(x / scale), also where the quotient overflows or underflows."""
    ratio = ops.div(frozen(x), frozen(scale))
    held = ops.logical_and(ops.less(1.0 / FINITE_INFINITY, ratio), ops.less(ratio, FINITE_INFINITY))
    near = ops.log(ops.where(held, ops.div(x, scale), 1.0))
    return ops.where(held, near, ops.sub(ops.log(x), ops.log(scale)))


def stirling_gap(a: Node) -> Node:
    """a log a - a - log gamma(a + 1), without the cancellation of its terms (Loader 2000)."""
    return ops.log_poisson(a, a)


def log_beta(one: Node, zero: Node) -> Node:
    """log B(one, zero), from Stirling's corrections; a large share of the whole by what it lacks."""
    whole = ops.add(one, zero)
    parts = [_log_beta_term(one, zero, whole), _log_beta_term(zero, one, whole)]
    return ops.add(ops.add(*parts), ops.add(stirling_gap(whole), ops.log(whole)))


def _log_beta_term(a: Node, other: Node, whole: Node) -> Node:
    """a log(a / whole) - log gamma(a) - a log a + a."""
    large = ops.less(frozen(other), frozen(a))
    rest = ops.log1p(ops.div(ops.where(large, other, 0.0), a))
    log_share = ops.sub(ops.log(ops.where(large, 1.0, ops.div(a, whole))), rest)
    return ops.sub(ops.mul(a, log_share), ops.add(stirling_gap(a), ops.log(a)))


SERIES_WIDTH, FAR_RATIO = 0.1, 1e6


def gamma_exponent(m: Node, log_m: Node, a: Node) -> Node:
    """a log(m / a) + a - m, in which a gamma density varies; no cancellation where a is large and m near it.

    With d = m / a - 1 and v = d / (2 + d) it is a (2 v^3 (1/3 + v^2/5 + ...) - d v), since log(1 + d) = 2 artanh v.
    Where a is small, or far from m, the logarithm is that of m, which may underflow. Derivatives are those of the plain
    terms, which do not cancel.
    """
    gap, ratio, few = ops.sub(m, a), ops.div(m, a), ops.less(frozen(a), 16.0)
    apart = ops.logical_or(ops.less(frozen(ratio), 1.0 / FAR_RATIO), ops.less(FAR_RATIO, frozen(ratio)))
    apart = ops.logical_or(few, apart)
    log_r = ops.where(apart, ops.sub(log_m, ops.log(a)), ops.log(ops.where(apart, 1.0, ratio)))
    plain, d = ops.sub(ops.mul(a, log_r), gap), frozen(ops.div(gap, a))
    near = ops.logical_and(ops.less(ops.absolute(d), SERIES_WIDTH), ops.logical_not(few))
    return ops.graft(
        ops.where(near, ops.mul(a, _log1p_minus_argument(ops.where(near, d, 0.0))), plain), plain, exact=True
    )


def _log1p_minus_argument(d: Node) -> Node:
    """log(1 + d) - d for |d| < 0.1."""
    v = ops.div(d, ops.add(2.0, d))
    square = ops.mul(v, v)
    series = ops.as_node(1 / 11)
    for odd in (9, 7, 5, 3):
        series = ops.add(ops.mul(series, square), 1 / odd)
    return ops.sub(ops.mul(ops.mul(2.0, series), ops.mul(square, v)), ops.mul(d, v))


STIRLING_FROM, TAYLOR_BELOW = 16.0, 0.04

DIGAMMA_SERIES = (1 / 2, 1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)


def digamma_gap(a: Node) -> Node:
    """log a - digamma(a), by Stirling's series where a is large."""
    large = ops.less(STIRLING_FROM, frozen(a))
    inverse = ops.div(1.0, ops.where(large, a, STIRLING_FROM))
    square = ops.mul(inverse, inverse)
    total = ops.as_node(DIGAMMA_SERIES[-1])
    for term in reversed(DIGAMMA_SERIES[1:-1]):
        total = ops.add(ops.mul(total, square), term)
    series = ops.add(ops.mul(DIGAMMA_SERIES[0], inverse), ops.mul(total, square))
    small = ops.where(large, 1.0, a)
    return ops.where(large, series, ops.sub(ops.log(small), ops.polygamma(0, small)))


def standard_gamma_entropy(a: Node) -> Node:
    """(a - 1) e(a) - d(a): the entropy of a gamma variable of concentration a and rate 1."""
    return ops.sub(ops.mul(ops.sub(a, 1.0), digamma_gap(a)), stirling_gap(a))


def gamma_shape_kl(a: Node, b: Node) -> Node:
    """KL from concentration a to b of gamma variables of equal means, over which the deviance of the means comes."""
    logs = ops.add(ops.sub(ops.log(a), ops.log(b)), ops.sub(stirling_gap(a), stirling_gap(b)))
    return ops.sub(logs, ops.mul(ops.sub(a, b), digamma_gap(a)))


def poisson_deviance(mean: Node, log_mean: Node, count: Node) -> Node:
    """count log(count / mean) + mean - count, not negative."""
    return ops.neg(gamma_exponent(mean, log_mean, count))


def variance_of_power(t: Node, log_moments: tuple[Node, Node], rest: Node | None = None) -> Node:
    """The variance from the logarithms of the first two moments, which are log gamma at 1 + t and 1 + 2 t, up to what
    is linear in t; less the same at 1 + `rest`, where it is given.

    What the second exceeds the square of the first by is a second difference, for small t by its Taylor series.
    """
    first, second = log_moments
    small = ops.less(frozen(t), TAYLOR_BELOW)
    step = ops.where(small, t, TAYLOR_BELOW)
    excess = _lgamma_second_difference(ops.add(1.0, step), step)
    if rest is not None:
        excess = ops.sub(excess, _lgamma_second_difference(ops.add(ops.add(1.0, rest), step), step))
    excess = ops.where(small, excess, ops.sub(second, ops.mul(2.0, first)))
    return ops.mul(ops.exp(second), ops.neg(ops.expm1(ops.neg(ops.maximum(excess, 0.0)))))


def _lgamma_second_difference(middle: Node, step: Node) -> Node:
    """log gamma(m + t) - 2 log gamma(m) + log gamma(m - t) for small t."""
    square = ops.mul(step, step)
    outer = ops.add(ops.div(ops.polygamma(3, middle), 12.0), ops.mul(square, ops.div(ops.polygamma(5, middle), 360.0)))
    return ops.mul(square, ops.add(ops.polygamma(1, middle), ops.mul(square, outer)))


LARGEST_LOG_RATIO = 80.0
"""Largest log-ratio of an impossible state's density to the total that a derivative shows: exp(88) is too large."""


def is_always_positive(probability: Node) -> bool:
    """Whether `probability` is positive for all parameters and data."""
    return bounds_of(probability).within(POSITIVE)


def product_along_last(x: Node) -> Node:
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


def poisson_mass(k: Node, rate: Node) -> Node:
    """rate^k exp(-rate) / k!; at rate 0 by its expansion, exact to second order."""
    edge = ops.equal(frozen(rate), 0.0)
    usual = ops.exp(ops.log_poisson(k, ops.where(edge, 1.0, rate)))
    square = ops.mul(0.5, ops.mul(rate, rate))
    masses = ops.where(ops.equal(k, 2.0), square, 0.0)
    masses = ops.where(ops.equal(k, 1.0), ops.sub(rate, ops.mul(2.0, square)), masses)
    masses = ops.where(ops.equal(k, 0.0), ops.add(ops.sub(1.0, rate), square), masses)
    return ops.where(edge, masses, usual)


def log_weighted_sum(weight: Node, log_value: Node, axes: Sequence[Axis] = ()) -> Node:
    """log of the sum of weight * exp(log_value) over named `axes`, or over the last event dimension.

    A state of weight 0 adds nothing to the value. Its weight still has a derivative, exp(log_value) over the sum, where
    that is finite; nothing that its `log_value` depends on has one. All terms 0 give -inf without a derivative.
    """
    weight, log_value = ops.broadcast(weight, log_value)
    live = ops.less(0.0, frozen(weight))
    terms = ops.where(live, ops.add(log_value, ops.log(ops.where(live, weight, 1.0))), -float("inf"))
    top = ops.stop(_reduce_over("amax", terms, axes), "shift")
    dead = ops.logical_not(ops.less(ops.absolute(top), float("inf")))
    top = ops.where(dead, 0.0, top)
    known = ops.where(ops.less(frozen(log_value), float("inf")), frozen(log_value), -float("inf"))
    ratio = ops.exp(ops.minimum(ops.sub(known, top), LARGEST_LOG_RATIO))
    idle = ops.where(live, 0.0, ops.mul(ops.where(live, 0.0, weight), ratio))
    terms = ops.where(live, ops.exp(ops.sub(ops.where(live, terms, 0.0), top)), idle)
    sums = _reduce_over("sum", terms, axes)
    none = ops.equal(frozen(sums), 0.0)
    found = ops.where(none, -float("inf"), ops.add(ops.log(ops.where(none, 1.0, sums)), top))
    return found if axes else ops.reshape(found, log_value.type.shape[:-1])


def _reduce_over(op: str, x: Node, axes: Sequence[Axis]) -> Node:
    """`x` reduced over named axes, or over its last event dimension, which stays."""
    return make(op, x, axes=sort_axes(axes), dims=()) if axes else ops.reduce(op, x, -1, keepdims=True)


def on_unit_interval(probability: Node, formula: Callable[[Node], Node]) -> Node:
    """`formula` of probabilities, NaN where they leave [0, 1]."""
    if bounds_of(probability).within(CLOSED_UNIT):
        return formula(probability)
    inside = contains(CLOSED_UNIT, probability)
    return ops.where(inside, formula(ops.where(inside, probability, 0.5)), math.nan)


def safe_log(p: Node) -> Node:
    """log p; -inf without a derivative where p is 0."""
    dead = ops.less_equal(frozen(p), 0.0)
    return ops.where(dead, -math.inf, ops.log(ops.where(dead, 1.0, p)))


def constant_where_impossible(density: Node) -> Node:
    """`density`, a sum of which one term may be -inf, without the derivatives of the others where it is."""
    return ops.where(ops.equal(frozen(density), -math.inf), -math.inf, density)


def guarded_on_unit_interval(probability: Node, formula: Callable[[Node], Node]) -> Node:
    """`formula` of probabilities, NaN where they leave [0, 1]."""
    inside = contains(CLOSED_UNIT, probability)
    return ops.where(inside, formula(ops.where(inside, probability, 0.5)), math.nan)
