"""Straight-through gradient of stochastic binary neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ppl.distributions import Bernoulli, OneHotCategorical
from ppl.estimators.base import Branches, Estimator, NodeContext, Support
from ppl.graph.smoothness import describe_order
from ppl.ir import ops
from ppl.ir.op_facts import KINK
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class StraightThrough(Estimator):
    """Sample forward; backpropagate as if the sample were its mean P(y = 1 | a).

    The derivative is that of the noise's cdf: sigmoid for logistic noise, the normal density for probit units, the
    clipped ramp for uniform noise. Biased in general; exact where the cost is multilinear in the units of one
    independent layer. One downstream evaluation, low variance. Bengio, Léonard & Courville 2013.
    """

    in_loops: ClassVar[bool] = True
    biased: ClassVar[bool] = True

    def supports(self, node: RandomNode) -> Support:
        """A Bernoulli or one-hot node and no jump on the way."""
        if not isinstance(node.dist, (Bernoulli, OneHotCategorical)):
            return Support(False, f"needs binary or one-hot units, not {type(node.dist).__name__}")
        order, where = node.path_order()
        if order < KINK:
            return Support(False, f"{describe_order(order)} on the way to {where}")
        return Support(True, "binary units, no jump on the way to a cost")

    def expand(self, ctx: NodeContext) -> Branches:
        """One hard branch that carries the derivative of the mean."""
        return Branches(ops.graft(ctx.draw(), ctx.dist.node_mean()))
