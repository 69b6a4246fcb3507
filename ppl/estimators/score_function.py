"""Score-function gradient (REINFORCE) and its baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppl.errors import EstimatorError
from ppl.estimators.base import Advantages, Auxiliary, Branches, Estimator, NodeContext, Support, score_of
from ppl.ir import ops
from ppl.ir.node import Node

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode

BASELINES = (None, "moving_average", "leave_one_out")
DECAY = 0.99


@dataclass(frozen=True)
class ScoreFunction(Estimator):
    """(f - baseline) * grad log p(x): needs only the density.

    Requires parameters that do not move the support. Unbiased; one downstream evaluation; high variance, which grows
    with the size of the cost and the number of units.

    Parameters
    ----------
    baseline : None; "moving_average" (an exponential mean of past advantages, decay 0.99, kept in `state.aux`);
        "leave_one_out" (the mean of the other particles' costs; needs `particles` >= 2).

    References: Williams 1992; Kool, van Hoof & Welling 2019 (leave-one-out).
    """

    baseline: str | None = None

    def __post_init__(self) -> None:
        if self.baseline not in BASELINES:
            raise EstimatorError(f"unknown baseline {self.baseline!r}; known: {BASELINES}")

    def supports(self, node: RandomNode) -> Support:
        """The support must not move with a learnable parameter."""
        moving = node.moving_support()
        if moving:
            return Support(False, f"the support moves with the learnable {', '.join(moving)}, which the score misses")
        return Support(True, "needs only the log-density")

    def validate(self, particles: int) -> str | None:
        """Leave-one-out needs two particles."""
        if self.baseline == "leave_one_out" and particles < 2:
            return "a leave-one-out baseline needs particles >= 2 (pass particles= to ppl.compile)"
        return None

    def expand(self, ctx: NodeContext) -> Branches:
        """One branch, stopped, and one score term."""
        value = ops.stop(ctx.draw())

        def score(advantages: Advantages) -> Node:
            advantage = ops.sub(advantages.costs[0], self._baseline(ctx, advantages))
            return ops.mul(score_of(ctx.dist, value), ops.stop(advantage))

        return Branches(value, score=score)

    def _baseline(self, ctx: NodeContext, advantages: Advantages) -> Node:
        cost = advantages.costs[0]
        if self.baseline == "moving_average":

            def follow(advantages: Advantages, old: Node) -> Node:
                return ops.add(ops.mul(DECAY, old), ops.mul(1 - DECAY, advantages.mean_over_rows(advantages.costs[0])))

            return ctx.aux("baseline", Auxiliary(0.0, follow))
        if self.baseline == "leave_one_out":
            axis = ctx.particles
            cost = ops.expand(cost, (axis,))
            others = ops.sub(ops.sum_axes(cost, (axis,)), cost)
            return ops.div(others, ops.sub(ops.size(axis), 1.0))
        return ops.const(0.0)
