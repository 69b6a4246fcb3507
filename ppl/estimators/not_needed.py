"""The estimator of nodes that need no gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ppl.estimators.base import Branches, Estimator, NodeContext, SecondDerivatives, Support
from ppl.ir import ops
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class NotNeeded(Estimator):
    """The node is sampled and passes no gradient: no learnable parameter upstream, or no cost downstream."""

    in_loops: ClassVar[bool] = True
    follows_path: ClassVar[bool] = True
    second: ClassVar[SecondDerivatives] = "kept"
    imposed: ClassVar[bool] = True

    def supports(self, node: RandomNode) -> Support:
        """Only nodes that need no gradient."""
        if node.needs_gradient:
            return Support(False, "a learnable parameter lies upstream")
        return Support(True, "no learnable parameter upstream" if node.costs else "no cost downstream")

    def expand(self, ctx: NodeContext) -> Branches:
        """One stopped branch."""
        return Branches(ops.stop(ctx.draw()))
