"""The binomial distribution."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ppl.distributions.base import KEY
from ppl.distributions.domain.checks import constant_value
from ppl.distributions.domain.guards import known_inside
from ppl.distributions.domain.intervals import POSITIVE
from ppl.distributions.parts.counts import FiniteCount, counted
from ppl.distributions.parts.odds import Odds
from ppl.distributions.parts.probabilities import binomial_mass
from ppl.ir import ops
from ppl.ir.node import Node


class Binomial(Odds, FiniteCount):
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

        return counted(self, value, inside, n)

    def unit_prob(self, value: Node) -> Node:
        """P(k), with its slope also at p = 0 and p = 1."""
        n = self.params["total_count"]
        k, n, p = ops.broadcast(ops.cast(value, "float"), n, self.outcome_probs()[0])
        if not self.in_logits:
            return ops.where(ops.less_equal(k, n), binomial_mass(ops.minimum(k, n), n, p), 0.0)
        masses = super().unit_prob(value)
        total = constant_value(self.params["total_count"])
        return masses if total is None or np.ptp(total) else known_inside(masses, POSITIVE)

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
