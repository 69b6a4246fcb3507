"""Entropies and divergences of the gamma family without the cancellation of large concentrations.

log gamma(a) = a log a - a - log a - d(a) and digamma(a) = log a - e(a), d Stirling's gap and e the gap of digamma. Put
into an entropy or a divergence, the logarithms cancel on paper, and small terms are left: d grows as log(a) / 2, e
falls as 1 / (2 a).
"""

from __future__ import annotations

from ppl.distributions.parts.formulas import frozen, gamma_exponent, stirling_gap
from ppl.ir import ops
from ppl.ir.node import Node

LARGE, SMALL = 16.0, 0.04
SERIES = (1 / 2, 1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)


def digamma_gap(a: Node) -> Node:
    """log a - digamma(a), by Stirling's series where a is large."""
    large = ops.less(LARGE, frozen(a))
    inverse = ops.div(1.0, ops.where(large, a, LARGE))
    square = ops.mul(inverse, inverse)
    total = ops.as_node(SERIES[-1])
    for term in reversed(SERIES[1:-1]):
        total = ops.add(ops.mul(total, square), term)
    series = ops.add(ops.mul(SERIES[0], inverse), ops.mul(total, square))
    small = ops.where(large, 1.0, a)
    return ops.where(large, series, ops.sub(ops.log(small), ops.polygamma(0, small)))


def log_spread(a: Node) -> Node:
    """(a - 1) e(a) - d(a): the entropy of a gamma variable of concentration a and rate 1."""
    return ops.sub(ops.mul(ops.sub(a, 1.0), digamma_gap(a)), stirling_gap(a))


def shape_divergence(a: Node, b: Node) -> Node:
    """KL from concentration a to b of gamma variables of equal means, over which the deviance of the means comes."""
    logs = ops.add(ops.sub(ops.log(a), ops.log(b)), ops.sub(stirling_gap(a), stirling_gap(b)))
    return ops.sub(logs, ops.mul(ops.sub(a, b), digamma_gap(a)))


def deviance(mean: Node, log_mean: Node, count: Node) -> Node:
    """count log(count / mean) + mean - count, not negative."""
    return ops.neg(gamma_exponent(mean, log_mean, count))


def spread_of_powers(t: Node, log_moments: tuple[Node, Node], rest: Node | None = None) -> Node:
    """The variance from the logarithms of the first two moments, which are log gamma at 1 + t and 1 + 2 t, up to what
    is linear in t; less the same at 1 + `rest`, where it is given.

    What the second exceeds the square of the first by is a second difference, for small t by its Taylor series.
    """
    first, second = log_moments
    small = ops.less(frozen(t), SMALL)
    step = ops.where(small, t, SMALL)
    excess = _second_difference(ops.add(1.0, step), step)
    if rest is not None:
        excess = ops.sub(excess, _second_difference(ops.add(ops.add(1.0, rest), step), step))
    excess = ops.where(small, excess, ops.sub(second, ops.mul(2.0, first)))
    return ops.mul(ops.exp(second), ops.neg(ops.expm1(ops.neg(ops.maximum(excess, 0.0)))))


def _second_difference(middle: Node, step: Node) -> Node:
    """log gamma(m + t) - 2 log gamma(m) + log gamma(m - t) for small t."""
    square = ops.mul(step, step)
    outer = ops.add(ops.div(ops.polygamma(3, middle), 12.0), ops.mul(square, ops.div(ops.polygamma(5, middle), 360.0)))
    return ops.mul(square, ops.add(ops.polygamma(1, middle), ops.mul(square, outer)))
