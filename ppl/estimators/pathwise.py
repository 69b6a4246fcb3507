"""Pathwise (reparameterization) gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ppl.estimators.base import Branches, Estimator, NodeContext, SecondDerivatives, Support
from ppl.graph.smoothness import explain_missed_path
from ppl.ir.op_facts import KINK
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


def crosses_unknown_gap(node: RandomNode) -> bool:
    """Whether what is learned moves samples between components of a mixture, and it cannot be tested how far."""
    names, spread = node.dist.path_between_components() if node.dist.through_cdf else (frozenset(), None)
    return spread is None and bool(names & set(node.learnable))


@dataclass(frozen=True)
class Pathwise(Estimator):
    """x = t(u, theta), u ~ U(0, 1): the gradient flows through the sampling path.

    A sampler that rejects (Gamma, Beta, Dirichlet, StudentT, VonMises) or chooses (Mixture) has the implicit
    derivative -dF / p. The automatic choice does not take it for mixtures: between components that are far apart F
    changes with the weights, but few samples lie there (see `SumComponents`). If less than 1 % of the samples lie
    between them, the loss is NaN and a ParameterError says so.

    Requires a reparameterizable distribution and no jump on any path to a cost or to a later node's parameters.
    Unbiased; one downstream evaluation. The variance grows with the cost's slope, not with its size.
    Kingma & Welling 2014; Rezende, Mohamed & Wierstra 2014.
    """

    in_loops: ClassVar[bool] = True
    follows_path: ClassVar[bool] = True
    own_path: ClassVar[bool] = True
    second: ClassVar[SecondDerivatives] = "path"

    def supports(self, node: RandomNode) -> Support:
        """Reparameterizable, and every path to a cost at most kinked."""
        costs = self.supports_costs(node)
        if not node.dist.reparameterized:
            why = f": {node.dist.no_path}" if node.dist.no_path else ""
            return Support(False, f"{type(node.dist).__name__} has no differentiable sampling path{why}")
        if not costs.ok:
            return costs
        if crosses_unknown_gap(node):
            return Support(
                False, "its path runs through the mixture's cdf, and components without centres may be apart"
            )
        if node.dist.implicit:
            return Support(True, "continuous, its path has an implicit derivative, no jump on the way to a cost")
        return Support(True, "continuous, reparameterizable, no jump on the way to a cost")

    def supports_costs(self, node: RandomNode) -> Support:
        """Whether every path to a cost is at most kinked."""
        order, where = node.path_order()
        if order < KINK:
            return Support(False, explain_missed_path(order, where, "a pathwise gradient"))
        return Support(True)

    def expand(self, ctx: NodeContext) -> Branches:
        """One branch, not stopped."""
        return Branches(ctx.draw())
