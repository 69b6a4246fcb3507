"""The exponential, Weibull and Pareto distributions: increasing functions of an exponential variable."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import Distribution, guarded, is_own_sample
from ppl.distributions.bounds import bounds_of, contains
from ppl.distributions.formulas import EULER, frozen, log_quotient, safe_log, variance_of_power, where_above
from ppl.distributions.intervals import NONNEGATIVE, POSITIVE, Interval
from ppl.distributions.support import Support
from ppl.distributions.tails import Hazard
from ppl.ir import ops
from ppl.ir.node import Node


class Exponential(Hazard, Distribution):
    """Exponential(rate): density rate * exp(-rate * x) on x >= 0; path -log(1 - u) / rate.

    Samples are positive; the density also holds at its edge 0.

    Parameters
    ----------
    rate : positive, the inverse of the mean.
    """

    reparameterized = True
    draws_quantiles = True
    constraints: ClassVar[dict[str, str]] = {"rate": "positive"}

    def __init__(self, rate: Any = 1.0):
        super().__init__(rate=rate)

    @property
    def support(self) -> Support:
        """x > 0."""
        return Support.POSITIVE

    def unit_log_prob(self, value: Node) -> Node:
        """log rate - rate * x."""
        rate = self.params["rate"]
        return guarded(self, value, NONNEGATIVE, 0.0, lambda x: ops.sub(ops.log(rate), ops.mul(rate, x)))

    def draw(self, *u: Node) -> Node:
        """-log(1 - u) / rate."""
        return ops.div(ops.neg(ops.log1p(ops.neg(u[0]))), self.params["rate"])

    def node_mean(self) -> Node:
        """1 / rate."""
        return ops.div(1.0, self.params["rate"])

    def node_mode(self) -> Node:
        """0."""
        return ops.mul(0.0, self.params["rate"])

    def unit_covariance(self) -> Node:
        """1 / rate^2."""
        mean = self.node_mean()
        return ops.mul(mean, mean)

    def unit_entropy(self) -> Node:
        """1 - log rate."""
        return ops.sub(1.0, ops.log(self.params["rate"]))

    def node_cdf(self, value: Node) -> Node:
        """1 - exp(-rate * x), 0 for negative x."""
        inside = ops.less_equal(0.0, value)
        return ops.where(inside, ops.neg(ops.expm1(ops.neg(ops.mul(self.params["rate"], value)))), 0.0)

    def log_hazard(self, value: Node) -> Node:
        """log(rate x)."""
        return safe_log(ops.mul(self.params["rate"], value))

    def at_log_hazard(self, log_hazard: Node) -> Node:
        """exp(log h) / rate."""
        return ops.div(ops.exp(log_hazard), self.params["rate"])

    def node_log_sf(self, value: Node) -> Node:
        """-rate x, 0 for negative x."""
        return ops.neg(ops.mul(self.params["rate"], ops.maximum(value, 0.0)))

    def node_log_isf(self, log_q: Node) -> Node:
        """-l / rate."""
        return ops.neg(ops.div(log_q, self.params["rate"]))


class Weibull(Hazard, Distribution):
    """Weibull(concentration, scale): cdf 1 - exp(-(x / scale)^concentration) on x > 0.

    The path is the inverse cdf, scale * (-log(1 - u))^(1 / concentration).

    Parameters
    ----------
    concentration : positive shape; 1 makes it Exponential(1 / scale).
    scale : positive.
    """

    reparameterized = True
    draws_quantiles = True
    constraints: ClassVar[dict[str, str]] = {"concentration": "positive", "scale": "positive"}

    def __init__(self, concentration: Any, scale: Any = 1.0):
        super().__init__(concentration=concentration, scale=scale)

    @property
    def support(self) -> Support:
        """x > 0."""
        return Support.POSITIVE

    def unit_log_prob(self, value: Node) -> Node:
        """log k + k l - exp(k l) - log x, l = log(x / scale), k the concentration."""
        k = self.params["concentration"]

        def inside(x: Node) -> Node:
            power = ops.mul(k, log_quotient(x, self.params["scale"]))
            return ops.add(ops.sub(ops.log(k), ops.log(x)), ops.sub(power, ops.exp(power)))

        return guarded(self, value, POSITIVE, 1.0, inside)

    def draw(self, *u: Node) -> Node:
        """scale * exp(log(-log(1 - u)) / k)."""
        log_time = ops.log(ops.neg(ops.log1p(ops.neg(u[0]))))
        return ops.mul(self.params["scale"], ops.exp(ops.div(log_time, self.params["concentration"])))

    def log_moment(self, order: float) -> Node:
        """log E[(x / scale)^order], log gamma(1 + order / k)."""
        return ops.lgamma(ops.add(1.0, ops.div(order, self.params["concentration"])))

    def node_mean(self) -> Node:
        """scale * gamma(1 + 1 / k)."""
        return ops.mul(self.params["scale"], ops.exp(self.log_moment(1.0)))

    def node_mode(self) -> Node:
        """scale * (1 - 1 / k)^(1 / k), or 0 where k is at most 1."""
        k = self.params["concentration"]
        inner = ops.less(1.0, k)
        k = ops.where(inner, k, 2.0)
        peak = ops.exp(ops.div(ops.log1p(ops.neg(ops.div(1.0, k))), k))
        return ops.where(inner, ops.mul(self.params["scale"], peak), 0.0)

    def unit_covariance(self) -> Node:
        """scale^2 (gamma(1 + 2 / k) - gamma(1 + 1 / k)^2)."""
        scale = self.params["scale"]
        moments = self.log_moment(1.0), self.log_moment(2.0)
        return ops.mul(ops.mul(scale, scale), variance_of_power(ops.div(1.0, self.params["concentration"]), moments))

    def unit_entropy(self) -> Node:
        """Euler's constant (1 - 1 / k) + log(scale / k) + 1."""
        k = self.params["concentration"]
        logs = ops.sub(ops.log(self.params["scale"]), ops.log(k))
        return ops.add(ops.sub(logs, ops.div(EULER, k)), EULER + 1.0)

    def node_cdf(self, value: Node) -> Node:
        """1 - exp(-(x / scale)^k), 0 for x <= 0."""
        inside = contains(POSITIVE, value)
        log_ratio = log_quotient(ops.where(inside, value, 1.0), self.params["scale"])
        power = ops.exp(ops.mul(self.params["concentration"], log_ratio))
        return ops.where(inside, ops.neg(ops.expm1(ops.neg(power))), 0.0)

    def log_hazard(self, value: Node) -> Node:
        """k log(x / scale)."""
        inside = contains(POSITIVE, value)
        log_ratio = log_quotient(ops.where(inside, value, 1.0), self.params["scale"])
        return ops.where(inside, ops.mul(self.params["concentration"], log_ratio), -math.inf)

    def at_log_hazard(self, log_hazard: Node) -> Node:
        """scale * exp(log h / k)."""
        return ops.mul(self.params["scale"], ops.exp(ops.div(log_hazard, self.params["concentration"])))


