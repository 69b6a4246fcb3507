"""Exact enumeration over finite support, or over a part of it.

A part is the joint states of the units that are least certain (`UncertainUnits`), or the most probable categories
(`LikelyCategories`); the rest is drawn, and enters by the score function."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from ppl.arguments import integer
from ppl.distributions import Categorical, OneHotCategorical
from ppl.distributions.base import Distribution
from ppl.errors import EstimatorError
from ppl.estimators.base import Advantages, Branches, Hyper, NodeContext, Side, Support, zero_if_impossible
from ppl.estimators.baselines import Baseline, baseline_of_cost, check_baseline
from ppl.estimators.exact_sum import ExactSum
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
        return len(_unit_states(node.dist)) ** self.count - 1

    def expand(self, ctx: NodeContext) -> Branches:
        """The sample, and a hard branch for every other joint state of the chosen units."""
        dist, value = ctx.dist, ops.stop(ctx.draw())
        states = [ops.stop(_rotate_states(dist, value, shift)) for shift in range(len(_unit_states(dist)))]
        chances = [dist.unit_prob(state) for state in states]
        chosen = self._least_certain_units(chances)
        joint = list(product(range(len(states)), repeat=self.count))
        sides = [Side(_set_units(dist, value, chosen, [states[s] for s in shifts])) for shifts in joint[1:]]

        def score(advantages: Advantages) -> Node:
            of_unit = [[ops.reduce_sum(ops.where(mask, c, 0.0)) for c in chances] for mask in chosen]
            weights = [_multiply_all([of_unit[j][s] for j, s in enumerate(shifts)]) for shifts in joint]
            primal = advantages.costs[0]
            total = ops.const(0.0)
            for weight, cost in zip(weights[1:], advantages.costs[1:], strict=True):
                total = ops.add(total, ops.mul(weight, ops.stop(zero_if_impossible(weight, ops.sub(cost, primal)))))
            mean = ops.stop(ops.add(primal, total))
            advantage = ops.stop(ops.sub(mean, baseline_of_cost(ctx, self.baseline, mean)))
            drawn = ops.where(_union_of_masks(chosen), 0.0, dist.unit_log_prob(value))
            return ops.add(total, ops.mul(ops.reduce_sum(drawn), advantage))

        return Branches(value, sides, score)

    def _least_certain_units(self, chances: list[Node]) -> list[Node]:
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


def _unit_states(dist: Distribution) -> np.ndarray:
    """The states of one unit."""
    table = dist.unit_support()
    assert table is not None
    return table


def _rotate_states(dist: Distribution, value: Node, shift: int) -> Node:
    """`value` with every unit `shift` states further, round and round."""
    table = _unit_states(dist)
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


def _set_units(dist: Distribution, value: Node, chosen: list[Node], states: list[Node]) -> Node:
    """`value` with each chosen unit in its state."""
    for mask, state in zip(chosen, states, strict=True):
        shape = (*mask.type.shape, *(1,) * dist.unit_rank)
        value = ops.where(ops.reshape(mask, shape), state, value)
    return ops.stop(value)


def _multiply_all(values: list[Node]) -> Node:
    out = values[0]
    for value in values[1:]:
        out = ops.mul(out, value)
    return out


def _union_of_masks(masks: list[Node]) -> Node:
    out = masks[0]
    for mask in masks[1:]:
        out = ops.logical_or(out, mask)
    return out


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
        likely, rest = self._most_probable(ops.stop(probs))
        (u,) = ctx.fresh(((),))
        other = Categorical(probs=rest).draw(u)
        hits = [ops.equal(index, c) for c in likely]

        def side(c: Node, hit: Node) -> Node:
            at = ops.where(hit, other, c)
            return ops.stop(ops.reshape(ops.one_hot(at, dist.count) if indicators else at, dist.event_shape))

        def score(advantages: Advantages) -> Node:
            primal, *costs = advantages.costs
            chances = [ops.take(probs, c) for c in likely]
            summed = [
                zero_if_impossible(chance, ops.where(hit, primal, cost))
                for chance, hit, cost in zip(chances, hits, costs, strict=True)
            ]
            at_other, drawn = primal, index
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

    def _most_probable(self, probs: Node) -> tuple[list[Node], Node]:
        """The most probable categories, and the probabilities with theirs set to 0."""
        found, left = [], probs
        for _ in range(self.count):
            found.append(ops.argmax(left))  # of those that cannot happen, too, where fewer can
            left = ops.where(ops.less(0.5, ops.one_hot(found[-1], probs.type.shape[0])), -1.0, left)
        return found, ops.maximum(left, 0.0)


PARTIAL_BASELINES = (None, "moving_average", "leave_one_out")

PARTIAL_DECLARATIONS = {
    "enters": "drawn",
    "second": "score",
    "sampled": True,
    "drawn_only": True,
    "leaves_support": True,
}
"""What a sum over a part of the states declares otherwise: it draws the node."""


@dataclass(frozen=True)
class Enumerate(ExactSum):
    """Sum over every joint value of the node, weighted by its probability: no sampling, no variance from this node.

    The values run along an enumeration axis, so that everything downstream is one batch; nodes downstream keep their
    own estimators in every state. Cost: the joint support over all event entries and all rows that a downstream
    value couples, times that of other enumerated nodes with a common cost, at most `budget`.

    With `units` or `categories` only a part is summed, and the rest is drawn once; unbiased, with less variance than
    the score function under the same baseline. That needs rows that no cost couples; parameters of later nodes get
    their gradient from the drawn sample.

    Parameters
    ----------
    budget : the most joint values.
    units : of every row, sum over the joint values of the so many units whose outcome is least certain under the
        parameters (least Σ p²), and take the score function of the others at the cost's mean over those values. With S
        states a unit that is S**units evaluations. Units are numbers or one-hot vectors.
    categories : sum over the so many most probable categories of a node of one unit, and draw once among the others.
        They take one evaluation each, and one more for the others. The baseline of these is the mean cost of the
        summed ones.
    baseline : that of the other units: None, a number or `ppl.hyper(...)`, "moving_average", or "leave_one_out"
        (`particles` >= 2), as for `ScoreFunction`.

    Raises
    ------
    EstimatorError
        Both `units` and `categories` are given, or one is no positive number.

    References: Liu, Regier, Tripuraneni, Jordan & McAuliffe 2019 (categories).
    """

    units: int | None = None
    categories: int | None = None
    baseline: str | float | Hyper | None = "moving_average"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.units is not None and self.categories is not None:
            raise EstimatorError("Enumerate sums over a part of the units or of the categories, not of both")
        object.__setattr__(self, "baseline", check_baseline("Enumerate", self.baseline, PARTIAL_BASELINES))
        for name in ("units", "categories"):
            count = getattr(self, name)
            if count is not None:
                object.__setattr__(self, name, integer(f"Enumerate: {name}", count, low=1, error=EstimatorError))
                for attribute, value in PARTIAL_DECLARATIONS.items():
                    object.__setattr__(self, attribute, value)

    @property
    def _partial_sum(self) -> UncertainUnits | LikelyCategories | None:
        if self.units is not None:
            return UncertainUnits(self.units, self.baseline, self.budget)
        return None if self.categories is None else LikelyCategories(self.categories)

    def supports(self, node: RandomNode) -> Support:
        """Finite support within the budget; of a part, rows on their own."""
        if self._partial_sum is None:
            return super().supports(node)
        if node.coupled_plates:
            return Support(False, "a cost couples its rows, which would all change at once")
        return self._partial_sum.supports(node)

    def validate(self, particles: int) -> str | None:
        """A baseline from the other particles needs two."""
        if self.units is not None and self.baseline == "leave_one_out" and particles < 2:
            return "a leave-one-out baseline needs particles >= 2 (pass particles= to ppl.compile)"
        return None

    def states(self, node: RandomNode) -> float:
        """All joint values, or 1 where the node is drawn."""
        return super().states(node) if self._partial_sum is None else 1.0

    def side_count(self, node: RandomNode) -> int:
        """The values of the part that is summed, but for one: that is the sample."""
        return 0 if self._partial_sum is None else self._partial_sum.side_count(node)

    def expand(self, ctx: NodeContext) -> Branches:
        """The primal is the sample; the other values of the part are hard branches."""
        assert self._partial_sum is not None
        return self._partial_sum.expand(ctx)
