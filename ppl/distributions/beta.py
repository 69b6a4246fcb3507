"""Laws of proportions: the beta, Kumaraswamy and Dirichlet distributions."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import KEY, Distribution, guarded, guarded_rows
from ppl.distributions.bounds import contains
from ppl.distributions.formulas import (
    EULER,
    digamma_gap,
    frozen,
    log_beta,
    log_of,
    mode_on_unit_interval,
    simplex_covariance,
    standard_gamma_entropy,
    variance_of_power,
)
from ppl.distributions.intervals import UNIT
from ppl.distributions.support import Support
from ppl.distributions.tails import Hazard, log_exponential_cdf, log_exponential_quantile
from ppl.errors import ShapeError
from ppl.ir import cdfs, ops
from ppl.ir.node import Node

ROUNDED_AWAY = 1e-3
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
            even = ops.logical_and(ops.less(ROUNDED_AWAY, odd), ops.less(ROUNDED_AWAY, ops.div(1.0, odd)))
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
        return mode_on_unit_interval(one, zero, ops.div(one, ops.add(one, zero)))

    def unit_covariance(self) -> Node:
        """m (1 - m) / (c1 + c0 + 1), m the mean."""
        one, zero = self.params.values()
        total = ops.add(one, zero)
        return ops.div(ops.mul(ops.div(one, total), ops.div(zero, total)), ops.add(total, 1.0))

    def unit_entropy(self) -> Node:
        """log B - (c1 - 1) digamma(c1) - (c0 - 1) digamma(c0) + (c1 + c0 - 2) digamma(c1 + c0)."""
        one, zero = self.params.values()
        total = ops.add(one, zero)
        whole = ops.add(ops.sub(standard_gamma_entropy(total), digamma_gap(total)), ops.log(total))
        return ops.sub(ops.add(standard_gamma_entropy(one), standard_gamma_entropy(zero)), whole)

    def node_cdf(self, value: Node) -> Node:
        """I_x(c1, c0), the regularized incomplete beta function."""
        one, zero = self.params.values()
        inside = ops.logical_and(ops.less(0.0, value), ops.less(value, 1.0))
        found = cdfs.betainc(one, zero, ops.where(inside, value, 0.5))
        return ops.where(inside, found, ops.cast(ops.less_equal(1.0, value), "float"))

    def node_icdf(self, probability: Node) -> Node:
        """The inverse of I_x(c1, c0) in x."""
        one, zero = self.params.values()
        return cdfs.betaincinv(one, zero, probability)

    def node_sf(self, value: Node) -> Node:
        """I_(1 - x)(c0, c1); below 1 / 2 as 1 - I_x(c1, c0) where the density exceeds 1.

        1 - x is off by half a unit in the last place, which costs that times the density; 1 - I_x costs half a unit.
        """
        inside = ops.logical_and(ops.less(0.0, value), ops.less(value, 1.0))
        x = ops.where(inside, value, 0.5)
        dense = ops.less(0.0, frozen(self.unit_log_prob(x)))
        low = ops.logical_and(ops.less(frozen(x), 0.5), dense)
        found = cdfs.betainc(*self._ordered_concentrations(low), ops.where(low, x, ops.sub(1.0, x)))
        found = ops.where(low, ops.sub(1.0, found), found)
        return ops.where(inside, found, ops.cast(ops.less_equal(value, 0.0), "float"))

    def _ordered_concentrations(self, low: Node) -> tuple[Node, Node]:
        """The concentrations, where `low` is false in the other order."""
        one, zero = self.params.values()
        return ops.where(low, one, zero), ops.where(low, zero, one)

    def node_isf(self, probability: Node) -> Node:
        """1 less the inverse of I_x(c0, c1), above 1 / 2 the inverse of I_x(c1, c0) at 1 - q."""
        low = ops.less(0.5, frozen(probability))
        found = cdfs.betaincinv(
            *self._ordered_concentrations(low), ops.where(low, ops.sub(1.0, probability), probability)
        )
        return ops.where(low, found, ops.sub(1.0, found))


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
        return mode_on_unit_interval(up, down, peak)

    def unit_covariance(self) -> Node:
        """b B(1 + 2 / a, b) - mean^2."""
        a, b = self.params.values()
        return variance_of_power(ops.div(1.0, a), (self.log_moment(1.0), self.log_moment(2.0)), b)

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
        middle = ops.add(ops.log(self.params["concentration0"]), log_exponential_quantile(self._log_power(value)))
        return ops.where(contains(UNIT, value), middle, ops.where(ops.less(0.0, value), math.inf, -math.inf))

    def at_log_hazard(self, log_hazard: Node) -> Node:
        """(1 - exp(-h / b))^(1 / a)."""
        a, b = self.params.values()
        return ops.exp(ops.div(log_exponential_cdf(ops.sub(log_hazard, ops.log(b))), a))


class Dirichlet(Distribution):
    """Dirichlet(concentration): density proportional to the product of x_i^(a_i - 1) on rows that sum to 1.

    The sample is softmax(y) with y the logarithms of standard gamma draws, one per class; its path goes through their
    implicit derivatives (Figurnov, Mohamed & Mnih 2018).

    Parameters
    ----------
    concentration : shape (…, K), positive.
    """

    reparameterized = True
    implicit = True
    unit_rank = 1
    param_rank = 1
    constraints: ClassVar[dict[str, str]] = {"concentration": "positive"}

    def __init__(self, concentration: Any):
        super().__init__(concentration=concentration)
        shape = self.params["concentration"].type.shape
        if not shape or shape[-1] < 2:
            raise ShapeError(f"Dirichlet: concentration needs a last axis of at least two classes, got shape {shape}")

    @property
    def support(self) -> Support:
        """Rows of positive numbers that sum to 1."""
        return Support.SIMPLEX

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """A noise key."""
        return (KEY,)

    def log_normalizer(self) -> Node:
        """The sum of log gamma(a_i), less log gamma of their sum."""
        a = self.params["concentration"]
        return ops.sub(ops.reduce_sum(ops.lgamma(a), -1), ops.lgamma(ops.reduce_sum(a, -1)))

    def unit_log_prob(self, value: Node) -> Node:
        """The sum of (a_i - 1) log x_i, less the normalizer."""
        return guarded_rows(self, value, self._log_prob_inside)

    def _log_prob_inside(self, value: Node) -> Node:
        """From Poisson masses of a_i at A x_i, A the sum of the a_i, in which nothing cancels; slopes are plain."""
        a = self.params["concentration"]
        powers = ops.mul(ops.sub(a, 1.0), ops.log(value))
        plain = ops.sub(ops.reduce_sum(powers, -1), self.log_normalizer())
        total = ops.reduce_sum(a, -1, keepdims=True)
        means = ops.mul(total, ops.div(value, ops.reduce_sum(value, -1, keepdims=True)))
        ratios = ops.sub(ops.log(a), ops.log(value))
        masses = ops.reduce_sum(ops.add(ops.log_poisson(a, means), ratios), -1)
        whole = ops.reshape(ops.add(ops.log_poisson(total, total), ops.log(total)), masses.type.shape)
        return ops.graft(ops.sub(masses, whole), plain, exact=True)

    def draw(self, *u: Node) -> Node:
        """softmax(y)."""
        return ops.softmax(ops.loggamma_draw(self.params["concentration"], u[0]))

    def node_mean(self) -> Node:
        """a_i over their sum."""
        a = self.params["concentration"]
        return ops.div(a, ops.reduce_sum(a, -1, keepdims=True))

    def node_mode(self) -> Node:
        """(a_i - 1) / (sum a - K); NaN where a concentration is at most 1."""
        excess = ops.sub(self.params["concentration"], 1.0)
        least = ops.neg(ops.reduce("amax", ops.neg(excess), -1, keepdims=True))
        inside = ops.less(0.0, least)
        safe = ops.where(inside, excess, 1.0)
        return ops.where(inside, ops.div(safe, ops.reduce_sum(safe, -1, keepdims=True)), math.nan)

    def unit_covariance(self) -> Node:
        """(diag(m) - m m^T) / (sum a + 1), m the mean."""
        total = ops.reduce_sum(self.params["concentration"], -1)
        more = ops.reshape(ops.add(total, 1.0), (*total.type.shape, 1, 1))
        return ops.div(simplex_covariance(self.node_mean()), more)

    def unit_entropy(self) -> Node:
        """log B + (sum a - K) digamma(sum a) - sum (a_i - 1) digamma(a_i)."""
        a = self.params["concentration"]
        total, others = ops.reduce_sum(a, -1), a.type.shape[-1] - 1.0
        whole = ops.sub(standard_gamma_entropy(total), ops.mul(others, ops.sub(digamma_gap(total), ops.log(total))))
        return ops.sub(ops.reduce_sum(standard_gamma_entropy(a), -1), whole)