OVERFLOWING_RATIO = 1e8


class Pareto(Hazard, Distribution):
    """Pareto(scale, concentration): cdf 1 - (scale / x)^concentration on x >= scale, which the scale moves.

    The path is the inverse cdf, scale * (1 - u)^(-1 / concentration).

    Parameters
    ----------
    scale : positive, the smallest value.
    concentration : positive exponent of the tail; the mean is finite above 1, the variance above 2.
    """

    reparameterized = True
    draws_quantiles = True
    moving = frozenset({"scale"})
    constraints: ClassVar[dict[str, str]] = {"scale": "positive", "concentration": "positive"}

    def __init__(self, scale: Any, concentration: Any):
        super().__init__(scale=scale, concentration=concentration)

    @property
    def support(self) -> Support:
        """From a parameter on."""
        return Support.INTERVAL

    @property
    def bounds(self) -> Interval:
        """From the smallest scale on, as far as it is known; positive."""
        return Interval(max(bounds_of(self.params["scale"]).lo, 0.0), math.inf)

    def unit_log_prob(self, value: Node) -> Node:
        """log a - log x - a log(x / scale), a the concentration."""
        (scale, a), x = self.params.values(), value
        sure = is_own_sample(self, value) or bounds_of(value).within(Interval(bounds_of(scale).hi, math.inf, False))
        inside = ops.less_equal(scale, value)
        x = value if sure else ops.where(inside, value, scale)
        far = ops.less(ops.mul(OVERFLOWING_RATIO, frozen(scale)), frozen(x))  # where the quotient may overflow
        near = ops.log(ops.where(far, 1.0, ops.div(x, scale)))
        ratio = ops.where(far, ops.sub(ops.log(x), ops.log(scale)), near)
        density = ops.sub(ops.sub(ops.log(a), ops.log(x)), ops.mul(a, ratio))
        return density if sure else ops.where(inside, density, -math.inf)

    def draw(self, *u: Node) -> Node:
        """scale * exp(-log(1 - u) / a)."""
        scale, a = self.params.values()
        return ops.mul(scale, ops.exp(ops.div(ops.neg(ops.log1p(ops.neg(u[0]))), a)))

    def node_mean(self) -> Node:
        """a scale / (a - 1), infinite where a is at most 1."""
        scale, a = self.params.values()
        return where_above(a, 1.0, lambda a: ops.mul(scale, ops.div(a, ops.sub(a, 1.0))), math.inf)

    def node_mode(self) -> Node:
        """scale."""
        return self.params["scale"]

    def unit_covariance(self) -> Node:
        """(scale / (a - 1))^2 a / (a - 2), infinite where a is at most 2."""
        scale, a = self.params.values()

        def finite(a: Node) -> Node:
            unit = ops.div(scale, ops.sub(a, 1.0))
            return ops.mul(ops.mul(unit, unit), ops.div(a, ops.sub(a, 2.0)))

        return where_above(a, 2.0, finite, math.inf)

    def unit_entropy(self) -> Node:
        """log(scale / a) + 1 + 1 / a."""
        scale, a = self.params.values()
        return ops.add(ops.sub(ops.log(scale), ops.log(a)), ops.add(1.0, ops.div(1.0, a)))

    def node_cdf(self, value: Node) -> Node:
        """1 - (scale / x)^a, 0 below scale."""
        return ops.neg(ops.expm1(self.node_log_sf(value)))

    def log_ratio(self, value: Node) -> Node:
        """log(x / scale), 0 below scale."""
        scale = self.params["scale"]
        x = ops.maximum(value, scale)
        near = ops.less(frozen(x), ops.mul(2.0, frozen(scale)))
        excess = ops.div(ops.sub(ops.where(near, x, scale), scale), scale)
        return ops.where(near, ops.log1p(excess), ops.sub(ops.log(ops.where(near, scale, x)), ops.log(scale)))

    def log_hazard(self, value: Node) -> Node:
        """log a + log log(x / scale)."""
        return safe_log(ops.mul(self.params["concentration"], self.log_ratio(value)))

    def at_log_hazard(self, log_hazard: Node) -> Node:
        """scale * exp(h / a)."""
        scale, a = self.params.values()
        return ops.mul(scale, ops.exp(ops.div(ops.exp(log_hazard), a)))

    def node_log_sf(self, value: Node) -> Node:
        """-a log(x / scale)."""
        return ops.neg(ops.mul(self.params["concentration"], self.log_ratio(value)))

    def node_log_isf(self, log_q: Node) -> Node:
        """scale * exp(-l / a)."""
        scale, a = self.params.values()
        return ops.mul(scale, ops.exp(ops.neg(ops.div(log_q, a))))
