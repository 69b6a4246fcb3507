"""The beta-binomial distribution."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ppl.distributions.base import KEY
from ppl.distributions.domain.checks import constant_value
from ppl.distributions.domain.guards import known_inside
from ppl.distributions.domain.intervals import POSITIVE
from ppl.distributions.parts.counts import FiniteCount, counted
from ppl.ir import ops
from ppl.ir.node import Node


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

        return counted(self, value, inside, n)

    def unit_prob(self, value: Node) -> Node:
        """P(k), which is positive for every k up to total_count."""
        masses, total = super().unit_prob(value), constant_value(self.params["total_count"])
        return masses if total is None or np.ptp(total) else known_inside(masses, POSITIVE)

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
