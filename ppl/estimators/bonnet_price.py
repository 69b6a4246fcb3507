"""The Gaussian identities of Bonnet and Price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ppl.distributions import Normal
from ppl.estimators.base import Advantages, Branches, Estimator, NodeContext, Support
from ppl.graph.smoothness import describe
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.node import Node

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode

ONCE = 1.0


@dataclass(frozen=True)
class BonnetPrice(Estimator):
    """grad_mu E[f] = E[grad f] and grad_(sigma^2) E[f] = E[diag Hessian f] / 2 for x ~ Normal(mu, sigma).

    Chain rule: grad f . dmu + diag(Hessian f) . d(sigma^2) / 2, both at the sample. Requires a cost that is once
    continuously differentiable along every path (a kink would lose its share of the second derivative), no random node
    downstream (its estimator would have to be differentiated twice), no cost that couples rows, and at most `budget`
    entries in the event: each takes one Hessian-vector product, so that the cost grows with the event. Unbiased; one
    downstream evaluation. The part for sigma has the variance of the curvature, where the pathwise one has that of
    slope times noise: none under a quadratic cost. Bonnet 1964; Price 1958; Rezende, Mohamed & Wierstra 2014.
    """

    budget: int = 32

    def supports(self, node: RandomNode) -> Support:
        """A Normal just above costs that are twice differentiable almost everywhere, without a kink."""
        if not isinstance(node.dist, Normal):
            return Support(False, f"an identity of the Normal distribution, not of {type(node.dist).__name__}")
        size = node.node.type.event_size
        if size > self.budget:
            return Support(False, f"{size} Hessian-vector products exceed the budget of {self.budget}")
        if node.children:
            return Support(False, f"'{node.children[0].name}' downstream is random: second derivatives would miss it")
        if node.coupled_plates:
            return Support(False, f"a cost couples the rows of plate '{node.coupled_plates[0].name}'")
        order, where = node.path_order()
        if order < ONCE:
            return Support(False, f"{describe(order)} on the way to {where}: the second derivative would miss it")
        if any(n.op == "external" and n in node.direct for n in node.graph.order):
            return Support(False, "a user's function on the way to a cost has no second derivative")
        return Support(True, "Normal, and a cost with a second derivative")

    def expand(self, ctx: NodeContext) -> Branches:
        """One branch, stopped; slope and curvature of the downstream cost multiply the mean and the variance."""
        value = ops.stop(ctx.draw())
        loc, scale = ctx.dist.params["loc"], ctx.dist.params["scale"]

        def score(advantages: Advantages) -> Node:
            (slope,) = gradient(advantages.costs[0], [value], erase={"theta"})
            curved = ops.mul(ops.mul(0.5, ops.stop(_curvature(slope, value))), ops.mul(scale, scale))
            return ops.reduce_sum(ops.add(ops.mul(ops.stop(slope), loc), curved))

        return Branches(value, score=score)


def _curvature(slope: Node, value: Node) -> Node:
    """The diagonal of the Hessian, entry by entry."""
    shape, size = value.type.shape, value.type.event_size
    total = ops.zeros_like(value.type)
    for unit in np.eye(size).reshape(size, *shape):
        chosen = ops.reduce_sum(ops.mul(slope, unit))
        (row,) = gradient(chosen, [value], erase={"theta"})
        total = ops.add(total, ops.mul(row, unit))
    return total
