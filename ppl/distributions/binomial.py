"""Counts of binary trials: the binomial, beta-binomial, geometric and negative binomial distributions."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ppl.distributions.base import KEY
from ppl.distributions.bernoulli import BinaryTrials
from ppl.distributions.bounds import mark_inside
from ppl.distributions.constraints import constant_value
from ppl.distributions.discrete import (
    FiniteCount,
    corrected_quantile,
    corrected_upper_quantile,
    count_tail,
    guarded_count,
)
from ppl.distributions.formulas import binomial_mass, frozen, guarded_on_unit_interval, times_log_prob, xlog1my
from ppl.distributions.intervals import POSITIVE
from ppl.distributions.support import Support
from ppl.distributions.tails import LogTails
from ppl.ir import cdfs, ops
from ppl.ir.node import Node


class Binomial(BinaryTrials, FiniteCount):
    """Binomial(total_count, probs) or Binomial(total_count, logits=...): P(k) = C(n, k) p^k (1 - p)^(n - k), k <= n.

    Integer samples, by inversion where the rarer outcome has a mean below 10 and by transformed rejection from there on
    (BTRS, Hoermann 1993). The log-mass is Loader's (2000), without cancellation.

    Parameters
    ----------
    total_count : number of trials, a whole number of at least 0. It moves the support, so no gradient passes to it.
    probs : probability of success, between 0 and 1.
    logits : finite log-odds of success.
    """

    constraints: ClassVar[dict[str, str]] = {"total_count": "count", "probs": "unit_interval", "logits": "logit"}

    def __init__(self, total_count: Any = 1, probs: Any = None, logits: Any = None):
        super().__init__(probs, logits, total_count=total_count)

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """A noise key."""
        return (KEY,)

    def unit_log_prob(self, value: Node) -> Node:
        """log C(n, k) + k log p + (n - k) log(1 - p)."""
        n = self.params["total_count"]

        def inside(k: Node) -> Node:
            if self.in_logits:
                return ops.log_binomial_logits(k, ops.sub(n, k), self.logits)
            return ops.log_binomial(k, ops.sub(n, k), self.params["probs"])

        return guarded_count(self, value, inside, n)

    def unit_prob(self, value: Node) -> Node:
        """P(k), with its slope also at p = 0 and p = 1."""
        n = self.params["total_count"]
        k, n, p = ops.broadcast(ops.cast(value, "float"), n, self.outcome_probs()[0])
        if not self.in_logits:
            return ops.where(ops.less_equal(k, n), binomial_mass(ops.minimum(k, n), n, p), 0.0)
        masses = super().unit_prob(value)
        total = constant_value(self.params["total_count"])
        return masses if total is None or np.ptp(total) else mark_inside(masses, POSITIVE)

    def draw(self, *u: Node) -> Node:
        """A count."""
        return ops.binomial_draw(self.params["total_count"], *self.outcome_probs(), u[0])

    def node_mean(self) -> Node:
        """n p."""
        return ops.mul(self.params["total_count"], self.outcome_probs()[0])

    def unit_covariance(self) -> Node:
        """n p (1 - p)."""
        return ops.mul(self.params["total_count"], ops.mul(*self.outcome_probs()))

    def node_mode(self) -> Node:
        """floor((n + 1) p), at most n."""
        n = self.params["total_count"]
        peak = ops.floor(ops.mul(ops.add(n, 1.0), self.outcome_probs()[0]))
        return ops.cast(ops.minimum(peak, n), "int")


class BetaBinomial(FiniteCount):
    """BetaBinomial(concentration1, concentration0, total_count): a binomial count whose probability is a Beta variable.

    P(k) = C(n, k) B(k + a, n - k + b) / B(a, b) with a = concentration1, b = concentration0, k = 0, …, n. Integer
    samples: the ratio of two gamma draws (Marsaglia & Tsang 2000) gives the log-odds of a binomial draw.

    Parameters
    ----------
    concentration1, concentration0 : positive.
    total_count : number of trials, a whole number of at least 0. It moves the support, so no gradient passes to it.
    """

    constraints: ClassVar[dict[str, str]] = {
        "concentration1": "positive",
        "concentration0": "positive",
        "total_count": "count",
    }

    def __init__(self, concentration1: Any, concentration0: Any, total_count: Any = 1):
        super().__init__(concentration1=concentration1, concentration0=concentration0, total_count=total_count)

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """A noise key."""
        return (KEY,)

    def unit_log_prob(self, value: Node) -> Node:
        """Three binomial masses at p = (k + a) / (n + a + b), whose powers of p cancel.

        They are those of k among n, of a among a + b and, subtracted, of k + a among n + a + b. At this p the last
        one is at its peak and the first two are negative, so that nothing cancels but the powers.
        """
        a, b, n = self.params.values()
        whole = ops.add(a, b)

        def inside(k: Node) -> Node:
            one, zero = ops.add(k, a), ops.add(ops.sub(n, k), b)
            logits = ops.stop(ops.sub(ops.log(one), ops.log(zero)), "shift")
            masses = ops.add(ops.log_binomial_logits(k, ops.sub(n, k), logits), ops.log_binomial_logits(a, b, logits))
            masses = ops.sub(masses, ops.log_binomial_logits(one, zero, logits))
            odds = ops.add(ops.log(ops.div(a, one)), ops.log(ops.div(b, zero)))
            return ops.add(masses, ops.sub(odds, ops.log(ops.div(whole, ops.add(n, whole)))))

        return guarded_count(self, value, inside, n)

    def unit_prob(self, value: Node) -> Node:
        """P(k), which is positive for every k up to total_count."""
        masses, total = super().unit_prob(value), constant_value(self.params["total_count"])
        return masses if total is None or np.ptp(total) else mark_inside(masses, POSITIVE)

    def draw(self, *u: Node) -> Node:
        """A binomial count at the log-odds of two gamma draws."""
        a, b, n = self.params.values()
        logits = ops.sub(ops.loggamma_draw(a, u[0], 0), ops.loggamma_draw(b, u[0], 1))
        return ops.binomial_draw(n, ops.sigmoid(logits), ops.sigmoid(ops.neg(logits)), u[0], 2)

    def node_mean(self) -> Node:
        """n a / (a + b)."""
        a, b, n = self.params.values()
        return ops.mul(n, ops.div(a, ops.add(a, b)))

    def unit_covariance(self) -> Node:
        """n a b (n + a + b) / ((a + b)^2 (a + b + 1))."""
        a, b, n = self.params.values()
        whole = ops.add(a, b)
        spread = ops.mul(ops.div(a, whole), ops.div(b, whole))
        return ops.mul(ops.mul(n, spread), ops.div(ops.add(n, whole), ops.add(whole, 1.0)))


LARGEST_COUNT = 2.0**62


class Geometric(LogTails, BinaryTrials):
    """Geometric(probs) or Geometric(logits=...): failures before the first success, P(k) = (1 - p)^k p, k = 0, 1, ….

    Integer samples floor(log u / log(1 - p)), at most 2^62.

    Parameters
    ----------
    probs : probability of success, above 0 and at most 1.
    logits : finite log-odds of success.
    """

    discrete = True
    dtype = "int"
    constraints: ClassVar[dict[str, str]] = {"probs": "positive_probability", "logits": "logit"}

    @property
    def support(self) -> Support:
        """{0, 1, …}."""
        return Support.COUNT

    def log_failure(self) -> Node:
        """log(1 - p)."""
        return ops.neg(ops.softplus(self.logits)) if self.in_logits else ops.log1p(ops.neg(self.params["probs"]))

    def unit_log_prob(self, value: Node) -> Node:
        """k log(1 - p) + log p."""

        def inside(k: Node) -> Node:
            if self.in_logits:
                return ops.sub(ops.mul(k, self.log_failure()), ops.softplus(ops.neg(self.logits)))
            p = self.params["probs"]
            return ops.add(xlog1my(k, p), ops.log(p))

        return guarded_count(self, value, inside)

    def draw(self, *u: Node) -> Node:
        """floor(log u / log(1 - p))."""
        return ops.cast(ops.minimum(ops.floor(ops.div(ops.log(u[0]), self.log_failure())), LARGEST_COUNT), "int")

    def node_mean(self) -> Node:
        """(1 - p) / p."""
        return ops.exp(ops.neg(self.logits)) if self.in_logits else ops.div(*reversed(self.outcome_probs()))

    def unit_covariance(self) -> Node:
        """(1 - p) / p^2."""
        return ops.div(self.node_mean(), self.outcome_probs()[0])

    def unit_entropy(self) -> Node:
        """-log p - (1 - p) / p log(1 - p)."""
        p = self.outcome_probs()[0]
        log_p = ops.neg(ops.softplus(ops.neg(self.logits))) if self.in_logits else ops.log(p)
        if self.in_logits:
            return ops.neg(ops.add(log_p, ops.mul(self.node_mean(), self.log_failure())))
        return ops.neg(ops.add(log_p, xlog1my(self.node_mean(), p)))

    def node_cdf(self, value: Node) -> Node:
        """1 - (1 - p)^(floor(k) + 1) from 0 on."""
        k = ops.floor(value)
        reached = ops.less_equal(0.0, k)
        tail = ops.mul(ops.add(ops.where(reached, k, 0.0), 1.0), self.log_failure())
        return ops.where(reached, ops.neg(ops.expm1(tail)), 0.0)

    def node_mode(self) -> Node:
        """0."""
        return ops.cast(ops.mul(self.outcome_probs()[0], 0.0), "int")

    def node_icdf(self, probability: Node) -> Node:
        """The least count whose cdf reaches the probability: log(1 - u) / log(1 - p) - 1 rounded up, as a float."""
        fails, shape = self.log_failure(), ops.mul(0.0, self.outcome_probs()[0])
        sure = ops.less_equal(fails, -math.inf)
        slope = ops.where(sure, -1.0, fails)

        def search(u: Node) -> Node:
            trials = ops.div(ops.log1p(ops.neg(u)), slope)
            guess = ops.maximum(ops.sub(ops.neg(ops.floor(ops.neg(trials))), 1.0), 0.0)
            return ops.where(sure, shape, corrected_quantile(self.node_cdf, guess, u))

        return guarded_on_unit_interval(probability, search)

    def node_log_sf(self, value: Node) -> Node:
        """(floor(k) + 1) log(1 - p) from 0 on, 0 below."""
        k = ops.floor(ops.cast(value, "float"))
        reached = ops.less_equal(0.0, k)
        return ops.where(reached, ops.mul(ops.add(ops.where(reached, k, 0.0), 1.0), self.log_failure()), 0.0)

    def node_log_isf(self, log_q: Node) -> Node:
        """l / log(1 - p) - 1 rounded up, at least 0, as a float."""
        fails = self.log_failure()
        sure = ops.less_equal(fails, -math.inf)
        trials = ops.div(log_q, ops.where(sure, -1.0, fails))
        guess = ops.maximum(ops.sub(ops.neg(ops.floor(ops.neg(trials))), 1.0), 0.0)
        return ops.where(sure, 0.0, corrected_upper_quantile(self.node_log_sf, guess, log_q))


ROUNDED_AWAY, LARGE_COUNT = 1e4, 100.0
"""A ratio of counts to `total_count` above which it is rounded away in their sum, and a count from which it matters."""


class NegativeBinomial(BinaryTrials):
    """NegativeBinomial(total_count, probs): successes before `total_count` failures, p the probability of success.

    P(k) = gamma(k + r) / (gamma(r) k!) p^k (1 - p)^r on k = 0, 1, …, r = total_count, of mean r p / (1 - p). Integer
    samples: a Poisson count (Hoermann 1993) at a gamma rate (Marsaglia & Tsang 2000). The log-mass is Loader's (2000).

    Parameters
    ----------
    total_count : positive, need not be whole.
    probs : at least 0 and below 1.
    logits : finite log-odds of success.
    """

    discrete = True
    dtype = "int"
    constraints: ClassVar[dict[str, str]] = {"total_count": "positive", "probs": "below_one", "logits": "logit"}

    def __init__(self, total_count: Any, probs: Any = None, logits: Any = None):
        super().__init__(probs, logits, total_count=total_count)

    @property
    def support(self) -> Support:
        """{0, 1, …}."""
        return Support.COUNT

    def uniforms(self) -> tuple[tuple[int, ...] | None, ...]:
        """A noise key."""
        return (KEY,)

    def unit_log_prob(self, value: Node) -> Node:
        """log(r / (r + k)) plus the log-mass of k successes among r + k trials.

        Where r is lost in that sum, log gamma(k + r) is that of k + 1 and its first differences.
        """
        r = self.params["total_count"]

        def inside(k: Node) -> Node:
            lost = ops.logical_and(ops.less(ops.mul(ROUNDED_AWAY, frozen(r)), k), ops.less(LARGE_COUNT, k))
            near = ops.where(lost, r, k)
            if self.in_logits:
                mass = ops.log_binomial_logits(near, r, self.logits)
            else:
                mass = ops.log_binomial(near, r, self.params["probs"])
            far = ops.where(lost, k, LARGE_COUNT)
            half = ops.div(r, ops.mul(2.0, far))
            bend = ops.div(ops.mul(half, ops.sub(ops.mul(2.0, r), 1.0)), ops.mul(6.0, far))
            rising = ops.mul(ops.sub(r, 1.0), ops.add(ops.log(far), ops.sub(half, bend)))
            log_one, log_zero = self.log_outcomes()
            powers = ops.add(times_log_prob(far, log_one), ops.mul(r, log_zero))
            tail = ops.add(ops.sub(rising, ops.lgamma(r)), powers)
            return ops.where(lost, tail, ops.sub(mass, ops.log1p(ops.div(near, r))))

        return guarded_count(self, value, inside)

    def log_outcomes(self) -> tuple[Node, Node]:
        """log p and log(1 - p)."""
        if self.in_logits:
            return ops.log_sigmoid(self.logits), ops.log_sigmoid(ops.neg(self.logits))
        p = self.params["probs"]
        return ops.log(p), ops.log1p(ops.neg(p))

    def draw(self, *u: Node) -> Node:
        """A Poisson count at the rate exp(y + log-odds), y the logarithm of a gamma draw."""
        y = ops.loggamma_draw(self.params["total_count"], u[0], 0)
        rate = ops.exp(ops.add(y, self.logits)) if self.in_logits else ops.mul(ops.exp(y), self.outcome_odds())
        return ops.poisson_draw(rate, u[0], 1)

    def node_mean(self) -> Node:
        """r p / (1 - p)."""
        return ops.mul(self.params["total_count"], self.outcome_odds())

    def unit_covariance(self) -> Node:
        """r p / (1 - p)^2."""
        return ops.div(self.node_mean(), self.outcome_probs()[1])

    def node_cdf(self, value: Node) -> Node:
        """I_q(r, floor(x) + 1), the regularized incomplete beta function at q = 1 - p; 0 below 0."""
        r, fails = self.params["total_count"], self.outcome_probs()[1]
        return count_tail(value, lambda k: cdfs.betainc(r, k, fails), 0.0)

    def node_icdf(self, probability: Node) -> Node:
        """The least count whose cdf reaches the probability, as a float."""
        r, odds = self.params["total_count"], self.outcome_odds()

        def search(u: Node) -> Node:
            return corrected_quantile(self.node_cdf, cdfs.negative_binomial_icdf(r, odds, u), u)

        return guarded_on_unit_interval(probability, search)

    def node_mode(self) -> Node:
        """floor((r - 1) p / (1 - p)), or 0 where that is negative."""
        more = ops.maximum(ops.sub(self.params["total_count"], 1.0), 0.0)
        return ops.cast(ops.floor(ops.mul(more, self.outcome_odds())), "int")

    def node_sf(self, value: Node) -> Node:
        """I_p(floor(x) + 1, r); 1 below 0."""
        r, wins = self.params["total_count"], self.outcome_probs()[0]
        return count_tail(value, lambda k: cdfs.betainc(k, r, wins), 1.0)

    def node_isf(self, probability: Node) -> Node:
        """The least count above which the mass is at most the probability, as a float."""
        r, odds = self.params["total_count"], self.outcome_odds()

        def search(q: Node) -> Node:
            return corrected_upper_quantile(self.node_sf, cdfs.negative_binomial_isf(r, odds, q), q)

        return guarded_on_unit_interval(probability, search)
