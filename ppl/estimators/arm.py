"""ARM: augment, REINFORCE, merge. The reference that DisARM improves on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ppl.estimators.base import Branches, Estimator, NodeContext, Support
from ppl.estimators.disarm import antithetic_branches, antithetic_pair, bernoulli_of, binary_support
from ppl.ir import ops
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class ARM(Estimator):
    """(f(1[u > σ(−α)]) − f(1[u < σ(α)])) (u − ½) per logit α, one uniform u per unit.

    The first value is the node's own sample, the second that from 1 − u. Requires Bernoulli units (any number,
    independent given their parents) and nothing of the cost. Unbiased; two downstream evaluations; no baseline needed;
    the variance is that of `DisARM` plus what u adds to the two samples, so it serves as a reference.

    Units given by probabilities take the derivative in p, (u − ½) / (p (1 − p)), and 0 where p is exactly 0 or 1
    (refused where a parameter moves it). Yin & Zhou 2019.
    """

    sides: ClassVar[int] = 1
    drawn_only: ClassVar[bool] = True

    def supports(self, node: RandomNode) -> Support:
        """Bernoulli units."""
        return binary_support(node)

    def expand(self, ctx: NodeContext) -> Branches:
        """Two hard branches: the sample, and its antithetic partner from 1 - u."""
        value, partner = antithetic_pair(ctx)
        weight = ops.sub(ctx.uniforms[0], 0.5)
        dist = bernoulli_of(ctx)
        if not dist.in_logits:
            one, zero = dist.outcome_probs()
            variance = ops.mul(one, zero)
            weight = ops.where(ops.less(0.0, variance), ops.div(weight, variance), 0.0)
        return antithetic_branches(ctx, value, partner, weight)
