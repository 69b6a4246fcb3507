"""What distributions over K classes share: probabilities or logits with a trailing axis of classes."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self, cast

import numpy as np

from ppl.distributions.base import Distribution
from ppl.distributions.domain.bounds import bounds_of, softmax_argument
from ppl.distributions.domain.checks import parameter
from ppl.distributions.domain.intervals import POSITIVE
from ppl.distributions.parts.formulas import frozen, weigh, weigh_log
from ppl.errors import ModelError, ShapeError
from ppl.ir import ops
from ppl.ir.node import Node, make


class Classes(Distribution):
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
        shape = parameter(name, label, value).type.shape
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
        law = self._unit()
        return law._picked(law.class_probs(), index)

    def _unit(self) -> Self:
        """The law of one unit where all units have the same one, else this law."""
        row = _only_row(self.weights, self.count)
        return self if row is None else cast(Self, self.with_params((row,)))

    def _picked(self, rows: Node, index: Node) -> Node:
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
            return ops.reduce_sum(weigh(weight, self.log_probs(), not self._given()), -1)
        p = self.params["probs"]
        total = ops.log(ops.reduce_sum(p, -1))
        return ops.sub(ops.reduce_sum(weigh_log(weight, p), -1), ops.mul(ops.reduce_sum(weight, -1), total))

    def _given(self) -> bool:
        """Whether the logits are a data argument as it stands, which may have infinite entries."""
        node = self.logits
        while node.op in ("expand", "reshape", "transpose", "slice", "distribute"):
            node = node.args[0]
        return node.op == "input"

    def unit_entropy(self) -> Node:
        """Minus the sum of p log p."""
        return ops.neg(self.expected_log_prob(self.class_probs()))


def _only_row(x: Node, count: int) -> Node | None:
    """`x` with event (count,) where its event (…, count) is one row repeated, else None."""
    if x.type.event_size == count:
        return ops.reshape(x, (count,))
    row = _only_row(x.args[0], count) if x.op == "expand" and x.args[0].type.shape[-1:] == (count,) else None
    if row is None or not x.attrs["axes"]:
        return row
    return make("expand", row, axes=x.attrs["axes"], shape=(count,), live=x.attrs["live"])
