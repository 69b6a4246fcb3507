"""The base class of estimators that sum a node over all its states."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ppl.estimators.base import EntersBy, Estimator, SecondDerivatives, Support
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class ExactSum(Estimator):
    """Base of estimators that sum over all joint states of a law, at most `budget` of them."""

    enters: ClassVar[EntersBy] = "summed"
    second: ClassVar[SecondDerivatives] = "kept"
    sampled: ClassVar[bool] = False

    budget: int = 4096

    @property
    def most_states(self) -> float:
        """The budget."""
        return self.budget

    def supports(self, node: RandomNode) -> Support:
        """Finite support within the budget."""
        if node.dist.support_size() == float("inf"):
            return Support(False, f"{type(node.dist).__name__} has no finite support")
        within = self.within_budget(node)
        return Support(True, f"exact: {self.states(node):.0f} joint values") if within.ok else within

    def within_budget(self, node: RandomNode) -> Support:
        """Whether the joint states are few enough, and no other node needs the weights of its samples."""
        size = self.states(node)
        if size > self.budget:
            shown = f"{size:.0f}" if size < 1e6 else f"{size:.1e}"
            return Support(False, f"{shown} joint values exceed the budget of {self.budget}")
        weighed = next((n for n in node.graph.reweighted if _share_a_bound(node, node.graph[n])), None)
        if weighed is not None:
            return Support(False, f"'{weighed}' needs the weights of its samples, which would differ in every state")
        return Support(True)

    def states(self, node: RandomNode) -> float:
        """All joint values of what is summed over."""
        return node.joint_support(self.law(node.dist))


def _share_a_bound(node: RandomNode, other: RandomNode) -> bool:
    return any(c.bound is not None and c in other.costs for c in node.costs)
