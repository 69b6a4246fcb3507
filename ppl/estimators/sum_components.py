"""The sum over a mixture's components, pathwise within each."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ppl.distributions.base import Distribution
from ppl.estimators.base import Support
from ppl.estimators.exact_sum import ExactSum
from ppl.estimators.pathwise import Pathwise
from ppl.ir.node import Node
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class SumComponents(ExactSum):
    """Σ_k w_k E[f(x_k)] for a mixture: the choice of the component is summed exactly, x_k is a sample of component k.

    The derivative in the weights is that of the sum, so components may be far apart; the derivative in the components'
    parameters follows the path of each x_k.

    Requires components with paths of their own, none of which is itself a mixture with a path through its cdf, and what
    `Pathwise` requires of the costs. Unbiased; one downstream evaluation for every joint choice of all units and of all
    rows that a downstream value couples, at most `budget`.
    """

    sampled: ClassVar[bool] = True

    def supports(self, node: RandomNode) -> Support:
        """A mixture of paths, few joint choices, no jump on the way to a cost."""
        if node.dist.choice is None:
            return Support(False, f"{type(node.dist).__name__} is no mixture")
        if node.dist.no_path_given_choice:
            return Support(False, f"its components have no paths: {node.dist.no_path_given_choice}")
        within = self.within_budget(node)
        if not within.ok:
            return within
        smooth = Pathwise().supports_costs(node)
        return Support(True, f"{self.states(node):.0f} joint choices of components") if smooth.ok else smooth

    def law(self, dist: Distribution) -> Distribution:
        """The law of the choice."""
        assert dist.choice is not None
        return dist.choice

    def value(self, dist: Distribution, state: Node, uniforms: tuple[Node, ...]) -> Node:
        """A draw of the component that is chosen."""
        return dist.draw_given_choice(state, *uniforms)
