"""What distributions of one outcome against another share: a probability or log-odds."""

from __future__ import annotations

import math
from typing import Any

from ppl.distributions.base import Distribution
from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.intervals import UNIT
from ppl.distributions.parts.formulas import frozen, logit
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node


class Odds(Distribution):
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
