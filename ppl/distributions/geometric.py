"""The geometric distribution."""

from __future__ import annotations

from typing import ClassVar

from ppl.distributions.counts import counted
from ppl.distributions.formulas import weigh_log1m
from ppl.distributions.odds import Odds
from ppl.distributions.support import Support
from ppl.ir import ops
from ppl.ir.node import Node

MOST = 2.0**62


class Geometric(Odds):
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
