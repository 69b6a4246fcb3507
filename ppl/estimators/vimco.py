"""VIMCO: a leave-one-out baseline inside a multi-sample bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ppl.estimators.base import Advantages, Branches, Estimator, NodeContext, Support, score_of
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode
    from ppl.ir.types import Axis


@dataclass(frozen=True)
class Vimco(Estimator):
    """(L - L_k) grad log q(z_k) for sample k of the bound L = log (1/K) sum_j w_j.

    L_k = log (1/K) (sum over j != k of w_j + exp(mean over j != k of log w_j)) is the bound with w_k replaced by the
    geometric mean of the other weights, so it does not depend on z_k. Every sample thus has a learning signal of its
    own. Requires a node under `iwae` with two or more importance samples, and parameters that do not move the support.
    Unbiased; one downstream evaluation and K^2 exponentials per row. Mnih & Rezende 2016.
    """

    drawn_only: ClassVar[bool] = True

    def supports(self, node: RandomNode) -> Support:
        """All downstream costs are one multi-sample bound."""
        bounds = [c.bound for c in node.costs if c.bound is not None]
        if not bounds:
            return Support(False, "no multi-sample bound downstream: it needs the iwae objective")
        if len(bounds) < len(node.costs):
            other = next(c.name for c in node.costs if c.bound is None)
            return Support(False, f"cost '{other}' downstream is not part of the bound")
        if (bounds[0].axis.size or 0) < 2:
            return Support(False, "a single importance sample has no others (pass particles= to ppl.iwae)")
        lost = node.lost_support()
        if lost is not None:
            return Support(False, lost)
        return Support(True, f"needs only the log-density; {bounds[0].axis.size} importance samples")

    def expand(self, ctx: NodeContext) -> Branches:
        """One branch, stopped, and one score term."""
        value = ops.stop(ctx.draw())
        log_prob = score_of(ctx.dist, value)

        def score(advantages: Advantages) -> Node:
            (bound,) = advantages.bounds
            loss_without = advantages.reduce(ops.neg(_leave_one_out_bounds(bound.log_weights, bound.axis)))
            return ops.mul(log_prob, ops.stop(ops.sub(advantages.costs[0], loss_without)))

        return Branches(value, score=score)


def _leave_one_out_bounds(log_weights: Node, axis: Axis) -> Node:
    """L_k for every k along `axis`. All K x K terms are formed: a difference of sums would lose small weights."""
    count = axis.size or 0
    row = ops.collect(log_weights, axis)
    mean = ops.div(ops.sub(ops.reduce_sum(row, -1, keepdims=True), row), count - 1.0)
    table = ops.where(np.eye(count) > 0, ops.reshape(mean, (count, 1)), ops.reshape(row, (1, count)))
    return ops.distribute(ops.sub(ops.logsumexp(table, -1), np.log(count)), axis)
