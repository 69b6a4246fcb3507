"""The Kumaraswamy distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import Distribution
from ppl.distributions.domain.guards import contains, guarded
from ppl.distributions.domain.intervals import UNIT
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.formulas import EULER, log_beta, log_of, mode_of_unit_interval
from ppl.distributions.parts.gamma_formulas import spread_of_powers
from ppl.distributions.truncation.tails import Hazard, log_below, log_power_below
from ppl.ir import ops
from ppl.ir.node import Node


class Kumaraswamy(Hazard, Distribution):
    """Kumaraswamy(concentration1 = a, concentration0 = b): cdf 1 - (1 - x^a)^b on 0 < x < 1 (Kumaraswamy 1980).

    Close to Beta(a, b), with a path in closed form, the inverse cdf (1 - (1 - u)^(1 / b))^(1 / a).

    Parameters
    ----------
    concentration1 : positive; large values push x towards 1.
    concentration0 : positive; large values push x towards 0.
    """

    reparameterized = True
    draws_quantiles = True
    constraints: ClassVar[dict[str, str]] = {"concentration1": "positive", "concentration0": "positive"}

    def __init__(self, concentration1: Any, concentration0: Any):
        super().__init__(concentration1=concentration1, concentration0=concentration0)

    @property
    def support(self) -> Support:
        """0 < x < 1."""
        return Support.UNIT_INTERVAL

    def unit_log_prob(self, value: Node) -> Node:
        """log a + log b + (a - 1) log x + (b - 1) log(1 - x^a)."""
        a, b = self.params.values()

        def inside(x: Node) -> Node:
            log_x = log_of(x)
            low = ops.mul(ops.sub(a, 1.0), log_x)
            high = ops.mul(ops.sub(b, 1.0), ops.log1mexp(ops.mul(a, log_x)))
            return ops.add(ops.add(ops.log(a), ops.log(b)), ops.add(low, high))

        return guarded(self, value, UNIT, 0.5, inside)

    def draw(self, *u: Node) -> Node:
        """exp(log(1 - exp(log(1 - u) / b)) / a)."""
        a, b = self.params.values()
        return ops.exp(ops.div(ops.log1mexp(ops.div(ops.log1p(ops.neg(u[0])), b)), a))

    def log_moment(self, order: float) -> Node:
        """log E[x^order], log of b times the beta function of 1 + order / a and b."""
        a, b = self.params.values()
        first = ops.add(1.0, ops.div(order, a))
        return ops.add(ops.log(b), log_beta(first, b))

    def node_mean(self) -> Node:
        """b B(1 + 1 / a, b)."""
        return ops.exp(self.log_moment(1.0))

    def node_mode(self) -> Node:
        """((a - 1) / (a b - 1))^(1 / a); at an end where one concentration is below 1; NaN without a single mode."""
        a, b = self.params.values()
        up, down = ops.sub(a, 1.0), ops.sub(b, 1.0)
        inner = ops.logical_and(ops.less(0.0, up), ops.less_equal(0.0, down))
        ratio = ops.div(ops.where(inner, up, 0.5), ops.where(inner, ops.sub(ops.mul(a, b), 1.0), 1.0))
        peak = ops.where(inner, ops.exp(ops.div(ops.log(ratio), a)), 0.0)
        return mode_of_unit_interval(up, down, peak)

    def unit_covariance(self) -> Node:
        """b B(1 + 2 / a, b) - mean^2."""
        a, b = self.params.values()
        return spread_of_powers(ops.div(1.0, a), (self.log_moment(1.0), self.log_moment(2.0)), b)

    def unit_entropy(self) -> Node:
        """1 - 1 / b + (1 - 1 / a) (digamma(b + 1) + Euler's constant) - log(a b)."""
        a, b = self.params.values()
        harmonic = ops.add(ops.polygamma(0, ops.add(b, 1.0)), EULER)
        weighed = ops.mul(ops.sub(1.0, ops.div(1.0, a)), harmonic)
        return ops.sub(ops.add(ops.sub(1.0, ops.div(1.0, b)), weighed), ops.add(ops.log(a), ops.log(b)))

    def node_cdf(self, value: Node) -> Node:
        """1 - (1 - x^a)^b, 0 and 1 beyond the ends."""
        a, b = self.params.values()
        inside = contains(UNIT, value)
        power = ops.mul(a, ops.log(ops.where(inside, value, 0.5)))
        middle = ops.neg(ops.expm1(ops.mul(b, ops.log1mexp(power))))
        return ops.where(inside, middle, ops.cast(ops.less(0.0, value), "float"))

    def _log_power(self, value: Node) -> Node:
        """a log x inside the support, the logarithm of x^a."""
        return ops.mul(self.params["concentration1"], log_of(ops.where(contains(UNIT, value), value, 0.5)))

    def node_log_sf(self, value: Node) -> Node:
        """b log(1 - x^a), 0 and -inf beyond the ends."""
        middle = ops.mul(self.params["concentration0"], ops.log1mexp(self._log_power(value)))
        beyond = ops.where(ops.less(0.0, value), -math.inf, 0.0)
        return ops.where(contains(UNIT, value), middle, beyond)

    def log_hazard(self, value: Node) -> Node:
        """log b + log(-log(1 - x^a))."""
        middle = ops.add(ops.log(self.params["concentration0"]), log_power_below(self._log_power(value)))
        return ops.where(contains(UNIT, value), middle, ops.where(ops.less(0.0, value), math.inf, -math.inf))

    def at_log_hazard(self, log_hazard: Node) -> Node:
        """(1 - exp(-h / b))^(1 / a)."""
        a, b = self.params.values()
        return ops.exp(ops.div(log_below(ops.sub(log_hazard, ops.log(b))), a))
