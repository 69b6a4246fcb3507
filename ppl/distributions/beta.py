"""The beta distribution."""

from __future__ import annotations

from typing import Any, ClassVar

from ppl.distributions.base import KEY, Distribution
from ppl.distributions.domain.guards import guarded
from ppl.distributions.domain.intervals import UNIT
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.formulas import frozen, log_beta, mode_of_unit_interval
from ppl.distributions.parts.gamma_formulas import digamma_gap, log_spread
from ppl.ir import incomplete, ops
from ppl.ir.node import Node

LOST = 1e-3
"""A ratio of concentrations below which one is rounded away in their sum."""


class Beta(Distribution):
    """Beta(concentration1, concentration0): density proportional to x^(c1 - 1) (1 - x)^(c0 - 1) on 0 < x < 1.

    The sample is sigmoid(y1 - y0) with y1, y0 the logarithms of two standard gamma draws, so that small concentrations
    do not make 0 / 0. Its path goes through the implicit derivatives of both (Figurnov, Mohamed & Mnih 2018).

    Parameters
    ----------
    concentration1 : positive; large values push x towards 1.
    concentration0 : positive; large values push x towards 0.
    """

    reparameterized = True
    implicit = True
    constraints: ClassVar[dict[str, str]] = {"concentration1": "positive", "concentration0": "positive"}

    def __init__(self, concentration1: Any, concentration0: Any):
        super().__init__(concentration1=concentration1, concentration0=concentration0)

    @property
    def support(self) -> Support:
        """0 < x < 1."""
        return Support.UNIT_INTERVAL

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """A noise key."""
        return (KEY,)

    def log_normalizer(self) -> Node:
        """log B(c1, c0)."""
        one, zero = self.params.values()
        return log_beta(one, zero)

    def unit_log_prob(self, value: Node) -> Node:
        """(c1 - 1) log x + (c0 - 1) log(1 - x) - log B(c1, c0).

        That is c1 c0 / ((c1 + c0) x (1 - x)) times the binomial mass of c1 and c0 at x, in which nothing cancels. Where
        one concentration is lost in the sum of both, the plain terms do not either; slopes are theirs.
        """
        one, zero = self.params.values()
        large = ops.less(frozen(zero), frozen(one))
        share = ops.div(ops.where(large, one, zero), ops.add(one, zero))
        odds = ops.add(ops.log(ops.where(large, zero, one)), ops.log(share))

        def inside(x: Node) -> Node:
            up, down = ops.log(x), ops.log1p(ops.neg(x))
            powers = ops.add(ops.mul(ops.sub(one, 1.0), up), ops.mul(ops.sub(zero, 1.0), down))
            exact = ops.add(ops.log_binomial(one, zero, x), ops.sub(odds, ops.add(up, down)))
            plain = ops.sub(powers, self.log_normalizer())
            odd = ops.div(frozen(zero), frozen(one))
            even = ops.logical_and(ops.less(LOST, odd), ops.less(LOST, ops.div(1.0, odd)))
            return ops.graft(ops.where(even, exact, plain), plain, exact=True)

        return guarded(self, value, UNIT, 0.5, inside)

    def draw(self, *u: Node) -> Node:
        """sigmoid(y1 - y0)."""
        one, zero = self.params.values()
        return ops.sigmoid(ops.sub(ops.loggamma_draw(one, u[0], 0), ops.loggamma_draw(zero, u[0], 1)))

    def node_mean(self) -> Node:
        """c1 / (c1 + c0)."""
        one, zero = self.params.values()
        return ops.div(one, ops.add(one, zero))

    def node_mode(self) -> Node:
        """(c1 - 1) / (c1 + c0 - 2), at an end where one concentration is below 1; NaN where there is no single mode."""
        one, zero = (ops.sub(c, 1.0) for c in self.params.values())
        return mode_of_unit_interval(one, zero, ops.div(one, ops.add(one, zero)))

    def unit_covariance(self) -> Node:
        """m (1 - m) / (c1 + c0 + 1), m the mean."""
        one, zero = self.params.values()
        total = ops.add(one, zero)
        return ops.div(ops.mul(ops.div(one, total), ops.div(zero, total)), ops.add(total, 1.0))

    def unit_entropy(self) -> Node:
        """log B - (c1 - 1) digamma(c1) - (c0 - 1) digamma(c0) + (c1 + c0 - 2) digamma(c1 + c0)."""
        one, zero = self.params.values()
        total = ops.add(one, zero)
        whole = ops.add(ops.sub(log_spread(total), digamma_gap(total)), ops.log(total))
        return ops.sub(ops.add(log_spread(one), log_spread(zero)), whole)

    def node_cdf(self, value: Node) -> Node:
        """I_x(c1, c0), the regularized incomplete beta function."""
        one, zero = self.params.values()
        inside = ops.logical_and(ops.less(0.0, value), ops.less(value, 1.0))
        found = incomplete.betainc(one, zero, ops.where(inside, value, 0.5))
        return ops.where(inside, found, ops.cast(ops.less_equal(1.0, value), "float"))

    def node_icdf(self, probability: Node) -> Node:
        """The inverse of I_x(c1, c0) in x."""
        one, zero = self.params.values()
        return incomplete.betaincinv(one, zero, probability)

    def node_sf(self, value: Node) -> Node:
        """I_(1 - x)(c0, c1); below 1 / 2 as 1 - I_x(c1, c0) where the density exceeds 1.

        1 - x is off by half a unit in the last place, which costs that times the density; 1 - I_x costs half a unit.
        """
        inside = ops.logical_and(ops.less(0.0, value), ops.less(value, 1.0))
        x = ops.where(inside, value, 0.5)
        dense = ops.less(0.0, frozen(self.unit_log_prob(x)))
        low = ops.logical_and(ops.less(frozen(x), 0.5), dense)
        found = incomplete.betainc(*self._turned(low), ops.where(low, x, ops.sub(1.0, x)))
        found = ops.where(low, ops.sub(1.0, found), found)
        return ops.where(inside, found, ops.cast(ops.less_equal(value, 0.0), "float"))

    def _turned(self, low: Node) -> tuple[Node, Node]:
        """The concentrations, where `low` is false in the other order."""
        one, zero = self.params.values()
        return ops.where(low, one, zero), ops.where(low, zero, one)

    def node_isf(self, probability: Node) -> Node:
        """1 less the inverse of I_x(c0, c1), above 1 / 2 the inverse of I_x(c1, c0) at 1 - q."""
        low = ops.less(0.5, frozen(probability))
        found = incomplete.betaincinv(*self._turned(low), ops.where(low, ops.sub(1.0, probability), probability))
        return ops.where(low, found, ops.sub(1.0, found))
