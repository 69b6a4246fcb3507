"""The negative binomial distribution."""

from __future__ import annotations

from typing import Any, ClassVar

from ppl.distributions.base import KEY
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.counts import counted, tail
from ppl.distributions.parts.discrete_quantiles import settled, settled_above, within_unit
from ppl.distributions.parts.formulas import frozen, weigh
from ppl.distributions.parts.odds import Odds
from ppl.ir import incomplete, ops
from ppl.ir.node import Node

LOST, MANY = 1e4, 100.0
"""A ratio of counts to `total_count` above which it is rounded away in their sum, and a count from which it matters."""


class NegativeBinomial(Odds):
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
            lost = ops.logical_and(ops.less(ops.mul(LOST, frozen(r)), k), ops.less(MANY, k))
            near = ops.where(lost, r, k)
            if self.in_logits:
                mass = ops.log_binomial_logits(near, r, self.logits)
            else:
                mass = ops.log_binomial(near, r, self.params["probs"])
            far = ops.where(lost, k, MANY)
            half = ops.div(r, ops.mul(2.0, far))
            bend = ops.div(ops.mul(half, ops.sub(ops.mul(2.0, r), 1.0)), ops.mul(6.0, far))
            rising = ops.mul(ops.sub(r, 1.0), ops.add(ops.log(far), ops.sub(half, bend)))
            log_one, log_zero = self.log_outcomes()
            powers = ops.add(weigh(far, log_one), ops.mul(r, log_zero))
            tail = ops.add(ops.sub(rising, ops.lgamma(r)), powers)
            return ops.where(lost, tail, ops.sub(mass, ops.log1p(ops.div(near, r))))

        return counted(self, value, inside)

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
        return tail(value, lambda k: incomplete.betainc(r, k, fails), 0.0)

    def node_icdf(self, probability: Node) -> Node:
        """The least count whose cdf reaches the probability, as a float."""
        r, odds = self.params["total_count"], self.outcome_odds()

        def search(u: Node) -> Node:
            return settled(self.node_cdf, incomplete.negative_binomial_icdf(r, odds, u), u)

        return within_unit(probability, search)

    def node_mode(self) -> Node:
        """floor((r - 1) p / (1 - p)), or 0 where that is negative."""
        more = ops.maximum(ops.sub(self.params["total_count"], 1.0), 0.0)
        return ops.cast(ops.floor(ops.mul(more, self.outcome_odds())), "int")

    def node_sf(self, value: Node) -> Node:
        """I_p(floor(x) + 1, r); 1 below 0."""
        r, wins = self.params["total_count"], self.outcome_probs()[0]
        return tail(value, lambda k: incomplete.betainc(k, r, wins), 1.0)

    def node_isf(self, probability: Node) -> Node:
        """The least count above which the mass is at most the probability, as a float."""
        r, odds = self.params["total_count"], self.outcome_odds()

        def search(q: Node) -> Node:
            return settled_above(self.node_sf, incomplete.negative_binomial_isf(r, odds, q), q)

        return within_unit(probability, search)
