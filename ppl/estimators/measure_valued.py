"""Measure-valued (weak) derivatives: differences of the cost at pairs of samples, one pair a unit and parameter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from ppl.distributions import Bernoulli, Categorical, Exponential, Gamma, Normal, OneHotCategorical, Poisson
from ppl.distributions.base import Distribution
from ppl.estimators.base import Advantages, Branches, Estimator, NodeContext, Side, Support, zero_if_impossible
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import RandomNode


class MeasurePair(NamedTuple):
    """One term (f(plus) - f(minus)) * weight of the gradient in `parameter`, unit by unit.

    Values are drawn for all units at once; `minus` is the primal's sample where it is None. `chance` is the probability
    of `plus` where that can be 0.
    """

    parameter: Node
    weight: Node
    plus: Node
    minus: Node | None = None
    chance: Node | None = None

    @property
    def values(self) -> list[Node]:
        """The values that need side branches."""
        return [self.plus] if self.minus is None else [self.plus, self.minus]


class PairRule(NamedTuple):
    """Side branches a unit for each parameter that has pairs, and the pairs of (context, primal sample)."""

    sides: Callable[[Distribution], dict[str, int]]
    pairs: Callable[[NodeContext, Node], list[MeasurePair]]


def _normal_pairs(ctx: NodeContext, value: Node) -> list[MeasurePair]:
    """loc: [f(μ + σW) − f(μ − σW)] / (σ√2π), W Rayleigh. scale: [f(μ + σM) − f(x)] / σ, M double-sided Maxwell.

    M = sign(n) √(n² + 2E) for the primal's standard normal n and E ~ Exponential(1): given M, n is uniform between 0
    and M, which is the coupling of a Maxwell with a normal variable that shares its sign.
    """
    loc, scale = ctx.dist.params["loc"], ctx.dist.params["scale"]
    u, v = ctx.fresh((ctx.dist.event_shape,) * 2)
    pairs = []
    if "loc" in ctx.learnable:
        step = ops.mul(scale, ops.sqrt(_chi2_of_two(u)))
        weight = ops.div(1 / math.sqrt(2 * math.pi), scale)
        pairs.append(MeasurePair(loc, weight, ops.add(loc, step), ops.sub(loc, step)))
    if "scale" in ctx.learnable:
        n = ops.ndtri(ctx.uniforms[0])
        maxwell = ops.mul(ops.sign(n), ops.sqrt(ops.add(ops.mul(n, n), _chi2_of_two(v))))
        pairs.append(MeasurePair(scale, ops.div(1.0, scale), ops.add(loc, ops.mul(scale, maxwell))))
    return pairs


def _bernoulli_pairs(ctx: NodeContext, value: Node) -> list[MeasurePair]:
    """f(1) − f(0) in the probability: the other value of the primal's bit, with the sign that makes it so."""
    p, sign = ctx.dist.node_mean(), ops.sub(1.0, ops.mul(2.0, value))
    other = ops.where(ops.less(0.5, value), ops.sub(1.0, p), p)
    return [MeasurePair(p, sign, ops.sub(1.0, value), chance=other)]


def _exponential_pairs(ctx: NodeContext, value: Node) -> list[MeasurePair]:
    """[f(X) − f(X + X')] / λ, X' an independent copy."""
    (u,) = ctx.fresh((ctx.dist.event_shape,))
    rate = ctx.dist.params["rate"]
    return [MeasurePair(rate, ops.div(-1.0, rate), ops.add(value, ctx.dist.draw(u)))]


def _gamma_pairs(ctx: NodeContext, value: Node) -> list[MeasurePair]:
    """rate β, concentration α: (α / β) [f(X) − f(X + E)], E ~ Exponential(β): X + E has concentration α + 1."""
    (u,) = ctx.fresh((ctx.dist.event_shape,))
    concentration, rate = ctx.dist.params["concentration"], ctx.dist.params["rate"]
    longer = ops.add(value, ops.div(ops.neg(ops.log1p(ops.neg(u))), rate))
    return [MeasurePair(rate, ops.neg(ops.div(concentration, rate)), longer)]


def _poisson_pairs(ctx: NodeContext, value: Node) -> list[MeasurePair]:
    """f(X + 1) − f(X) in the rate."""
    return [MeasurePair(ctx.dist.params["rate"], ops.const(1.0), ops.add(value, 1))]


def _class_pairs(ctx: NodeContext, value: Node) -> list[MeasurePair]:
    """f(k) − f(x) in the probability of every other class k, x the primal's class as reference."""
    dist = ctx.dist
    assert isinstance(dist, (Categorical, OneHotCategorical))
    indicators = isinstance(dist, OneHotCategorical)
    index, pairs = ops.argmax(value) if indicators else value, []
    for shift in range(1, dist.count):
        moved = ops.add(index, shift)
        moved = ops.where(ops.less(moved, dist.count), moved, ops.sub(moved, dist.count))
        chosen = ops.one_hot(moved, dist.count)
        parameter = ops.reduce_sum(ops.mul(ops.stop(chosen), dist.class_probs()), -1)
        pairs.append(MeasurePair(parameter, ops.const(1.0), chosen if indicators else moved, chance=parameter))
    return pairs


