"""Score-function gradient (REINFORCE) and its baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ppl.arguments import shown
from ppl.distributions.base import Distribution
from ppl.errors import EstimatorError
from ppl.estimators.base import Advantages, Auxiliary, Branches, Estimator, Hyper, NodeContext, Support, score_of
from ppl.estimators.baselines import (
    SmallNetwork,
    baseline_inputs,
    baseline_of_cost,
    check_baseline,
    sum_over_other_particles,
    update_moving_average,
)
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.node import Node
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode

BASELINES = (None, "moving_average", "leave_one_out", "learned", "optimal")

SCORE_FLOOR = 1e-30

ROUNDED_AWAY = 1e-5
"""Weights of all others relative to a particle's own, below which their sum is rounding: then they weigh the same."""


@dataclass(frozen=True)
class ScoreFunction(Estimator):
    """(f - baseline) * grad log p(x): needs only the density.

    Requires a support that no learned parameter moves. A discrete node above may move it, unless that node is relaxed.
    Unbiased; one downstream evaluation. The variance is high and grows with the size of the cost and the number of
    units.

    References: Williams 1992; Kool, van Hoof & Welling 2019 (leave-one-out); Mnih & Gregor 2014 (learned; their
    division of the signal by its running deviation is left out); Weaver & Tao 2001 (optimal).

    Parameters
    ----------
    baseline : None; a number or `ppl.hyper(...)` (a constant, the same for every row of the node);
        "moving_average" (an exponential mean of past advantages, decay 0.99, kept in `state.aux`);
        "leave_one_out" (the mean of the other particles' costs; needs `particles` >= 2);
        "learned" (a network of one tanh layer on the node's distribution parameters and its row's data, plus a moving
        average of what it misses, trained in `program.step` by regression on the cost: removes the part of the cost
        that the ancestors explain);
        "optimal" (sum f |s|^2 / sum |s|^2 over the other particles, s the score in the node's own parameters: an
        estimate of the constant that minimises E[|(f - c) s|^2]; since it does not see the particle whose score it
        multiplies, the estimate is unbiased; with 2 particles it is leave-one-out, from 3 on it weighs them).
    width, rate : units of the learned baseline's layer, and its Adam step size. In a loop over time the network sees
        the carry and the slices of the step, too.
    per_step : whether a node in a loop over time has a moving average of its own for every step.
    """

    baseline: str | float | Hyper | None = None
    width: int = 16
    rate: float = 0.01
    per_step: bool = False
    in_loops: ClassVar[bool] = True
    drawn_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "baseline", check_baseline("ScoreFunction", self.baseline, BASELINES))
        if self.width < 1 or not self.rate > 0:
            raise EstimatorError(f"a learned baseline needs width >= 1 and rate > 0, not {self.width} and {self.rate}")
        if self.per_step and self.baseline != "moving_average":
            raise EstimatorError(f"per_step is for the baseline 'moving_average', not {shown(self.baseline)}")

    def supports(self, node: RandomNode) -> Support:
        """The support must not move with a learnable parameter, nor along the path of a random node."""
        lost = node.lost_support()
        if lost is not None:
            return Support(False, lost)
        if self.per_step and not node.site.times:
            return Support(False, "per_step is for nodes in loops over time")
        if self.baseline == "learned" and not node.costs:
            return Support(False, "a learned baseline follows downstream costs, and there are none")
        return Support(True, "needs only the log-density")

    def validate(self, particles: int) -> str | None:
        """Baselines from the other particles need two."""
        if self.baseline in ("leave_one_out", "optimal") and particles < 2:
            label = "a leave-one-out baseline" if self.baseline == "leave_one_out" else "an optimal baseline"
            return f"{label} needs particles >= 2 (pass particles= to ppl.compile)"
        return None

    def expand(self, ctx: NodeContext) -> Branches:
        """One branch, stopped, and one score term."""
        value = ops.stop(ctx.draw())
        log_prob = score_of(ctx.dist, value)
        if self.baseline == "learned":
            return self._with_learned_baseline(ctx, value, log_prob)

        def score(advantages: Advantages) -> Node:
            advantage = ops.sub(advantages.costs[0], self._baseline(ctx, value, advantages))
            return ops.mul(log_prob, ops.stop(advantage))

        return Branches(value, score=score)

    def _baseline(self, ctx: NodeContext, value: Node, advantages: Advantages) -> Node:
        cost = advantages.costs[0]
        if self.baseline != "optimal":
            return baseline_of_cost(ctx, self.baseline, cost, self.per_step)
        square = _squared_score_norm(ctx.dist, value)
        rest = sum_over_other_particles(square, ctx)
        lost = ops.less(rest, ops.mul(ROUNDED_AWAY, square))
        weighed = ops.div(sum_over_other_particles(ops.mul(square, cost), ctx), ops.where(lost, 1.0, rest))
        return ops.where(lost, baseline_of_cost(ctx, "leave_one_out", cost), weighed)

    def _with_learned_baseline(self, ctx: NodeContext, value: Node, log_prob: Node) -> Branches:
        x = baseline_inputs(ctx)
        network = SmallNetwork(ctx, {"context": x.type.event_size}, self.width, "fit", self.rate)
        learned = network(x)
        centre = ctx.aux(
            "baseline", Auxiliary(0.0, lambda a, old: update_moving_average(a, old, ops.sub(a.costs[0], learned)))
        )

        def score(advantages: Advantages) -> Node:
            return ops.mul(log_prob, ops.stop(ops.sub(ops.sub(advantages.costs[0], centre), learned)))

        def fit(advantages: Advantages) -> Node:
            missed = ops.sub(ops.sub(advantages.costs[0], centre), learned)
            return advantages.mean_over_rows(ops.mul(missed, missed))

        return Branches(value, score=score, fit=fit)


def _squared_score_norm(dist: Distribution, value: Node) -> Node:
    """|grad log p(value)|^2 in the distribution's own parameters, for each row and particle."""
    params = tuple(ops.expand(p, value.type.axes) for p in dist.params.values())
    total = ops.const(SCORE_FLOOR)
    for slope in gradient(score_of(dist.with_params(params), value), params):
        total = ops.add(total, ops.reduce_sum(ops.mul(slope, slope)))
    return total
