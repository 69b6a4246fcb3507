"""The categorical distribution with integer samples."""

from __future__ import annotations

import math

import numpy as np

from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.intervals import Interval
from ppl.distributions.domain.support import Support
from ppl.distributions.parts.classes import Classes
from ppl.distributions.parts.discrete_quantiles import tabulated_icdf, tabulated_isf
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.tuning import SEARCHED_CLASSES

NO_RELAXATION = (
    "Categorical has no relaxation: its samples are integers, which do not lie between one another; "
    "use OneHotCategorical, whose samples relax to points of the simplex"
)


class Categorical(Classes):
    """Categorical(probs) or Categorical(logits=...): support {0, …, K-1}, int samples, one unit per row of
    classes.

    Sampled by inversion of the cumulative probabilities, one uniform per unit (Devroye 1986, chapter III).

    Parameters
    ----------
    probs : shape (…, K), non-negative, rows sum to 1; computed rows are divided by their sum.
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
        index, law = ops.cast(value, "int"), self._unit()
        if self.in_logits:
            out = law._picked(law.log_probs(), index)
        else:
            p = law.params["probs"]
            out = ops.sub(ops.log(law._picked(p, index)), ops.log(ops.reduce_sum(p, -1)))
        if value.type.dtype == "int" and bounds_of(value).within(self.bounds):
            return out
        known = ops.logical_and(ops.less_equal(0, value), ops.less_equal(value, self.count - 1))
        if value.type.dtype != "int":
            known = ops.logical_and(known, ops.equal(value, index))
        return ops.where(known, out, -math.inf)

    def uniforms(self) -> tuple[tuple[int, ...], ...]:
        """One uniform per unit."""
        return (self.event_shape,)

    def draw(self, *u: Node) -> Node:
        """The number of classes up to which the probabilities sum to at most u; the sums are in order, so that
        a class without probability is never drawn. Among many classes that many draws share it is searched for.
        """
        if self.count == 1:
            return ops.cast(ops.floor(u[0]), "int")
        sums = ops.cumsum(self._unit().unnormalised())
        shared = math.prod(self.event_shape) > 1 or not set(sums.type.axes).issuperset(u[0].type.axes)
        if self.count >= SEARCHED_CLASSES and sums.type.shape == (self.count,) and shared:
            return _search(sums, u[0])
        *lead, count = sums.type.shape
        level = ops.mul(ops.window(sums, (*((0, n, 1) for n in lead), (count - 1, 1, 1))), _column(u[0]))
        earlier = ops.window(sums, (*((0, n, 1) for n in lead), (0, count - 1, 1)))
        return ops.reduce_sum(ops.cast(ops.less_equal(earlier, level), "int"), -1)

    def unnormalised(self) -> Node:
        """The probabilities up to a factor per row."""
        if not self.in_logits:
            return self.params["probs"]
        return ops.exp(ops.sub(self.logits, ops.stop(ops.reduce("amax", self.logits, -1, keepdims=True), "shift")))

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

    def node_variance(self) -> Node:
        """Sum over k of probs[k] * (k - mean)^2."""
        gap = ops.sub(np.arange(float(self.count)), _column(self.node_mean()))
        return ops.reduce_sum(ops.mul(self.class_probs(), ops.mul(gap, gap)), -1)

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

    def node_sf(self, value: Node) -> Node:
        """Sum of the probabilities of classes above `value`."""
        rows = ops.cast(ops.reshape(value, (*value.type.shape, 1)), "float")
        above = ops.less(rows, np.arange(float(self.count)))
        return ops.minimum(ops.reduce_sum(ops.where(above, self.class_probs(), 0.0), -1), 1.0)

    def node_isf(self, probability: Node) -> Node:
        """The least class above which the probability is at most this, as a float."""
        return tabulated_isf(self.node_sf, self.class_probs(), probability)


def _search(sums: Node, u: Node) -> Node:
    """How many of the cumulative sums but the last are at most u times the last, by bisection: log2(K) looks a draw."""
    count = sums.type.shape[0]
    level = ops.mul(ops.reshape(ops.window(sums, ((count - 1, 1, 1),)), ()), u)
    size = 1 << (count - 1).bit_length()
    more = np.full(size - count + 1, np.inf)
    table, found = ops.concat([ops.window(sums, ((0, count - 1, 1),)), more]), ops.as_node(0)
    while size := size // 2:
        reached = ops.less_equal(ops.take(table, ops.add(found, size - 1)), level)
        found = ops.add(found, ops.mul(size, ops.cast(reached, "int")))
    return found


def _column(x: Node) -> Node:
    return ops.reshape(x, (*x.type.shape, 1))