def _chi2_of_two(u: Node) -> Node:
    """A chi-squared variable of two degrees of freedom, -2 log(1 - u)."""
    return ops.mul(-2.0, ops.log1p(ops.neg(u)))


def _class_sides(dist: Distribution) -> dict[str, int]:
    assert isinstance(dist, (Categorical, OneHotCategorical))
    return dict.fromkeys(("probs", "logits"), dist.count - 1)


PAIR_RULES: dict[type[Distribution], PairRule] = {
    Normal: PairRule(lambda dist: {"loc": 2, "scale": 1}, _normal_pairs),
    Bernoulli: PairRule(lambda dist: {"probs": 1, "logits": 1}, _bernoulli_pairs),
    Exponential: PairRule(lambda dist: {"rate": 1}, _exponential_pairs),
    Gamma: PairRule(lambda dist: {"rate": 1}, _gamma_pairs),
    Poisson: PairRule(lambda dist: {"rate": 1}, _poisson_pairs),
    Categorical: PairRule(_class_sides, _class_pairs),
    OneHotCategorical: PairRule(_class_sides, _class_pairs),
}


@dataclass(frozen=True)
class MeasureValued(Estimator):
    """Σ over units of c (f(x₊) − f(x₋)) per parameter, where ∂p/∂θ = c (p₊ − p₋) for densities p₊ and p₋.

    Only one unit at a time takes x₊ or x₋; the others keep the primal's sample. The two values share noise, and x₋ is
    the primal's sample if it has that law. Evaluations per unit: 2 for the location of a Normal; 1 for its scale, for
    Bernoulli, Exponential, Poisson and the rate of a Gamma; K − 1 for K categories.

    Requires parameters whose pair is known (none of them moves the support) and rows that no cost couples, and nothing
    else of the cost. Unbiased. The variance is low for costs that jump or oscillate, since nothing is multiplied by a
    score. The number of evaluations grows with the units, so more than `max_units` units are refused.
    Pflug 1996; Heidergott & Vázquez-Abad 2008; Mohamed, Rosca, Figurnov & Mnih 2020.

    Parameters
    ----------
    max_units : the most units that a node may have.
    """

    max_units: int = 16
    leaves_support: ClassVar[bool] = True

    def supports(self, node: RandomNode) -> Support:
        """A distribution with pairs, few units, rows on their own."""
        dist, name = node.dist, type(node.dist).__name__
        if type(dist) not in PAIR_RULES:
            known = ", ".join(t.__name__ for t in PAIR_RULES)
            return Support(False, f"no measure-valued pairs for {name}; there are: {known}")
        without = [p for p in node.learnable if p not in PAIR_RULES[type(dist)].sides(dist)]
        if without:
            return Support(False, f"no measure-valued pair for the {', '.join(without)} of {name}")
        if node.coupled_plates:
            return Support(False, "a cost couples its rows, which would all change at once")
        units = math.prod(dist.batch_of_units)
        if units > self.max_units:
            return Support(False, f"{units} units need a pair each; at most max_units={self.max_units}")
        return Support(True, f"{self.side_count(node)} evaluations beside the primal's")

    def side_count(self, node: RandomNode) -> int:
        """Sides a unit, summed over learnable parameters, times units."""
        sides = PAIR_RULES[type(node.dist)].sides(node.dist)
        return sum(sides[p] for p in node.learnable) * math.prod(node.dist.batch_of_units)

    def expand(self, ctx: NodeContext) -> Branches:
        """The primal, and one hard side branch for every value of every unit's pairs."""
        value = ops.stop(ctx.draw())
        pairs = PAIR_RULES[type(ctx.dist)].pairs(ctx, value) if ctx.learnable else []
        masks = list(_unit_masks(ctx.dist.batch_of_units))
        sides = [
            Side(ops.stop(self._replace_unit(ctx, mask, v, value))) for p in pairs for v in p.values for mask in masks
        ]

        def score(advantages: Advantages) -> Node:
            primal, *rest = advantages.costs
            costs, total = iter(rest), ops.const(0.0)
            for pair in pairs:
                plus = [next(costs) for _ in masks]
                minus = [primal if pair.minus is None else next(costs) for _ in masks]
                plus = plus if pair.chance is None else [zero_if_impossible(pair.chance, a) for a in plus]
                terms = (ops.where(m > 0, ops.sub(a, b), 0.0) for m, a, b in zip(masks, plus, minus, strict=True))
                difference = ops.const(0.0)
                for term in terms:
                    difference = ops.add(difference, term)
                weight = ops.stop(ops.mul(difference, pair.weight))
                total = ops.add(total, ops.reduce_sum(ops.mul(weight, pair.parameter)))
            return total

        return Branches(value, sides, score)

    @staticmethod
    def _replace_unit(ctx: NodeContext, mask: np.ndarray, replaced: Node, value: Node) -> Node:
        """`value` with the unit of `mask` replaced."""
        unit = (1,) * ctx.dist.unit_rank
        return ops.where(np.reshape(mask, (*np.shape(mask), *unit)) > 0, replaced, value)


def _unit_masks(shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Indicators of the single units of a batch of `shape`."""
    for index in np.ndindex(shape):
        mask = np.zeros(shape)
        mask[index] = 1.0
        yield mask
