"""Exact enumeration over finite support."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppl.distributions.base import Distribution
from ppl.estimators.base import Estimator, Support
from ppl.ir.node import Node

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class Enumerate(Estimator):
    """Sum over every joint value of the node, weighted by its probability: no sampling, no variance from this node.

    The values run along an enumeration axis, so that everything downstream is one batch; nodes downstream keep their
    own estimators in every state. Cost: the joint support over all event elements and all rows that a downstream
    value couples, times that of other enumerated nodes with a common cost, at most `budget`.
    """

    budget: int = 4096

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
        weighed = next((n for n in node.graph.reweighted if _same_bound(node, node.graph[n])), None)
        if weighed is not None:
            return Support(False, f"'{weighed}' needs the weights of its samples, which would differ in every state")
        return Support(True)

    def states(self, node: RandomNode) -> float:
        """All joint values of what is summed over."""
        return node.joint_support(self.law(node.dist))

    def law(self, dist: Distribution) -> Distribution:
        """The law that is summed over."""
        return dist

    def value(self, dist: Distribution, state: Node, uniforms: tuple[Node, ...]) -> Node:
        """The node's value in a state of that law; `uniforms` are those of a draw."""
        return state


def _same_bound(node: RandomNode, other: RandomNode) -> bool:
    return any(c.bound is not None and c in other.costs for c in node.costs)


@dataclass(frozen=True)
class Marginalize(Enumerate):
    """The node is summed out inside the likelihood by log-sum-exp (`ppl.likelihood(model, marginalize=...)`)."""

    def supports(self, node: RandomNode) -> Support:
        """As `Enumerate`, and nothing in the sum is a stopped value of the node: its weight could not be left out."""
        terms = node.graph.terms
        for cost in node.graph.trace.costs.values():
            if node.name in cost.marginalize and terms.reach(cost.node).stopped & terms.bit[node.name]:
                return Support(False, f"cost '{cost.name}' sums over it, and reads it through ppl.stop_gradient")
        return super().supports(node)
