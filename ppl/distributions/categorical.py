"""The categorical distribution with integer or one-hot samples, and its Gumbel-softmax relaxation."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self, cast

import numpy as np

from ppl.distributions.base import Distribution, guarded_rows
from ppl.distributions.bounds import bounds_of, softmax_argument
from ppl.distributions.constraints import parameter_node
from ppl.distributions.discrete import tabulated_icdf, tabulated_isf
from ppl.distributions.formulas import (
    frozen,
    gumbel_noise,
    replace_infinities,
    simplex_covariance,
    times_log_prob,
    xlogy,
)
from ppl.distributions.intervals import POSITIVE, Interval
from ppl.distributions.support import Support, is_constant, is_marked_exact, on_simplex
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.tuning import SEARCHED_CLASSES


class CategoricalBase(Distribution):
    """Base of Categorical, OneHotCategorical and their relaxation. Computed and learned
    `probs` are divided by the sum of their row: densities, draws and gradients are those of the quotient.

    Parameters
    ----------
    probs : non-negative, rows of constants sum to 1.
    logits : finite or -inf; need not be normalised.
    """

    discrete = True
    param_rank = 1
    constraints: ClassVar[dict[str, str]] = {"probs": "simplex", "logits": "class_logits"}

    def __init__(self, probs: Any = None, logits: Any = None, **others: Any):
        name = type(self).__name__
        if (probs is None) == (logits is None):
            raise ModelError(f"{name} takes exactly one of probs and logits")
        given = {"logits": logits} if probs is None else {"probs": probs}
        (label, value), *_ = given.items()
        shape = parameter_node(name, label, value).type.shape
        if not shape or not shape[-1]:
            raise ShapeError(f"{name}: {label} needs a last axis of at least one class, got shape {shape}")
        super().__init__(**others, **given)

    @property
    def weights(self) -> Node:
        """The parameter that holds the classes: logits or probs."""
        return self.params["logits"] if "logits" in self.params else self.params["probs"]

    @property
    def count(self) -> int:
        """Number of classes K."""
        return self.weights.type.shape[-1]

    @property
    def logits(self) -> Node:
        """Log-probabilities up to a constant per row; of a class without probability -inf, without a derivative."""
        if "logits" in self.params:
            return self.params["logits"]
        p = self.params["probs"]
        behind = softmax_argument(p)
        if behind is not None or bounds_of(p).within(POSITIVE):
            return ops.log(p) if behind is None else behind
        never = ops.less_equal(frozen(p), 0.0)
        return ops.where(never, -math.inf, ops.log(ops.where(never, 1.0, p)))

    @property
    def in_logits(self) -> bool:
        """Whether logits are at hand: given, or behind a softmax."""
        return "logits" in self.params or softmax_argument(self.params["probs"]) is not None

    def log_probs(self) -> Node:
        """Normalised log-probabilities of the classes."""
        if self.in_logits:
            return ops.log_softmax(self.logits)
        return ops.sub(self.logits, ops.log(ops.reduce_sum(self.params["probs"], -1, keepdims=True)))

    def class_probs(self) -> Node:
        """Normalised probabilities of the classes."""
        if self.in_logits:
            return ops.softmax(self.logits)
        return ops.div(self.params["probs"], ops.reduce_sum(self.params["probs"], -1, keepdims=True))

    def unit_prob(self, value: Node) -> Node:
        """The probability of the class."""
        index = value if value.type.dtype == "int" else ops.argmax(value)
        law = self._one_unit()
        return law._entry_of_class(law.class_probs(), index)

    def _one_unit(self) -> Self:
        """The law of one unit where all units have the same one, else this law."""
        row = _common_row(self.weights, self.count)
        return self if row is None else cast(Self, self.with_params((row,)))

    def _entry_of_class(self, rows: Node, index: Node) -> Node:
        """The entry at `index` of every row of classes; any entry where the index is none of a class."""
        units = math.prod(self.batch_of_units)
        if units == 1:
            return ops.take(ops.reshape(rows, (self.count,)), index)
        index = ops.minimum(ops.maximum(index, 0), self.count - 1)
        first = self.count * np.arange(units).reshape(self.batch_of_units)
        return ops.take(ops.reshape(rows, (units * self.count,)), ops.add(first, index))

    def expected_log_prob(self, weight: Node) -> Node:
        """Sum over classes of weight * log probability, with 0 * (-inf) = 0; linear in `weight`."""
        if self.in_logits:
            return ops.reduce_sum(times_log_prob(weight, self.log_probs(), not self._has_data_logits()), -1)
        p = self.params["probs"]
        total = ops.log(ops.reduce_sum(p, -1))
        return ops.sub(ops.reduce_sum(xlogy(weight, p), -1), ops.mul(ops.reduce_sum(weight, -1), total))

    def _has_data_logits(self) -> bool:
        """Whether the logits are a data argument as it stands, which may have infinite entries."""
        node = self.logits
        while node.op in ("expand", "reshape", "transpose", "slice", "distribute"):
            node = node.args[0]
        return node.op == "input"

    def unit_entropy(self) -> Node:
        """Minus the sum of p log p."""
        return ops.neg(self.expected_log_prob(self.class_probs()))


def _common_row(x: Node, count: int) -> Node | None:
    """`x` with event (count,) where its event (…, count) is one row repeated, else None."""
    if x.type.event_size == count:
        return ops.reshape(x, (count,))
    row = _common_row(x.args[0], count) if x.op == "expand" and x.args[0].type.shape[-1:] == (count,) else None
    if row is None or not x.attrs["axes"]:
        return row
    return make("expand", row, axes=x.attrs["axes"], shape=(count,), live=x.attrs["live"])


NO_RELAXATION = (
    "Categorical has no relaxation: its samples are integers, which do not lie between one another; "
    "use OneHotCategorical, whose samples relax to points of the simplex"
)


class Categorical(CategoricalBase):
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
        index, law = ops.cast(value, "int"), self._one_unit()
        if self.in_logits:
            out = law._entry_of_class(law.log_probs(), index)
        else:
            p = law.params["probs"]
            out = ops.sub(ops.log(law._entry_of_class(p, index)), ops.log(ops.reduce_sum(p, -1)))
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
        sums = ops.cumsum(self._one_unit().unnormalised())
        shared = math.prod(self.event_shape) > 1 or not set(sums.type.axes).issuperset(u[0].type.axes)
        if self.count >= SEARCHED_CLASSES and sums.type.shape == (self.count,) and shared:
            return _count_sums_up_to(sums, u[0])
        *lead, count = sums.type.shape
        level = ops.mul(ops.window(sums, (*((0, n, 1) for n in lead), (count - 1, 1, 1))), _with_unit_axis(u[0]))
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
        gap = ops.sub(np.arange(float(self.count)), _with_unit_axis(self.node_mean()))
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


def _count_sums_up_to(sums: Node, u: Node) -> Node:
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


def _with_unit_axis(x: Node) -> Node:
    return ops.reshape(x, (*x.type.shape, 1))


class OneHotCategorical(CategoricalBase):
    """OneHotCategorical(probs) or OneHotCategorical(logits=...): support the K unit vectors, one unit per
    row.

    With one uniform per class, G = -log(-log u): the sample is one_hot(argmax(logits + G)), its relaxation
    softmax((logits + G) / temperature) (Jang et al. 2017, Maddison et al. 2017), and the relaxation given the
    sample truncates the Gumbel variables below the winner's (Tucker et al. 2017).

    `log_prob` of rows of numbers that are not one-hot is -inf. That of values that a model computes, or observes,
    extends linearly to the simplex: minus the cross-entropy of soft targets, and what a relaxed sample sees.

    Parameters
    ----------
    probs : shape (…, K), non-negative, rows sum to 1; computed rows are divided by their sum.
    logits : shape (…, K), finite or -inf, not necessarily normalised.
    """

    relaxable = True
    unit_rank = 1

    @property
    def support(self) -> Support:
        """Unit vectors."""
        return Support.ONE_HOT

    def unit_log_prob(self, value: Node) -> Node:
        """Sum over classes of x log p with 0 * (-inf) = 0: the multilinear extension on the simplex.

        Numbers of `log_prob` that are not one-hot have -inf, and constants off the simplex; symbolic values are taken
        to lie on it, so that no jump is introduced.
        """
        value = ops.cast(value, "float")
        out = self.expected_log_prob(value)
        if is_marked_exact(value) or is_constant(value):
            wanted = is_one_hot(value) if is_marked_exact(value) else _on_simplex(value)
            out = ops.where(wanted, out, -math.inf)
        return out

    def draw(self, *u: Node) -> Node:
        """one_hot(argmax(logits + G))."""
        return ops.one_hot(ops.argmax(ops.add(self.logits, gumbel_noise(u[0]))), self.count)

    def relax(self, temperature: Node, *u: Node) -> Node:
        """softmax((logits + G) / temperature)."""
        return ops.softmax(ops.div(ops.add(replace_infinities(self.logits), gumbel_noise(u[0])), temperature))

    def relax_given(self, temperature: Node, value: Node, *v: Node) -> Node:
        """softmax(z / temperature) with z given `value`: z_b = -log(-log v_b), z_i = -log(-log(v_i) / p_i -
        log v_b).

        With E = log(-log v) the latter is -E_b - softplus(E_i - log p_i - E_b), which no logit overflows.
        """
        wins = ops.less(0.5, frozen(ops.cast(value, "float")))
        e = ops.neg(gumbel_noise(v[0]))
        winner = ops.reduce_sum(ops.where(wins, e, 0.0), -1, keepdims=True)
        gap = ops.sub(ops.sub(e, replace_infinities(self.log_probs())), winner)
        z = ops.neg(ops.add(winner, ops.where(wins, 0.0, ops.softplus(gap))))
        return ops.softmax(ops.div(z, temperature))

    def unit_support(self) -> np.ndarray:
        """The K unit vectors."""
        return np.eye(self.count)

    def node_mean(self) -> Node:
        """probs."""
        return self.class_probs()

    def node_mode(self) -> Node:
        """The class of largest probability, of several the first."""
        return ops.one_hot(ops.argmax(self.weights), self.count)

    def unit_covariance(self) -> Node:
        """diag(p) - p p^T."""
        return simplex_covariance(self.class_probs())


def is_one_hot(value: Node) -> Node:
    """Whether each row has one 1 and no other number but 0."""
    ones, zeros = (ops.reduce_sum(ops.cast(ops.equal(value, x), "int"), -1) for x in (1.0, 0.0))
    return ops.logical_and(ops.equal(ones, 1), ops.equal(zeros, value.type.shape[-1] - 1))


def _on_simplex(value: Node) -> Node:
    """Whether each row is on the simplex, its edges included."""
    found = on_simplex(value, False)
    return ops.reshape(found, found.type.shape[:-1])


class RelaxedOneHotCategorical(CategoricalBase):
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
        warm = parameter_node("RelaxedOneHotCategorical", "temperature", temperature)
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
        return ops.softmax(ops.div(ops.add(self.logits, gumbel_noise(u[0])), self.params["temperature"]))

    def unit_entropy(self) -> Node:
        """Refused: no closed form."""
        return Distribution.unit_entropy(self)
