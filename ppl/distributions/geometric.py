"""The geometric distribution."""

from __future__ import annotations

import math
from typing import ClassVar

from ppl.distributions.domain.support import Support
from ppl.distributions.parts.counts import counted
from ppl.distributions.parts.discrete_quantiles import settled, settled_above, within_unit
from ppl.distributions.parts.formulas import weigh_log1m
from ppl.distributions.parts.odds import Odds
from ppl.distributions.truncation.tails import LogTails
from ppl.ir import ops
from ppl.ir.node import Node

MOST = 2.0**62


class Geometric(LogTails, Odds):
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
            return ops.add(weigh_log1m(k, p), ops.log(p))

        return counted(self, value, inside)

    def draw(self, *u: Node) -> Node:
        """floor(log u / log(1 - p))."""
        return ops.cast(ops.minimum(ops.floor(ops.div(ops.log(u[0]), self.log_failure())), MOST), "int")

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
        return ops.neg(ops.add(log_p, weigh_log1m(self.node_mean(), p)))

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
            return ops.where(sure, shape, settled(self.node_cdf, guess, u))

        return within_unit(probability, search)

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
        return ops.where(sure, 0.0, settled_above(self.node_log_sf, guess, log_q))
