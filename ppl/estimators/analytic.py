"""The exact expectation of costs that are linear or quadratic in a node, from its mean and covariance."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ppl.errors import ModelError
from ppl.estimators.base import EntersBy, Estimator, SecondDerivatives, Support
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class Analytic(Estimator):
    """E f(x) = f(m) + sum_ij H_ij C_ij / 2 for a cost f of degree at most 2 in x: no sampling, no variance from x.

    m is the mean of x, and C its covariance within each independent unit. H is the Hessian of f; it may depend on
    anything but x. The node's value is its mean, and every downstream cost gains the second term. So losses, gradients
    and the advantages of other nodes are those of the expectation. Several such nodes under one cost are taken one
    after another, so the degree counts for each alone: x^2 y^2 is exact for independent x and y.

    Requires mean and covariance in closed form, no random node downstream, and costs that are polynomials of degree at
    most 2 in the node by the rules of `ppl.ir.polynomial.degree_of`. `ppl.stop_gradient` of the node is refused. Rows
    that a cost couples through `collect` count as units of one event. Exact. One downstream evaluation if all costs
    are linear, else one more for each entry of the event, at most `budget`. For quadratic costs under a Normal this is
    the expectation of the identities of Bonnet 1964 and Price 1958.
    """

    before_loops: ClassVar[bool] = False
    enters: ClassVar[EntersBy] = "averaged"
    second: ClassVar[SecondDerivatives] = "kept"
    sampled: ClassVar[bool] = False

    budget: int = 32

    def supports(self, node: RandomNode) -> Support:
        """Known moments, no random node downstream, and costs of degree at most 2."""
        try:
            node.dist.node_mean()
            node.dist.unit_covariance()
        except ModelError as error:
            return Support(False, str(error))
        if node.degrees.random is not None:
            return Support(False, f"'{node.degrees.random}' downstream is random: it needs a sample, not a mean")
        complaint = node.degrees.why_not_quadratic(node.graph.trace.costs.values())
        if complaint:
            return Support(False, complaint)
        size = self.side_count(node)
        if size > self.budget:
            return Support(False, f"{size} second derivatives exceed the budget of {self.budget}")
        return Support(True, f"exact: {size} second derivatives" if size else "exact: costs are linear in it")

    def side_count(self, node: RandomNode) -> int:
        """One second derivative for each entry of the event (of all coupled rows), none under linear costs."""
        if max(map(node.degrees.of_cost, node.graph.trace.costs.values()), default=0.0) < 2:
            return 0
        size = node.node.type.event_size
        for axis in node.coupled_plates:
            size *= axis.size or 1
        return size
