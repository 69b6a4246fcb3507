"""The Bernoulli distribution with its logistic relaxation."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.guards import contains
from ppl.distributions.domain.intervals import CLOSED_UNIT
from ppl.distributions.domain.support import Support, is_constant, is_exact
from ppl.distributions.parts.discrete_quantiles import within_unit
from ppl.distributions.parts.formulas import finite, frozen, logit, weigh_log, weigh_log1m
from ppl.distributions.parts.odds import Odds
from ppl.ir import ops
from ppl.ir.node import Node


class Bernoulli(Odds):
    """Bernoulli(probs) or Bernoulli(logits=...): support {0, 1}, samples of the program's float dtype.

    One uniform u gives the sample 1[u > sigmoid(-logits)], its relaxation sigmoid((logits + logit u) /
    temperature) (Maddison et al. 2017, Jang et al. 2017) and, with a second uniform, the relaxation given the
    sample (Tucker et al. 2017), all in logits, since in float32 a probability is exactly 1 from logit 17 on.

    `log_prob` of numbers other than 0 and 1 is -inf. That of values that a model computes, or observes, extends
    linearly to the numbers between: it is minus the cross-entropy of soft targets, and what a relaxed sample sees.

    Parameters
    ----------
    probs : between 0 and 1, both included.
    logits : finite log-odds.
    """

    discrete = True
    relaxable = True
    draws_quantiles = True
    constraints: ClassVar[dict[str, str]] = {"probs": "unit_interval", "logits": "logit"}

    @property
    def support(self) -> Support:
        """{0, 1}."""
        return Support.BINARY

    def expected_log_prob(self, one: Node, zero: Node) -> Node:
        """one * log P(1) + zero * log P(0) with 0 * (-inf) = 0."""
        if self.in_logits:
            a = self.logits
            return ops.neg(ops.add(ops.mul(one, ops.softplus(ops.neg(a))), ops.mul(zero, ops.softplus(a))))
        p = self.params["probs"]
        return ops.add(weigh_log(one, p), weigh_log1m(zero, p))

    def unit_log_prob(self, value: Node) -> Node:
        """x log p + (1 - x) log(1 - p), linear in x: the multilinear extension on relaxed values.

        Numbers of `log_prob` other than 0 and 1 have -inf, and constants outside [0, 1]; symbolic values are taken to
        lie between, so that no jump is introduced.
        """
        value = ops.cast(value, "float")
        if self.in_logits:
            out = ops.sub(ops.mul(value, self.logits), ops.softplus(self.logits))
        else:
            out = self.expected_log_prob(value, ops.sub(1.0, value))
        if is_exact(value):
            return ops.where(ops.logical_or(ops.equal(value, 0.0), ops.equal(value, 1.0)), out, -math.inf)
        if is_constant(value) and not bounds_of(value).within(CLOSED_UNIT):
            return ops.where(contains(CLOSED_UNIT, value), out, -math.inf)
        return out

    def draw(self, *u: Node) -> Node:
        """1[u > sigmoid(-logits)]."""
        return ops.cast(ops.less(self.outcome_probs()[1], u[0]), "float")

    def relax(self, temperature: Node, *u: Node) -> Node:
        """sigmoid((logits + logit u) / temperature)."""
        return ops.sigmoid(ops.div(ops.add(finite(self.logits), logit(u[0])), temperature))

    def relax_given(self, temperature: Node, value: Node, *v: Node) -> Node:
        """The relaxation conditional on `value`: the logistic variable z truncated to the side of 0 that it
        says.

        With w uniform: z = softplus(a + log w) - log(1 - w) for 1, and log w - softplus(log(1 - w) - a) for
        0.
        """
        a, log_w, log_not = finite(self.logits), ops.log(v[0]), ops.log1p(ops.neg(v[0]))
        one = ops.sub(ops.softplus(ops.add(a, log_w)), log_not)
        zero = ops.sub(log_w, ops.softplus(ops.sub(log_not, a)))
        return ops.sigmoid(ops.div(ops.where(ops.less(0.5, frozen(value)), one, zero), temperature))

    def unit_prob(self, value: Node) -> Node:
        """p at 1, 1 - p at 0."""
        return ops.where(ops.less(0.5, value), *self.outcome_probs())

    def unit_support(self) -> np.ndarray:
        """0 and 1."""
        return np.array([0.0, 1.0])

    def node_mean(self) -> Node:
        """probs."""
        return self.params["probs"] if "probs" in self.params else ops.sigmoid(self.logits)

    def unit_covariance(self) -> Node:
        """p (1 - p)."""
        return ops.mul(*self.outcome_probs())

    def unit_entropy(self) -> Node:
        """-p log p - (1 - p) log(1 - p)."""
        return ops.neg(self.expected_log_prob(*self.outcome_probs()))

    def node_cdf(self, value: Node) -> Node:
        """0 below 0, 1 - probs below 1, then 1."""
        below = ops.where(ops.less(value, 0.0), 0.0, self.outcome_probs()[1])
        return ops.where(ops.less(value, 1.0), below, 1.0)

    def node_mode(self) -> Node:
        """1 where probs exceeds 1 / 2, else 0."""
        one, zero = self.outcome_probs()
        return ops.cast(ops.less(zero, one), "float")

    def node_sf(self, value: Node) -> Node:
        """1 below 0, probs below 1, then 0."""
        above = ops.where(ops.less(value, 0.0), 1.0, self.outcome_probs()[0])
        return ops.where(ops.less(value, 1.0), above, 0.0)

    def node_isf(self, probability: Node) -> Node:
        """1 where the probability is below probs, else 0."""
        return within_unit(probability, lambda q: ops.cast(ops.less(q, self.outcome_probs()[0]), "float"))
