"""The Bernoulli distribution, its logistic relaxation, and the base class of counts made of such trials."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ppl.distributions.base import Distribution, guarded
from ppl.distributions.bounds import bounds_of, contains
from ppl.distributions.formulas import (
    frozen,
    guarded_on_unit_interval,
    log_odds_jacobian,
    logit,
    replace_infinities,
    xlog1my,
    xlogy,
)
from ppl.distributions.intervals import CLOSED_UNIT, UNIT
from ppl.distributions.support import Support, is_constant, is_marked_exact
from ppl.distributions.tails import LogTails
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node


class BinaryTrials(Distribution):
    """Base of Bernoulli and of the counts made of such trials; exactly one of probs and logits is given."""

    def __init__(self, probs: Any = None, logits: Any = None, **others: Any):
        if (probs is None) == (logits is None):
            raise ModelError(f"{type(self).__name__} takes exactly one of probs and logits")
        super().__init__(**others, **({"logits": logits} if probs is None else {"probs": probs}))

    @property
    def logits(self) -> Node:
        """Log-odds of the outcome; of a sure one they are infinite, without a derivative."""
        if "logits" in self.params:
            return self.params["logits"]
        p = self.params["probs"]
        if p.op == "sigmoid" or bounds_of(p).within(UNIT):
            return logit(p)
        sure = ops.logical_or(ops.less_equal(frozen(p), 0.0), ops.less_equal(1.0, frozen(p)))
        known = ops.where(ops.less(frozen(p), 0.5), -math.inf, math.inf)
        return ops.where(sure, known, logit(ops.where(sure, 0.5, p)))

    @property
    def in_logits(self) -> bool:
        """Whether the log-odds are at hand: given, or behind a sigmoid."""
        return "logits" in self.params or self.params["probs"].op == "sigmoid"

    def outcome_probs(self) -> tuple[Node, Node]:
        """Probabilities of the outcome and of the other one."""
        if self.in_logits:
            return ops.sigmoid(self.logits), ops.sigmoid(ops.neg(self.logits))
        return self.params["probs"], ops.sub(1.0, self.params["probs"])

    def outcome_odds(self) -> Node:
        """The ratio of the two probabilities."""
        return ops.exp(self.logits) if self.in_logits else ops.div(*self.outcome_probs())


class Bernoulli(BinaryTrials):
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
        return ops.add(xlogy(one, p), xlog1my(zero, p))

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
        if is_marked_exact(value):
            return ops.where(ops.logical_or(ops.equal(value, 0.0), ops.equal(value, 1.0)), out, -math.inf)
        if is_constant(value) and not bounds_of(value).within(CLOSED_UNIT):
            return ops.where(contains(CLOSED_UNIT, value), out, -math.inf)
        return out

    def draw(self, *u: Node) -> Node:
        """1[u > sigmoid(-logits)]."""
        return ops.cast(ops.less(self.outcome_probs()[1], u[0]), "float")

    def relax(self, temperature: Node, *u: Node) -> Node:
        """sigmoid((logits + logit u) / temperature)."""
        return ops.sigmoid(ops.div(ops.add(replace_infinities(self.logits), logit(u[0])), temperature))

    def relax_given(self, temperature: Node, value: Node, *v: Node) -> Node:
        """The relaxation conditional on `value`: the logistic variable z truncated to the side of 0 that it
        says.

        With w uniform: z = softplus(a + log w) - log(1 - w) for 1, and log w - softplus(log(1 - w) - a) for
        0.
        """
        a, log_w, log_not = replace_infinities(self.logits), ops.log(v[0]), ops.log1p(ops.neg(v[0]))
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
        return guarded_on_unit_interval(probability, lambda q: ops.cast(ops.less(q, self.outcome_probs()[0]), "float"))


class RelaxedBernoulli(LogTails, Distribution):
    """RelaxedBernoulli(temperature, probs) or (temperature, logits=...): support the open unit interval.

    The law of sigmoid((logits + L) / temperature), L standard logistic (Maddison et al. 2017, eq. 12 and
    appendix B; Jang et al. 2017). The mean and entropy have no closed form.

    Parameters
    ----------
    temperature : positive.
    probs : strictly between 0 and 1.
    logits : finite log-odds.
    """

    reparameterized = True
    draws_quantiles = True
    constraints: ClassVar[dict[str, str]] = {
        "temperature": "positive",
        "probs": "open_unit_interval",
        "logits": "logit",
    }

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None):
        if (probs is None) == (logits is None):
            raise ModelError("RelaxedBernoulli takes exactly one of probs and logits")
        given = {"logits": logits} if probs is None else {"probs": probs}
        super().__init__(temperature=temperature, **given)

    @property
    def logits(self) -> Node:
        """Log-odds of the Bernoulli that is relaxed."""
        return self.params["logits"] if "logits" in self.params else logit(self.params["probs"])

    @property
    def support(self) -> Support:
        """0 < x < 1."""
        return Support.UNIT_INTERVAL

    def unit_log_prob(self, value: Node) -> Node:
        """log t + logistic log-density of t * logit(x) - logits, minus log x(1 - x); t the temperature."""
        return guarded(self, value, UNIT, 0.5, self._log_prob_inside)

    def _log_prob_inside(self, value: Node) -> Node:
        z = self._logistic_at(value)
        logistic = ops.neg(ops.add(ops.softplus(z), ops.softplus(ops.neg(z))))
        return ops.sub(ops.add(ops.log(self.params["temperature"]), logistic), log_odds_jacobian(value))

    def _logistic_at(self, value: Node) -> Node:
        return ops.sub(ops.mul(self.params["temperature"], logit(value)), self.logits)

    def draw(self, *u: Node) -> Node:
        """sigmoid((logits + logit u) / temperature)."""
        return ops.sigmoid(ops.div(ops.add(self.logits, logit(u[0])), self.params["temperature"]))

    def node_cdf(self, value: Node) -> Node:
        """sigmoid(temperature * logit(x) - logits), 0 and 1 beyond the ends."""
        inside = contains(UNIT, value)
        middle = ops.sigmoid(self._logistic_at(ops.where(inside, value, 0.5)))
        return ops.where(inside, middle, ops.cast(ops.less(0.0, value), "float"))

    def _log_tail(self, value: Node, upper: bool) -> Node:
        inside = contains(UNIT, value)
        z = self._logistic_at(ops.where(inside, value, 0.5))
        sure = ops.less(0.0, value) if not upper else ops.less_equal(value, 0.0)
        return ops.where(inside, ops.log_sigmoid(ops.neg(z) if upper else z), ops.where(sure, 0.0, -math.inf))

    def node_log_cdf(self, value: Node) -> Node:
        """-softplus of minus the logistic variable at x."""
        return self._log_tail(value, False)

    def node_log_sf(self, value: Node) -> Node:
        """-softplus of the logistic variable at x."""
        return self._log_tail(value, True)

    def _value_at_logistic(self, logistic: Node) -> Node:
        return ops.sigmoid(ops.div(ops.add(self.logits, logistic), self.params["temperature"]))

    def node_log_icdf(self, log_p: Node) -> Node:
        """x at the logistic quantile."""
        return self._value_at_logistic(ops.sub(log_p, ops.log1mexp(log_p)))

    def node_log_isf(self, log_q: Node) -> Node:
        """x at the upper logistic quantile."""
        return self._value_at_logistic(ops.sub(ops.log1mexp(log_q), log_q))
