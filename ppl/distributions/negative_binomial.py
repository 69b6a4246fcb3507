"""The negative binomial distribution."""

from __future__ import annotations

from typing import Any, ClassVar

from ppl.distributions.base import KEY
from ppl.distributions.counts import counted
from ppl.distributions.odds import Odds
from ppl.distributions.support import Support
from ppl.ir import ops
from ppl.ir.node import Node


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
        """log(r / (r + k)) plus the log-mass of k successes among r + k trials."""
        r = self.params["total_count"]

        def inside(k: Node) -> Node:
            if self.in_logits:
                mass = ops.log_binomial_logits(k, r, self.logits)
            else:
                mass = ops.log_binomial(k, r, self.params["probs"])
            return ops.sub(mass, ops.log1p(ops.div(k, r)))

        return counted(self, value, inside)

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

    def node_mode(self) -> Node:
        """floor((r - 1) p / (1 - p)), or 0 where that is negative."""
        more = ops.maximum(ops.sub(self.params["total_count"], 1.0), 0.0)
        return ops.cast(ops.floor(ops.mul(more, self.outcome_odds())), "int")
