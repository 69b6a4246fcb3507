"""The Bernoulli distribution with its logistic relaxation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ppl.distributions.base import Distribution
from ppl.distributions.support import Support
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node


def logit(u: Node) -> Node:
    """log u - log(1 - u)."""
    return ops.sub(ops.log(u), ops.log1p(ops.neg(u)))


class Bernoulli(Distribution):
    """Bernoulli(probs) or Bernoulli(logits=...): support {0, 1}, samples of the program's float dtype.

    One uniform u gives the sample 1[u > sigmoid(-logits)], its relaxation sigmoid((logits + logit u) / temperature)
    (Maddison et al. 2017, Jang et al. 2017) and, with a second uniform, the relaxation given the sample (Tucker et
    al. 2017), all in logits, since in float32 a probability is exactly 1 from logit 17 on.
    """

    discrete = True
    relaxable = True

    def __init__(self, probs: Any = None, logits: Any = None):
        if (probs is None) == (logits is None):
            raise ModelError("Bernoulli takes exactly one of probs and logits")
        super().__init__(**({"logits": logits} if probs is None else {"probs": probs}))

    @property
    def logits(self) -> Node:
        """Log-odds of 1."""
        return self.params["logits"] if "logits" in self.params else logit(self.params["probs"])

    @property
    def support(self) -> Support:
        """{0, 1}."""
        return Support.BINARY

    def unit_log_prob(self, value: Node) -> Node:
        """x log p + (1 - x) log(1 - p), linear in x: the multilinear extension on relaxed values."""
        value = ops.cast(value, "float")
        if "logits" in self.params:
            return ops.sub(ops.mul(value, self.logits), ops.softplus(self.logits))
        p = self.params["probs"]
        yes = ops.where(ops.equal(value, 0.0), 0.0, ops.mul(value, ops.log(p)))
        no = ops.where(ops.equal(value, 1.0), 0.0, ops.mul(ops.sub(1.0, value), ops.log1p(ops.neg(p))))
        return ops.add(yes, no)

    def draw(self, *u: Node) -> Node:
        """1[u > sigmoid(-logits)]."""
        return ops.cast(ops.less(ops.sigmoid(ops.neg(self.logits)), u[0]), "float")

    def relax(self, temperature: Node, *u: Node) -> Node:
        """sigmoid((logits + logit u) / temperature)."""
        return ops.sigmoid(ops.div(ops.add(self.logits, logit(u[0])), temperature))

    def relax_given(self, temperature: Node, value: Node, *v: Node) -> Node:
        """The relaxation conditional on `value`: the logistic variable z truncated to the side of 0 that it says.

        With w uniform: z = softplus(a + log w) - log(1 - w) for 1, and log w - softplus(log(1 - w) - a) for 0.
        """
        a, log_w, log_not = self.logits, ops.log(v[0]), ops.log1p(ops.neg(v[0]))
        one = ops.sub(ops.softplus(ops.add(a, log_w)), log_not)
        zero = ops.sub(log_w, ops.softplus(ops.sub(log_not, a)))
        return ops.sigmoid(ops.div(ops.where(ops.less(0.5, value), one, zero), temperature))

    def unit_support(self) -> np.ndarray:
        """0 and 1."""
        return np.array([0.0, 1.0])

    def node_mean(self) -> Node:
        """probs."""
        return self.params["probs"] if "probs" in self.params else ops.sigmoid(self.logits)

    def unit_entropy(self) -> Node:
        """softplus(a) - a sigmoid(a)."""
        a = self.logits
        return ops.sub(ops.softplus(a), ops.mul(a, ops.sigmoid(a)))

    def node_cdf(self, value: Node) -> Node:
        """0 below 0, 1 - probs below 1, then 1."""
        below = ops.where(ops.less(value, 0.0), 0.0, ops.sub(1.0, self.node_mean()))
        return ops.where(ops.less(value, 1.0), below, 1.0)
