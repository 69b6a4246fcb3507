"""Implicit reparameterization gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ppl.distributions.base import Distribution
from ppl.errors import ModelError
from ppl.estimators.base import Branches, Estimator, NodeContext, Support
from ppl.estimators.pathwise import crosses_unknown_gap
from ppl.graph.smoothness import explain_missed_path
from ppl.ir import ops
from ppl.ir.op_facts import KINK
from ppl.ir.types import Axis, Kind
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class Implicit(Estimator):
    """dx/dtheta = -(dF/dtheta)(x) / p(x): the path of the quantile, without inverting the cdf.

    Distributions whose sampler rejects (Gamma, Beta, Dirichlet, StudentT, VonMises) use the derivative kernel of their
    gamma variables or angles; there `Pathwise`, which the automatic choice names, is the same gradient. Others with
    one-dimensional units use their cdf, if it is differentiable. Requires what `Pathwise` requires of the costs.
    Unbiased; one downstream evaluation.

    References: Figurnov, Mohamed & Mnih 2018; Jankowiak & Obermeyer 2018.
    """

    in_loops: ClassVar[bool] = True
    follows_path: ClassVar[bool] = True
    own_path: ClassVar[bool] = True

    def supports(self, node: RandomNode) -> Support:
        """An implicit path or a differentiable cdf, and every way to a cost at most kinked."""
        kind = type(node.dist).__name__
        if not (node.dist.implicit or has_smooth_cdf(node.dist)):
            return Support(False, f"{kind} has neither an implicit derivative nor a differentiable cdf")
        order, where = node.path_order()
        if order < KINK:
            return Support(False, explain_missed_path(order, where, "an implicit gradient"))
        if crosses_unknown_gap(node):
            return Support(
                False, "its path runs through the mixture's cdf, and components without centres may be apart"
            )
        return Support(True, f"the quantiles of {kind} move smoothly, no jump on the way to a cost")

    def expand(self, ctx: NodeContext) -> Branches:
        """One branch: the sample, its derivative replaced by the implicit one."""
        value = ctx.draw()
        if ctx.dist.implicit:
            return Branches(value)
        fixed = ops.stop(value)
        density = ops.stop(ops.exp(ctx.dist.unit_log_prob(fixed)))
        return Branches(ops.graft(value, ops.neg(ops.div(ctx.dist.node_cdf(fixed), density))))


def has_smooth_cdf(dist: Distribution) -> bool:
    """Whether a continuous distribution of one-dimensional units has a cdf that is differentiable in its parameters."""
    if dist.discrete or dist.unit_rank or not dist.reparameterized:
        return False
    try:
        dist.node_cdf(ops.noise("probe", 0, (Axis("probe", Kind.PLATE, 1),), dist.event_shape))
    except ModelError:
        return False
    return True
