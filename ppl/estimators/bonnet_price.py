"""The Gaussian identities of Bonnet and Price."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ppl.distributions import MultivariateNormal, Normal
from ppl.estimators.base import Advantages, Branches, Estimator, NodeContext, Support
from ppl.graph.smoothness import describe_order
from ppl.ir import ops
from ppl.ir.differentiate import gradient
from ppl.ir.node import Node
from ppl.ir.op_facts import ONCE
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class BonnetPrice(Estimator):
    """grad_mu E[f] = E[grad f] and grad_Sigma E[f] = E[Hessian f] / 2 for x ~ Normal(mu, Sigma).

    By the chain rule the estimate is grad f . dmu + sum_ij (Hessian f)_ij dSigma_ij / 2 at the sample. Independent
    units use the diagonal of the Hessian, vectors of a MultivariateNormal their block, with Sigma = L L^T.

    Requires a cost that is once continuously differentiable along every path (a kink has a second derivative that
    samples miss), no random node downstream (its estimator would have to be differentiated twice), no cost that couples
    rows, and at most `budget` entries in the event; each takes one Hessian-vector product. Unbiased; one downstream
    evaluation. The part for Sigma has the variance of the curvature, which is 0 under a quadratic cost; the pathwise
    gradient has that of slope times noise. Bonnet 1964; Price 1958; Rezende, Mohamed & Wierstra 2014.
    """

    budget: int = 32

    def supports(self, node: RandomNode) -> Support:
        """A Normal or MultivariateNormal just above costs that are twice differentiable almost everywhere, no kink."""
        if not isinstance(node.dist, (Normal, MultivariateNormal)):
            return Support(False, f"an identity of Normal distributions, not of {type(node.dist).__name__}")
        size = node.node.type.event_size
        if size > self.budget:
            return Support(False, f"{size} Hessian-vector products exceed the budget of {self.budget}")
        if node.children:
            return Support(False, f"'{node.children[0].name}' downstream is random: second derivatives would miss it")
        if node.coupled_plates:
            return Support(False, f"a cost couples the rows of plate '{node.coupled_plates[0].name}'")
        order, where = node.path_order()
        if order < ONCE:
            return Support(False, f"{describe_order(order)} on the way to {where}: the second derivative would miss it")
        if any(n.op == "external" and n in node.direct for n in node.graph.order):
            return Support(False, "a user's function on the way to a cost has no second derivative")
        return Support(True, f"{type(node.dist).__name__}, and a cost with a second derivative")

    def expand(self, ctx: NodeContext) -> Branches:
        """One branch, stopped; slope and curvature of the downstream cost multiply the mean and the covariance."""
        value = ops.stop(ctx.draw())
        mean, covariance, rank = ctx.dist.node_mean(), ctx.dist.unit_covariance(), ctx.dist.unit_rank

        def score(advantages: Advantages) -> Node:
            (slope,) = gradient(advantages.costs[0], [advantages.primal], erase={"theta"})
            curved = ops.mul(ops.mul(0.5, ops.stop(_hessian_blocks(slope, advantages.primal, rank))), covariance)
            return ops.add(ops.reduce_sum(ops.mul(ops.stop(slope), mean)), ops.reduce_sum(curved))

        return Branches(value, score=score)


def _hessian_blocks(slope: Node, value: Node, rank: int) -> Node:
    """The Hessian's diagonal (`rank` 0), or its block for each unit (`rank` 1, a vector), one product an entry."""
    shape, size = value.type.shape, value.type.event_size
    total = ops.const(0.0)
    for unit in np.eye(size).reshape(size, *shape):
        chosen = ops.reduce_sum(ops.mul(slope, unit))
        (row,) = gradient(chosen, [value], erase={"theta"})
        block = (
            ops.mul(row, unit) if rank == 0 else ops.mul(ops.reshape(row, (*shape[:-1], 1, shape[-1])), unit[..., None])
        )
        total = ops.add(total, block)
    return total
