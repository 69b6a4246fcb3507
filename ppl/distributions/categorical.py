"""The categorical distribution with integer samples."""

from __future__ import annotations

import math

import numpy as np

from ppl.distributions.bounds import bounds_of
from ppl.distributions.classes import Classes
from ppl.distributions.discrete_quantiles import tabulated_icdf
from ppl.distributions.formulas import gumbel
from ppl.distributions.intervals import Interval
from ppl.distributions.support import Support
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node

NO_RELAXATION = (
    "Categorical has no relaxation: its samples are integers, which do not lie between one another; "
    "use OneHotCategorical, whose samples relax to points of the simplex"
)


class Categorical(Classes):
    """Categorical(probs) or Categorical(logits=...): support {0, …, K-1}, int samples, one unit per row of
    classes.

    Sampled by argmax(logits + Gumbel noise), one uniform per class (Gumbel 1954, Maddison et al. 2014).

    Parameters
    ----------
    probs : shape (…, K), non-negative, rows sum to 1.
    logits : shape (…, K), finite or -inf, not necessarily normalised.
    """

    dtype = "int"

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one sample: that of the parameter without its last axis."""
        return self.weights.type.shape[:-1]

    @property
    def support(self) -> Support:
        """{0, …, K-1}."""
        return Support.INTEGER

    @property
    def bounds(self) -> Interval:
        """From 0 to K - 1."""
        return Interval(0.0, self.count - 1.0, False, False)

    def unit_log_prob(self, value: Node) -> Node:
        """The selected log-probability; -inf for what is no class."""
        rows = ops.reshape(value, (*value.type.shape, 1))
        chosen = ops.equal(rows, np.arange(self.count))
        if self.in_logits:
            out = ops.reduce_sum(ops.where(chosen, self.log_probs(), 0.0), -1)
        else:
            p = self.params["probs"]
            picked = ops.reduce_sum(ops.where(chosen, p, 0.0), -1)
            out = ops.sub(ops.log(picked), ops.log(ops.reduce_sum(p, -1)))
        if value.type.dtype == "int" and bounds_of(value).within(self.bounds):
            return out
        return ops.where(ops.less(0, ops.reduce_sum(ops.cast(chosen, "int"), -1)), out, -math.inf)

    def uniforms(self) -> tuple[tuple[int, ...], ...]:
        """One uniform per class."""
        return (self.weights.type.shape,)

    def draw(self, *u: Node) -> Node:
        """argmax(logits + G)."""
        return ops.argmax(ops.add(self.logits, gumbel(u[0])))

    def relax(self, temperature: Node, *u: Node) -> Node:
        """Refused."""
        raise ModelError(NO_RELAXATION)

    def relax_given(self, temperature: Node, value: Node, *v: Node) -> Node:
        """Refused."""
        raise ModelError(NO_RELAXATION)

    def unit_support(self) -> np.ndarray:
        """0 to K - 1."""
        return np.arange(self.count)

    def node_mean(self) -> Node:
        """Sum over k of k * probs[k]."""
        return ops.reduce_sum(ops.mul(self.class_probs(), np.arange(float(self.count))), -1)

    def node_cdf(self, value: Node) -> Node:
        """Sum of the probabilities of classes up to `value`."""
        rows = ops.cast(ops.reshape(value, (*value.type.shape, 1)), "float")
        reached = ops.less_equal(np.arange(float(self.count)), rows)
        return ops.minimum(ops.reduce_sum(ops.where(reached, self.class_probs(), 0.0), -1), 1.0)

    def node_mode(self) -> Node:
        """The class of largest probability, of several the first."""
        return ops.argmax(self.weights)

    def node_icdf(self, probability: Node) -> Node:
        """The least class whose cdf reaches the probability, as a float."""
        return tabulated_icdf(self.node_cdf, self.class_probs(), probability)
