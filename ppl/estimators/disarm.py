"""DisARM: an antithetic pair of binary layers, its shared noise integrated out."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ppl.distributions import Bernoulli
from ppl.estimators.base import Advantages, Branches, Estimator, NodeContext, Side, Support
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class DisARM(Estimator):
    """½ (f(b) − f(b̃)) (−1)^b̃ 1[b ≠ b̃] σ(|α|) per logit α, where b is drawn from u and b̃ from 1 − u.

    Requires Bernoulli units (any number, independent given their parents) and nothing of the cost, which may jump or
    be a black box: it is only evaluated at true samples. Unbiased; two downstream evaluations. The variance depends on
    differences of the cost alone, so no baseline is needed; it is never above that of `ARM`, of which this is the
    conditional expectation given both samples, and for one unit never above that of two independent samples with a
    leave-one-out baseline.

    Units given by probabilities take the derivative in p, (−1)^b̃ 1[b ≠ b̃] / (2 min(p, 1 − p)); where p is exactly 0
    or 1 both samples agree and the estimate is 0, which is refused where a parameter moves p.
    Dong, Mnih & Tucker 2020; Yin, Ho, Yan, Qian & Zhou 2020 (as U2G).
    """

    sides: ClassVar[int] = 1
    drawn_only: ClassVar[bool] = True

    def supports(self, node: RandomNode) -> Support:
        """Bernoulli units."""
        return binary_support(node)

    def expand(self, ctx: NodeContext) -> Branches:
        """Two hard branches: the sample, and its antithetic partner from 1 - u."""
        value, partner = antithetic_pair(ctx)
        dist = bernoulli_of(ctx)
        differ = ops.sub(value, partner)
        one, zero = dist.outcome_probs()
        if dist.in_logits:
            weight = ops.mul(differ, ops.maximum(one, zero))
        else:
            weight = ops.where(ops.equal(differ, 0.0), 0.0, ops.div(differ, ops.minimum(one, zero)))
        return antithetic_branches(ctx, value, partner, ops.mul(0.5, weight))


def binary_support(node: RandomNode) -> Support:
    """Whether `node` has Bernoulli units."""
    if not isinstance(node.dist, Bernoulli):
        return Support(False, f"needs Bernoulli units, not {type(node.dist).__name__}")
    return Support(True, "binary units, evaluated at true samples only")


def bernoulli_of(ctx: NodeContext) -> Bernoulli:
    """The distribution of a supported node."""
    assert isinstance(ctx.dist, Bernoulli)
    return ctx.dist


def antithetic_pair(ctx: NodeContext) -> tuple[Node, Node]:
    """The samples from u and from 1 - u, both stopped."""
    mirrored = (ops.sub(1.0, u) for u in ctx.uniforms)
    return ops.stop(ctx.draw()), ops.stop(ctx.dist.draw(*mirrored))


def antithetic_branches(ctx: NodeContext, value: Node, partner: Node, weight: Node) -> Branches:
    """(f(value) - f(partner)) * weight as the gradient in each unit's logit, or probability."""
    dist = bernoulli_of(ctx)
    parameter = dist.logits if dist.in_logits else dist.params["probs"]

    def score(advantages: Advantages) -> Node:
        first, second = advantages.costs
        return ops.reduce_sum(ops.mul(ops.stop(ops.mul(ops.sub(first, second), weight)), parameter))

    return Branches(value, [Side(partner)], score)
