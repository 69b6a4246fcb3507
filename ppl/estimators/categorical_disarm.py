"""DisARM for classes: an antithetic pair of stick-breaking sequences of binary decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ppl.distributions import Categorical, OneHotCategorical
from ppl.estimators.base import Advantages, Branches, Estimator, NodeContext, Side, Support
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.records import dataclass
from ppl.tuning import CLASSES_MULTIPLIED

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class CategoricalDisARM(Estimator):
    """½ (f(x) − f(x̃)) c_k in the log-odds of "class k, none of the earlier ones having been taken", k < K − 1.

    A class is the first of K − 1 binary decisions b_k that says yes, with q_k = π_k / Σ_{j≥k} π_j; x̃ takes the
    decisions' antithetic partners b̃_k. The coefficient is DisARM's, with decisions that one side never takes
    integrated out:

        both sides take decision k      (−1)^b̃ 1[b ≠ b̃] max(q, 1 − q)
        only x takes it                  b − q
        only x̃ takes it                 q − b̃
        neither                          0

    The primal is the node's own sample; the decisions' uniforms are drawn given it. Requires a Categorical
    or OneHotCategorical node (units independent given their parents), hard values only, and nothing of the cost.
    Unbiased; two downstream evaluations whatever the number of classes and units, and at most K² additions a unit; the
    variance depends on differences of the cost alone, and on the order of the classes.
    Dong, Mnih & Tucker 2021 (DisARM-SB).
    """

    sides: ClassVar[int] = 1
    drawn_only: ClassVar[bool] = True

    def supports(self, node: RandomNode) -> Support:
        """Categories, integers or indicators."""
        if not isinstance(node.dist, (Categorical, OneHotCategorical)):
            return Support(False, f"needs categories, not {type(node.dist).__name__}")
        return Support(True, "categories, evaluated at true samples only")

    def expand(self, ctx: NodeContext) -> Branches:
        """Two hard branches: the sample, and the class that the antithetic decisions lead to."""
        dist = ctx.dist
        assert isinstance(dist, (Categorical, OneHotCategorical))
        indicators = isinstance(dist, OneHotCategorical)
        value = ops.stop(ctx.draw())
        sticks = StickBreakingDecisions(dist.class_probs(), ops.argmax(value) if indicators else value)
        (w,) = ctx.fresh((dist.weights.type.shape,))
        partner, coefficient = sticks.couple(w)
        weight = ops.mul(0.5, sticks.in_log_probs(coefficient))

        def score(advantages: Advantages) -> Node:
            first, second = advantages.costs
            difference = ops.sub(first, second)
            return ops.reduce_sum(dist.expected_log_prob(ops.stop(ops.mul(difference, weight))))

        other = ops.one_hot(partner, dist.count) if indicators else partner
        return Branches(value, [Side(ops.stop(other))], score)


class StickBreakingDecisions:
    """The binary decisions behind classes `index` (…) under probabilities `probs` (…, K)."""

    def __init__(self, probs: Node, index: Node):
        self.probs, self.count = probs, probs.type.shape[-1]
        self.classes = np.arange(self.count)
        self.index = _with_unit_axis(index)
        self.after = _sum_before_or_after(probs, after=True)
        here = ops.add(probs, self.after)
        possible = ops.less(0.0, here)
        self.yes = ops.where(possible, ops.div(probs, here), 0.0)
        self.no = ops.where(possible, ops.div(self.after, here), 0.0)

    def couple(self, w: Node) -> tuple[Node, Node]:
        """The partner's class and the coefficients c, from fresh uniforms `w` (…, K)."""
        yes, no = self.yes, self.no
        taken, passed = ops.equal(self.classes, self.index), ops.less(self.classes, self.index)
        v = ops.where(taken, ops.add(no, ops.mul(w, yes)), ops.where(passed, ops.mul(w, no), w))
        b = ops.cast(ops.logical_or(taken, ops.logical_and(ops.less(no, v), ops.logical_not(passed))), "float")
        final = ops.equal(self.classes, self.count - 1)
        b_partner = ops.cast(ops.logical_or(final, ops.less(no, ops.sub(1.0, v))), "float")
        partner = ops.argmax(b_partner)
        first, second = ops.less_equal(self.classes, self.index), ops.less_equal(self.classes, _with_unit_axis(partner))
        both = ops.mul(ops.sub(b, b_partner), ops.maximum(yes, no))
        one = ops.where(first, ops.sub(b, yes), ops.where(second, ops.sub(yes, b_partner), 0.0))
        coefficient = ops.where(ops.logical_and(first, second), both, one)
        return partner, ops.where(final, 0.0, coefficient)

    def in_log_probs(self, coefficient: Node) -> Node:
        """Weights of log π_k whose gradient is that of `coefficient` in the decisions' log-odds.

        The log-odds of decision k are log π_k - log Σ_{j>k} π_j.
        """
        share = ops.where(ops.less(0.0, self.after), ops.div(coefficient, self.after), 0.0)
        return ops.sub(coefficient, ops.mul(self.probs, _sum_before_or_after(share, after=False)))


def _sum_before_or_after(x: Node, after: bool) -> Node:
    """Sums over the later, or else the earlier, entries of every row: a product, or running sums of many classes."""
    *lead, count = x.type.shape
    if count <= CLASSES_MULTIPLIED:
        return ops.matmul(x, np.tril(np.ones((count, count)), -1) if after else np.triu(np.ones((count, count)), 1))
    whole = tuple((0, n, 1) for n in lead)
    turned = (*whole, (count - 1, count, -1))
    sums = ops.cumsum(ops.window(x, turned) if after else x)
    before = ops.concat([np.zeros((*lead, 1)), ops.window(sums, (*whole, (0, count - 1, 1)))], -1)
    return ops.window(before, turned) if after else before


def _with_unit_axis(index: Node) -> Node:
    return ops.reshape(index, (*index.type.shape, 1))
