"""Some units of a node summed exactly, the others by the score function."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from ppl.distributions import OneHotCategorical
from ppl.distributions.base import Distribution
from ppl.estimators.base import Advantages, Branches, NodeContext, Side, Support
from ppl.estimators.parts.baselines import Baseline, of_costs
from ppl.estimators.parts.chances import counted
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


@dataclass(frozen=True)
class UncertainUnits:
    """The sum over the joint states of the `count` units that are least certain, times the score of the others.

    The units are chosen in every row by the node's parameters, never by its sample. So the sum, given the units that
    are drawn, is the mean of the cost given these, and its product with their score is unbiased.
    """

    count: int
    baseline: Baseline
    budget: int

    def supports(self, node: RandomNode) -> Support:
        """More units than are summed, each with few states."""
        dist, name = node.dist, type(node.dist).__name__
        if dist.unit_support() is None or (dist.unit_rank and not isinstance(dist, OneHotCategorical)):
            return Support(False, f"{name} has no units with finitely many numbers or one-hot vectors")
        units = math.prod(dist.batch_of_units)
        if units <= self.count:
            number = f"{units} {'unit' if units == 1 else 'units'}"
            return Support(False, f"{number} in all, not more than units={self.count}: name Enumerate()")
        if self.side_count(node) >= self.budget:
            return Support(False, f"{self.side_count(node) + 1} joint values exceed the budget of {self.budget}")
        lost = node.lost_support()
        if lost is not None:
            return Support(False, lost)
        return Support(True, f"{self.count} of {units} units summed, in every row those that are least certain")

    def side_count(self, node: RandomNode) -> int:
        """All joint states of the chosen units but the one that is drawn."""
        return len(_table(node.dist)) ** self.count - 1

    def expand(self, ctx: NodeContext) -> Branches:
        """The sample, and a hard branch for every other joint state of the chosen units."""
        dist, value = ctx.dist, ops.stop(ctx.draw())
        states = [ops.stop(_shifted(dist, value, shift)) for shift in range(len(_table(dist)))]
        chances = [dist.unit_prob(state) for state in states]
        chosen = self._chosen(chances)
        joint = list(product(range(len(states)), repeat=self.count))
        sides = [Side(_at(dist, value, chosen, [states[s] for s in shifts])) for shifts in joint[1:]]

        def score(advantages: Advantages) -> Node:
            of_unit = [[ops.reduce_sum(ops.where(mask, c, 0.0)) for c in chances] for mask in chosen]
            weights = [_product([of_unit[j][s] for j, s in enumerate(shifts)]) for shifts in joint]
            trunk = advantages.costs[0]
            total = ops.const(0.0)
            for weight, cost in zip(weights[1:], advantages.costs[1:], strict=True):
                total = ops.add(total, ops.mul(weight, ops.stop(counted(weight, ops.sub(cost, trunk)))))
            mean = ops.stop(ops.add(trunk, total))
            advantage = ops.stop(ops.sub(mean, of_costs(ctx, self.baseline, mean)))
            drawn = ops.where(_any(chosen), 0.0, dist.unit_log_prob(value))
            return ops.add(total, ops.mul(ops.reduce_sum(drawn), advantage))

        return Branches(value, sides, score)

    def _chosen(self, chances: list[Node]) -> list[Node]:
        """Masks over units, one for each that is summed; of equals the first."""
        shape, certain = chances[0].type.shape, ops.const(0.0)
        for chance in chances:
            certain = ops.add(certain, ops.mul(chance, chance))
        left = ops.stop(ops.neg(ops.reshape(certain, (math.prod(shape),))))
        found = []
        for _ in range(self.count):
            mask = ops.less(0.5, ops.one_hot(ops.argmax(left), math.prod(shape)))
            left = ops.where(mask, -math.inf, left)
            found.append(ops.reshape(mask, shape))
        return found


def _table(dist: Distribution) -> np.ndarray:
    """The states of one unit."""
    table = dist.unit_support()
    assert table is not None
    return table


def _shifted(dist: Distribution, value: Node, shift: int) -> Node:
    """`value` with every unit `shift` states further, round and round."""
    table = _table(dist)
    if not shift:
        return value
    if dist.unit_rank:
        whole = tuple((0, n, 1) for n in dist.batch_of_units)
        cut = len(table) - shift
        turned = (ops.window(value, (*whole, part)) for part in ((cut, shift, 1), (0, cut, 1)))
        return ops.concat(list(turned), -1)
    moved = np.roll(table, -shift)
    out = ops.const(moved[-1], value.type.dtype)
    for here, there in zip(table[:-1], moved[:-1], strict=True):
        out = ops.where(ops.equal(value, ops.const(here, value.type.dtype)), ops.const(there, value.type.dtype), out)
    return out


def _at(dist: Distribution, value: Node, chosen: list[Node], states: list[Node]) -> Node:
    """`value` with each chosen unit in its state."""
    for mask, state in zip(chosen, states, strict=True):
        shape = (*mask.type.shape, *(1,) * dist.unit_rank)
        value = ops.where(ops.reshape(mask, shape), state, value)
    return ops.stop(value)


def _product(values: list[Node]) -> Node:
    out = values[0]
    for value in values[1:]:
        out = ops.mul(out, value)
    return out


def _any(masks: list[Node]) -> Node:
    out = masks[0]
    for mask in masks[1:]:
        out = ops.logical_or(out, mask)
    return out
