"""The relaxed Bernoulli (binary Concrete) distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import Distribution
from ppl.distributions.domain.guards import contains, guarded
from ppl.distributions.domain.intervals import UNIT
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.formulas import log_odds_jacobian, logit
from ppl.distributions.truncation.tails import LogTails
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node


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
        z = self._noise(value)
        logistic = ops.neg(ops.add(ops.softplus(z), ops.softplus(ops.neg(z))))
        return ops.sub(ops.add(ops.log(self.params["temperature"]), logistic), log_odds_jacobian(value))

    def _noise(self, value: Node) -> Node:
        return ops.sub(ops.mul(self.params["temperature"], logit(value)), self.logits)

    def draw(self, *u: Node) -> Node:
        """sigmoid((logits + logit u) / temperature)."""
        return ops.sigmoid(ops.div(ops.add(self.logits, logit(u[0])), self.params["temperature"]))

    def node_cdf(self, value: Node) -> Node:
        """sigmoid(temperature * logit(x) - logits), 0 and 1 beyond the ends."""
        inside = contains(UNIT, value)
        middle = ops.sigmoid(self._noise(ops.where(inside, value, 0.5)))
        return ops.where(inside, middle, ops.cast(ops.less(0.0, value), "float"))

    def _log_tail(self, value: Node, upper: bool) -> Node:
        inside = contains(UNIT, value)
        z = self._noise(ops.where(inside, value, 0.5))
        sure = ops.less(0.0, value) if not upper else ops.less_equal(value, 0.0)
        return ops.where(inside, ops.log_sigmoid(ops.neg(z) if upper else z), ops.where(sure, 0.0, -math.inf))

    def node_log_cdf(self, value: Node) -> Node:
        """-softplus of minus the logistic variable at x."""
        return self._log_tail(value, False)

    def node_log_sf(self, value: Node) -> Node:
        """-softplus of the logistic variable at x."""
        return self._log_tail(value, True)

    def _at(self, logistic: Node) -> Node:
        return ops.sigmoid(ops.div(ops.add(self.logits, logistic), self.params["temperature"]))

    def node_log_icdf(self, log_p: Node) -> Node:
        """x at the logistic quantile."""
        return self._at(ops.sub(log_p, ops.log1mexp(log_p)))

    def node_log_isf(self, log_q: Node) -> Node:
        """x at the upper logistic quantile."""
        return self._at(ops.sub(ops.log1mexp(log_q), log_q))
