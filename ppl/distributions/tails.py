"""Base classes of laws whose tails have closed logarithms, so that they hold where a probability underflows.

`LogTails` is for laws with closed log cdf and log survival function, `Hazard` for functions of an exponential
variable."""

import math

from ppl.distributions.base import Tails
from ppl.distributions.formulas import frozen, on_unit_interval
from ppl.ir import ops
from ppl.ir.node import Node

LINEAR_BELOW = -30.0
"""From here on downwards log(1 - exp(-exp(y))) is y to the last digit."""

DEEP_TAIL = -40.0
"""From here on downwards a normal quantile is found from the logarithm of its probability."""


class LogTails(Tails):
    """Tails whose logarithms are in closed form: they hold where the probability itself underflows."""

    log_tails = True

    def node_sf(self, value: Node) -> Node:
        """P(X > x)."""
        return ops.exp(self.node_log_sf(value))

    def node_isf(self, probability: Node) -> Node:
        """The quantile at P(X > x)."""
        return on_unit_interval(probability, lambda q: self.node_log_isf(ops.log(q)))


def log_exponential_cdf(log_power: Node) -> Node:
    """log(1 - exp(-exp(y))) at y: the log cdf of an exponential variable of rate 1 at exp(y)."""
    far = ops.less(frozen(log_power), LINEAR_BELOW)
    near = ops.log1mexp(ops.neg(ops.exp(ops.where(far, 0.0, log_power))))
    return ops.where(far, log_power, near)


def log_exponential_quantile(log_p: Node) -> Node:
    """log(-log(1 - exp(l))) at l, the inverse of `log_below`."""
    far = ops.less(frozen(log_p), LINEAR_BELOW)
    near = ops.log(ops.neg(ops.log1mexp(ops.where(far, -1.0, log_p))))
    return ops.where(far, log_p, near)


def normal_quantile_at_log(log_p: Node) -> Node:
    """The standard normal quantile at a logarithm of the probability, of any size.

    Far out it solves log_ndtr(z) = l by Newton's method from z^2 = y - log y, y = -2 l - log(2 pi), with the
    first terms of the hazard, |z| + 1 / |z|. The steps carry derivatives as they carry the value.
    """
    far = ops.less(frozen(log_p), DEEP_TAIL)
    near = ops.ndtri(ops.exp(ops.where(far, -1.0, log_p)))
    end = ops.equal(frozen(log_p), -math.inf)
    target = ops.where(ops.logical_and(far, ops.logical_not(end)), log_p, DEEP_TAIL)
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
        return log_exponential_cdf(self.log_hazard(value))

    def node_log_isf(self, log_q: Node) -> Node:
        """x at h = -l."""
        return self.at_log_hazard(ops.log(ops.neg(log_q)))

    def node_log_icdf(self, log_p: Node) -> Node:
        """x at h = -log(1 - exp(l))."""
        return self.at_log_hazard(log_exponential_quantile(log_p))
