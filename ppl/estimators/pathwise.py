"""Pathwise (reparameterization) gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ppl.estimators.base import Branches, Estimator, NodeContext, Support
from ppl.graph.smoothness import describe
from ppl.ir.op_facts import KINK

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class Pathwise(Estimator):
    """x = t(u, theta), u ~ U(0, 1): the gradient flows through the sampling path.

    Where the sampler rejects (Gamma, Beta, Dirichlet, StudentT, VonMises) or chooses (Mixture), it has the implicit
    derivative -dF / p.
    Requires a reparameterizable distribution and no jump on any path to a cost or to a later node's parameters.
    Unbiased; one downstream evaluation; variance grows with the cost's slope, not with its size.
    Kingma & Welling 2014; Rezende, Mohamed & Wierstra 2014.
    """

    follows_path: ClassVar[bool] = True

    def supports(self, node: RandomNode) -> Support:
        """Reparameterizable, and every path to a cost at most kinked."""
        if not node.dist.reparameterized:
            why = f": {node.dist.no_path}" if node.dist.no_path else ""
            return Support(False, f"{type(node.dist).__name__} has no differentiable sampling path{why}")
        order, where = node.path_order()
        if order < KINK:
            return Support(False, f"{describe(order)} on the way to {where}: a pathwise gradient would miss it")
        if node.dist.implicit:
            return Support(True, "continuous, its path has an implicit derivative, no jump on the way to a cost")
        return Support(True, "continuous, reparameterizable, no jump on the way to a cost")

    def expand(self, ctx: NodeContext) -> Branches:
        """One branch, not stopped."""
        return Branches(ctx.draw())
