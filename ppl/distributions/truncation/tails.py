"""Both tails of a distribution, on the scale of probabilities and of their logarithms.

A cdf rounds to 1 far out in the upper tail, and a probability underflows in either one. What works there (`Truncated`)
asks for the logarithm of the tail at hand, and for the quantile at such a logarithm. A distribution gives the survival
function and its inverse; one whose tails have a closed logarithm gives that instead, as `LogTails`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.guards import contains
from ppl.distributions.domain.intervals import CLOSED_UNIT
from ppl.distributions.parts.eager import present
from ppl.distributions.parts.formulas import frozen
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node

if TYPE_CHECKING:
    from ppl.distributions.base import Distribution

FAR = -30.0
"""From here on downwards log(1 - exp(-exp(y))) is y to the last digit."""
DEEP = -40.0
"""From here on downwards a normal quantile is found from the logarithm of its probability."""


def _numbers_only(formula: Callable[[Node], Node]) -> Callable[[Node], Node]:
    """`formula`, but NaN at NaN, of which the comparisons in a formula know nothing."""

    def asked(value: Node) -> Node:
        if value.type.dtype != "float":
            return formula(value)
        return ops.where(ops.equal(frozen(value), frozen(value)), formula(value), math.nan)

    return asked


class Tails:
    """The formulas of the tails that a distribution may have.

    Attributes
    ----------
    log_tails : whether their logarithms are in closed form, so that they hold where a probability underflows.
    """

    log_tails: ClassVar[bool] = False

    def node_cdf(self, value: Node) -> Node:
        """P(X <= x), elementwise."""
        raise ModelError(f"{type(self).__name__} has no cdf")

    def node_icdf(self, probability: Node) -> Node:
        """The least x with P(X <= x) >= p, elementwise; NaN outside [0, 1]."""
        raise ModelError(f"{type(self).__name__} has no icdf")

    def node_sf(self, value: Node) -> Node:
        """P(X > x), elementwise, accurate where it is small."""
        raise ModelError(f"{type(self).__name__} has no survival function")

    def node_isf(self, probability: Node) -> Node:
        """The least x with P(X > x) <= q, elementwise, accurate where q is small; NaN outside [0, 1]."""
        raise ModelError(f"{type(self).__name__} has no inverse survival function")

    def smooth_between(self, low: Node, high: Node) -> Node | bool:
        """Whether the log-density has no kink between two points."""
        return True

    def node_log_cdf(self, value: Node) -> Node:
        """log P(X <= x)."""
        return safe_log(self.node_cdf(value))

    def node_log_sf(self, value: Node) -> Node:
        """log P(X > x)."""
        return safe_log(self.node_sf(value))

    def node_log_icdf(self, log_p: Node) -> Node:
        """The quantile at a logarithm of P(X <= x), which is at most 0."""
        return self.node_icdf(ops.exp(log_p))

    def node_log_isf(self, log_q: Node) -> Node:
        """The quantile at a logarithm of P(X > x), which is at most 0."""
        return self.node_isf(ops.exp(log_q))

    def cdf(self, value: Any) -> Any:
        """Cumulative distribution function, elementwise, of the shape of `value`."""
        return present((cast("Distribution", self),), _numbers_only(self.node_cdf), value)

    def sf(self, value: Any) -> Any:
        """Survival function P(X > value), elementwise; accurate where `cdf` rounds to 1."""
        return present((cast("Distribution", self),), _numbers_only(self.node_sf), value)

    def log_cdf(self, value: Any) -> Any:
        """Logarithm of the cdf, elementwise."""
        return present((cast("Distribution", self),), _numbers_only(self.node_log_cdf), value)

    def log_sf(self, value: Any) -> Any:
        """Logarithm of the survival function, elementwise."""
        return present((cast("Distribution", self),), _numbers_only(self.node_log_sf), value)

    def icdf(self, probability: Any) -> Any:
        """Quantile function, elementwise, of the shape of `probability`; NaN outside [0, 1]."""
        return present((cast("Distribution", self),), self.node_icdf, probability)

    def isf(self, probability: Any) -> Any:
        """Inverse of the survival function, elementwise; NaN outside [0, 1]."""
        return present((cast("Distribution", self),), self.node_isf, probability)


class LogTails(Tails):
    """Tails whose logarithms are in closed form: they hold where the probability itself underflows."""

    log_tails = True

    def node_sf(self, value: Node) -> Node:
        """P(X > x)."""
        return ops.exp(self.node_log_sf(value))

    def node_isf(self, probability: Node) -> Node:
        """The quantile at P(X > x)."""
        return on_unit(probability, lambda q: self.node_log_isf(ops.log(q)))


def on_unit(probability: Node, formula: Callable[[Node], Node]) -> Node:
    """`formula` of probabilities, NaN where they leave [0, 1]."""
    if bounds_of(probability).within(CLOSED_UNIT):
        return formula(probability)
    inside = contains(CLOSED_UNIT, probability)
    return ops.where(inside, formula(ops.where(inside, probability, 0.5)), math.nan)


def safe_log(p: Node) -> Node:
    """log p; -inf without a derivative where p is 0."""
    dead = ops.less_equal(frozen(p), 0.0)
    return ops.where(dead, -math.inf, ops.log(ops.where(dead, 1.0, p)))


def log_below(log_power: Node) -> Node:
    """log(1 - exp(-exp(y))) at y: the log cdf of an exponential variable of rate 1 at exp(y)."""
    far = ops.less(frozen(log_power), FAR)
    near = ops.log1mexp(ops.neg(ops.exp(ops.where(far, 0.0, log_power))))
    return ops.where(far, log_power, near)


def log_power_below(log_p: Node) -> Node:
    """log(-log(1 - exp(l))) at l, the inverse of `log_below`."""
    far = ops.less(frozen(log_p), FAR)
    near = ops.log(ops.neg(ops.log1mexp(ops.where(far, -1.0, log_p))))
    return ops.where(far, log_p, near)


def normal_quantile(log_p: Node) -> Node:
    """The standard normal quantile at a logarithm of the probability, of any size.

    Far out it solves log_ndtr(z) = l by Newton's method from z^2 = y - log y, y = -2 l - log(2 pi), with the
    first terms of the hazard, |z| + 1 / |z|. The steps carry derivatives as they carry the value.
    """
    far = ops.less(frozen(log_p), DEEP)
    near = ops.ndtri(ops.exp(ops.where(far, -1.0, log_p)))
    end = ops.equal(frozen(log_p), -math.inf)
    target = ops.where(ops.logical_and(far, ops.logical_not(end)), log_p, DEEP)
    y = ops.sub(ops.mul(-2.0, target), math.log(2 * math.pi))
    size = ops.sqrt(ops.sub(y, ops.log(y)))
    for _ in range(4):
        short = ops.sub(ops.log_ndtr(ops.neg(size)), target)
        size = ops.add(size, ops.div(short, ops.add(size, ops.div(1.0, size))))
    return ops.where(end, -math.inf, ops.where(far, ops.neg(size), near))


class Hazard(LogTails):
    """Tails of a law that is x(h) of an exponential variable h of rate 1, its cumulative hazard, x increasing.

    A subclass gives log h at x and x at log h, which hold where h underflows; where it has a shorter way,
    `node_log_sf`, which is -h, and `node_log_isf`.
    """

    def log_hazard(self, value: Node) -> Node:
        """log h; -inf below the support."""
        raise NotImplementedError

    def at_log_hazard(self, log_hazard: Node) -> Node:
        """x."""
        raise NotImplementedError

    def node_log_sf(self, value: Node) -> Node:
        """-h."""
        return ops.neg(ops.exp(self.log_hazard(value)))

    def node_log_cdf(self, value: Node) -> Node:
        """log(1 - exp(-h))."""
        return log_below(self.log_hazard(value))

    def node_log_isf(self, log_q: Node) -> Node:
        """x at h = -l."""
        return self.at_log_hazard(ops.log(ops.neg(log_q)))

    def node_log_icdf(self, log_p: Node) -> Node:
        """x at h = -log(1 - exp(l))."""
        return self.at_log_hazard(log_power_below(log_p))
