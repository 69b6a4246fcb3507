"""Summing a node out inside the likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ppl.estimators.base import Support
from ppl.estimators.exact_sum import ExactSum
from ppl.records import dataclass
from ppl.tuning import TABLE_ENTRIES

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class Marginalize(ExactSum):
    """The node is summed out inside the likelihood by log-sum-exp (`ppl.likelihood(model, marginalize=...)`)."""

    imposed: ClassVar[bool] = True
    within_cost: ClassVar[bool] = True

    budget: int = TABLE_ENTRIES

    def supports(self, node: RandomNode) -> Support:
        """As `Enumerate`, and nothing in the sum is a stopped value of the node: its weight could not be left out."""
        terms = node.graph.terms
        for cost in node.graph.trace.costs.values():
            if node.name in cost.marginalize and terms.reach(cost.node).stopped & terms.bit[node.name]:
                return Support(False, f"cost '{cost.name}' sums over it, and reads it through ppl.stop_gradient")
        return super().supports(node)
