"""The most probable categories summed exactly, one of the others drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ppl.distributions import Categorical, OneHotCategorical
from ppl.estimators.base import Advantages, Branches, NodeContext, Side, Support
from ppl.estimators.parts.chances import counted
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class LikelyCategories:
    """Σ over the `count` most probable categories of ∇p f, and (Σ p of the others) (f(r) − c) ∇log p(r), r among these.

    Where the sample is a summed category, the branch of that category evaluates r instead; else the sample is r. So
    every branch is a new evaluation. c is the mean cost of the summed categories, which does not depend on r.
    """

    count: int

    def supports(self, node: RandomNode) -> Support:
        """One unit with more categories than are summed."""
        dist = node.dist
        if not isinstance(dist, (Categorical, OneHotCategorical)):
            return Support(False, f"needs categories, not {type(dist).__name__}")
        units = math.prod(dist.batch_of_units)
        if units != 1:
            return Support(False, f"{units} units: the likely categories are summed of one")
        if dist.count <= self.count:
            number = f"{dist.count} {'category' if dist.count == 1 else 'categories'}"
            return Support(False, f"{number} in all, not more than categories={self.count}: name Enumerate()")
        return Support(True, f"{self.count} of {dist.count} categories summed, in every row the most probable ones")

    def side_count(self, node: RandomNode) -> int:
        """One for every category that is summed."""
        return self.count

    def expand(self, ctx: NodeContext) -> Branches:
        """The sample, and a hard branch for each summed category, or for r in place of the sample's own."""
        dist, value = ctx.dist, ops.stop(ctx.draw())
        assert isinstance(dist, (Categorical, OneHotCategorical))
        indicators = isinstance(dist, OneHotCategorical)
        probs = ops.reshape(dist.class_probs(), (dist.count,))
        index = ops.reshape(ops.argmax(value) if indicators else value, ())
        likely, rest = self._likely(ops.stop(probs))
        (u,) = ctx.fresh(((),))
        other = Categorical(probs=rest).draw(u)
        hits = [ops.equal(index, c) for c in likely]

        def side(c: Node, hit: Node) -> Node:
            at = ops.where(hit, other, c)
            return ops.stop(ops.reshape(ops.one_hot(at, dist.count) if indicators else at, dist.event_shape))

        def score(advantages: Advantages) -> Node:
            trunk, *costs = advantages.costs
            chances = [ops.take(probs, c) for c in likely]
            summed = [
                counted(chance, ops.where(hit, trunk, cost))
                for chance, hit, cost in zip(chances, hits, costs, strict=True)
            ]
            at_other, drawn = trunk, index
            for hit, cost in zip(hits, costs, strict=True):
                at_other, drawn = ops.where(hit, cost, at_other), ops.where(hit, other, drawn)
            mass = mean = ops.const(0.0)
            for chance, cost in zip(chances, summed, strict=True):
                mass, mean = ops.add(mass, chance), ops.add(mean, ops.mul(chance, cost))
            mean = ops.stop(ops.div(mean, mass))
            total = ops.const(0.0)
            for chance, cost in zip(chances, summed, strict=True):
                total = ops.add(total, ops.mul(chance, ops.stop(ops.sub(cost, mean))))
            chance, left = ops.take(probs, drawn), ops.reduce_sum(rest)
            counts = ops.less(0.0, ops.take(rest, drawn))
            weight = ops.where(
                counts, ops.div(ops.mul(left, ops.sub(at_other, mean)), ops.where(counts, chance, 1.0)), 0.0
            )
            return ops.add(total, ops.mul(chance, ops.stop(weight)))

        return Branches(value, [Side(side(c, hit)) for c, hit in zip(likely, hits, strict=True)], score)

    def _likely(self, probs: Node) -> tuple[list[Node], Node]:
        """The most probable categories, and the probabilities with theirs set to 0."""
        found, left = [], probs
        for _ in range(self.count):
            found.append(ops.argmax(left))  # of those that cannot happen, too, where fewer can
            left = ops.where(ops.less(0.5, ops.one_hot(found[-1], probs.type.shape[0])), -1.0, left)
        return found, ops.maximum(left, 0.0)
