"""Doubly reparameterized gradients: sticking the landing for multi-sample bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ppl.estimators.base import Branches, NodeContext, SecondDerivatives, Support
from ppl.estimators.pathwise import Pathwise
from ppl.estimators.sticking_the_landing import own_density_support
from ppl.ir import ops
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class DoublyReparameterized(Pathwise):
    """Σ_k w̃_k² (∂ log w_k / ∂z_k) (∂z_k / ∂φ) for a node z of the guide under `iwae`, w̃ the normalised weights.

    The bound weighs the score of log q(z; φ) by w̃_k. Reparameterizing that score, too, turns the weights of the path
    into their squares. Model parameters get the ordinary gradient. Under `elbo` (one sample, w̃ = 1) this is
    `StickingTheLanding`.

    Requires what `StickingTheLanding` requires; under `iwae` also no random node downstream (its path would need the
    plain weights) and no enumerated node in the bound. Unbiased; one downstream evaluation. The signal-to-noise ratio
    grows with the number of importance samples; that of the pathwise gradient shrinks.
    Tucker, Lawson, Gu & Maddison 2019.
    """

    follows_path: ClassVar[bool] = False  # the score becomes a path by parts, over all that depends on the sample
    stops_density: ClassVar[bool] = True
    second: ClassVar[SecondDerivatives] = "score"
    reweights: ClassVar[bool] = True

    def supports(self, node: RandomNode) -> Support:
        """A pathwise node whose own log-density enters a bound or is a cost."""
        pathwise = super().supports(node)
        if not pathwise.ok:
            return pathwise
        density = own_density_support(node)
        bounds = [c.bound for c in node.costs if c.bound is not None]
        if not density.ok or not bounds:
            return density
        if len(node.costs) > 1:
            return Support(False, f"a cost beside the bound ('{node.costs[0].name}') would get its weights too")
        if node.children:
            return Support(False, f"'{node.children[0].name}' downstream is random: its path needs the plain weights")
        return Support(True, f"{pathwise.reason}; its own log-density enters the bound")

    def expand(self, ctx: NodeContext) -> Branches:
        """One branch, not stopped, with its gradient weighed once more."""
        value = ctx.draw()
        return Branches(value if ctx.importance is None else ops.scale_grad(value, ctx.importance))
