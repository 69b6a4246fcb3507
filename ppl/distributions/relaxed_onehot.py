"""The relaxed one-hot categorical (Concrete, Gumbel-softmax) distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ppl.distributions.base import Distribution
from ppl.distributions.domain.checks import parameter
from ppl.distributions.domain.simplex import guarded_rows
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.classes import Classes
from ppl.distributions.parts.formulas import gumbel
from ppl.ir import ops
from ppl.ir.node import Node


class RelaxedOneHotCategorical(Classes):
    """RelaxedOneHotCategorical(temperature, probs) or (temperature, logits=...): support the open simplex.

    The law of softmax((logits + G) / temperature), G standard Gumbel per class (Maddison et al. 2017, eq. 10;
    Jang et al. 2017). The mean and entropy have no closed form.

    Parameters
    ----------
    temperature : positive, one per unit: shape () or (…).
    probs : shape (…, K), positive, rows sum to 1; computed rows are divided by their sum.
    logits : shape (…, K), finite.
    """

    discrete = False
    reparameterized = True
    unit_rank = 1
    constraints: ClassVar[dict[str, str]] = {
        "temperature": "positive",
        "probs": "open_simplex",
        "logits": "real",
    }

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None):
        warm = parameter("RelaxedOneHotCategorical", "temperature", temperature)
        per_unit = ops.reshape(warm, (*warm.type.shape, 1)) if warm.type.shape else temperature
        super().__init__(temperature=per_unit, probs=probs, logits=logits)

    @property
    def support(self) -> Support:
        """Rows of positive numbers that sum to 1."""
        return Support.SIMPLEX

    def unit_log_prob(self, value: Node) -> Node:
        """log (K-1)! + (K-1) log t - K logsumexp(a - t log x) + sum(a - (t+1) log x); a logits."""
        return guarded_rows(self, value, self._log_prob_inside)

    def _log_prob_inside(self, value: Node) -> Node:
        k, log_x = self.count, ops.log(value)
        tilted = ops.sub(self.logits, ops.mul(self.params["temperature"], log_x))
        total = ops.mul(float(k), ops.logsumexp(tilted, -1))
        rows = ops.sub(ops.reduce_sum(ops.sub(tilted, log_x), -1), total)
        log_t = ops.log(self.params["temperature"])
        first = ops.window(log_t, [*((0, n, 1) for n in log_t.type.shape[:-1]), (0, 1, 1)])
        scaled = ops.mul(float(k - 1), ops.reshape(first, log_t.type.shape[:-1]))
        return ops.add(ops.add(rows, scaled), math.lgamma(k))

    def draw(self, *u: Node) -> Node:
        """softmax((logits + G) / temperature)."""
        return ops.softmax(ops.div(ops.add(self.logits, gumbel(u[0])), self.params["temperature"]))

    def unit_entropy(self) -> Node:
        """Refused: no closed form."""
        return Distribution.unit_entropy(self)
