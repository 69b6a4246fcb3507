"""Sticking the landing: a pathwise gradient of the bound without the score of the guide."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ppl.estimators.base import SecondDerivatives, Support
from ppl.estimators.pathwise import Pathwise
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class StickingTheLanding(Pathwise):
    """Pathwise, with the distribution's parameters stopped inside the node's own log q(z; phi) of an `elbo`.

    The gradient of log q(z(phi); phi) is a path through z plus the score at z. The score has expectation 0 given the
    ancestors, so it is dropped. Requires what `Pathwise` requires, and a sampled log q of the node among the costs (say
    `kl="sampled"` if the divergence has a closed form). Unbiased; one downstream evaluation. As q approaches the
    posterior the variance goes to 0, while the pathwise gradient keeps that of the score; far from the posterior either
    may have the larger variance. Roeder, Wu & Duvenaud 2017.
    """

    in_loops: ClassVar[bool] = True
    stops_density: ClassVar[bool] = True
    second: ClassVar[SecondDerivatives] = "score"

    def supports(self, node: RandomNode) -> Support:
        """A pathwise node whose own log-density is a cost."""
        pathwise = super().supports(node)
        if not pathwise.ok:
            return pathwise
        density = own_density_support(node)
        if not density.ok:
            return density
        if any(c.bound is not None for c in node.costs):
            return Support(False, "the bound weighs the score by its sample, so that it would not average to 0")
        return Support(True, f"{pathwise.reason}; its own log-density is a cost")


def own_density_support(node: RandomNode) -> Support:
    """Whether the costs have the sampled log-density of `node`, whole."""
    if node.name not in node.graph.own_densities:
        return Support(False, 'no sampled log q of the node among the costs: it needs elbo(..., kl="sampled") or iwae')
    if node.dist.event_mask is not None:
        return Support(False, "the log-density is masked, so that its score would not average to 0")
    return Support(True)
