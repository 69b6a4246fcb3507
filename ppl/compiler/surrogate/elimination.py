"""Sum finite nodes out: their states along axes of their own, and variable elimination over products of factors.

A *factor* is a log-density and, where states may be impossible, a weight that it is multiplied by: probabilities stay
what they are, so that a state of weight 0 keeps its derivative. A node is summed out of the product of all factors
that vary with it; a factor of their other nodes is left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ppl.compiler.surrogate.expectations import CostReducer
from ppl.distributions.base import Distribution
from ppl.distributions.formulas import (
    LARGEST_LOG_RATIO,
    frozen,
    is_always_positive,
    log_weighted_sum,
    product_along_last,
)
from ppl.graph.elimination import elimination_tables
from ppl.graph.stochastic import RandomNode
from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.ir.types import Axis, Kind, sort_axes
from ppl.records import dataclass

PREVIOUS_STEP_DEPTH = 2**20
"""By how much the depth of an axis of the step before is less: more than there are nodes."""

MAY_BE_INFINITE = ("logits", "low", "high")
"""Ends of names of parameters that may be infinite."""


@dataclass(frozen=True, eq=False)
class EnumeratedStates:
    """All joint values of a law along `axis`: the values, their probabilities, and those in logarithms.

    `log_prob` is None where a probability may be 0. The values then vary over all rows of the probabilities.
    """

    axis: Axis
    value: Node
    weight: Node
    log_prob: Node | None

    @property
    def finite_weight(self) -> Node:
        """The probabilities, but 0 where they are no numbers."""
        return ops.where(ops.less(ops.absolute(self.weight), np.inf), self.weight, 0.0)


def enumerate_states(law: Distribution, rn: RandomNode) -> EnumeratedStates:
    """List the joint values of `law`, that of node `rn` or of its choice, in all rows that a later value mixes."""
    coupled, table = rn.coupled_plates, law.support_table()
    for plate in reversed(coupled):
        states, rows = len(table), plate.size or 1
        index = np.indices((states,) * rows).reshape(rows, -1).T
        table = table[index]
    axis = Axis(f"enum:{rn.name}", Kind.ENUM, len(table), depth=rn.rank)
    value = ops.distribute(ops.const(table, law.dtype), axis)
    for plate in coupled:
        value = ops.distribute(value, plate)
    weight = law.node_prob(value)
    for plate in coupled:
        weight = product_along_last(ops.collect(weight, plate))
    if not is_always_positive(weight):
        plates = [a for a in weight.type.axes if a.kind is not Kind.ENUM]
        return EnumeratedStates(axis, ops.expand(value, plates), weight, None)
    log_prob = ops.sum_axes(law.node_log_prob(value), coupled)
    return EnumeratedStates(axis, value, ops.exp(log_prob), log_prob)


def parameter_is_number(name: str, x: Node) -> Node:
    """Return whether parameter `name` of a discrete law has numbers only; log-odds and ends may be infinite."""
    size = ops.absolute(x)
    known = ops.less_equal(size, np.inf) if name.endswith(MAY_BE_INFINITE) else ops.less(size, np.inf)
    return ops.less(ops.reduce("amax", ops.cast(ops.logical_not(known), "float")), 0.5) if x.type.shape else known


def previous_step_axis(axis: Axis) -> Axis:
    """Return the axis of the states of a chain's step before; it is reduced after all of this step's."""
    return Axis(f"{axis.name}:before", axis.kind, axis.size, axis.depth - PREVIOUS_STEP_DEPTH)


def negative_log_marginal(log_density: Node, summed: Sequence[EnumeratedStates], reducer: CostReducer) -> Node:
    """Return minus the log of the sum of exp(log_density) over states, weighed by their probabilities."""
    weight, axes = ops.const(1.0), sort_axes(s.axis for s in summed)
    for states in summed:
        if states.log_prob is not None:
            log_density = ops.add(log_density, states.log_prob)
        else:
            weight = ops.mul(weight, states.finite_weight)
    if weight.type.axes:
        weight, log_density = reducer.align_states([weight, log_density])
        return ops.neg(log_weighted_sum(weight, log_density, axes))
    top = finite_maximum(log_density, axes)
    return ops.neg(ops.add(ops.log(ops.sum_axes(ops.exp(ops.sub(log_density, top)), axes)), top))


StateQuery = tuple[str, ...]
"""Nodes whose joint probabilities are asked for."""


def state_tilt(query: StateQuery, axes: Iterable[Axis], shape: tuple[int, ...] = ()) -> Node:
    """Zeros over the states and rows of a query; in a loop a stack of all steps."""
    return ops.mark(ops.expand(ops.const(0.0), sort_axes(axes), shape), f"tilt of {', '.join(query)}")


class Factor(NamedTuple):
    """weight * exp(log); no weight is 1."""

    log: Node
    weight: Node | None = None

    @property
    def axes(self) -> set[Axis]:
        """What it varies over."""
        return {*self.log.type.axes, *(() if self.weight is None else self.weight.type.axes)}

    @property
    def states(self) -> frozenset[Axis]:
        """The states that it varies with."""
        return frozenset(a for a in self.axes if a.kind is Kind.ENUM)


def multiply_over_rows(factor: Factor, plates: Iterable[Axis]) -> Factor:
    """Return the product of a factor over all rows of `plates`, the innermost first."""
    for plate in plates:
        log, weight = factor
        log, weight = ops.expand(log, (plate,)), None if weight is None else ops.expand(weight, (plate,))
        if weight is not None and plate.size is None:
            log, weight = ops.add(log, log_of_weight(weight)), None
        weight = None if weight is None else product_along_last(ops.collect(weight, plate))
        factor = Factor(ops.sum_axes(log, (plate,)), weight)
    return factor


def rescale_weight(log: Node, weight: Node) -> Factor:
    """weight * exp(log) with a weight of 0 or 1, so that products of many do not underflow."""
    scale = ops.where(ops.less(0.0, frozen(weight)), ops.stop(weight, "shift"), 1.0)
    return Factor(ops.add(log, ops.log(scale)), ops.div(weight, scale))


def log_of_weight(weight: Node) -> Node:
    """Return the logarithm of a weight; -inf without a derivative where it is 0."""
    none = ops.equal(frozen(weight), 0.0)
    return ops.where(none, -np.inf, ops.log(ops.where(none, 1.0, weight)))


def log_factor(factor: Factor) -> Node:
    """Return a factor in logarithms."""
    return factor.log if factor.weight is None else ops.add(factor.log, log_of_weight(factor.weight))


@dataclass(frozen=True, eq=False)
class SummedVariable:
    """States that are summed over, in every row of `plates`."""

    states: EnumeratedStates
    plates: tuple[Axis, ...]

    @property
    def axis(self) -> Axis:
        """Its axis."""
        return self.states.axis

    @property
    def factor(self) -> Factor:
        """Its law."""
        states = self.states
        return Factor(ops.const(0.0), states.finite_weight) if states.log_prob is None else Factor(states.log_prob)


class EliminationStep(NamedTuple):
    """A variable and the product of all factors that varied with it when it was summed out."""

    variable: SummedVariable
    table: Factor


def log_sum_product(factors: Sequence[Factor], variables: Sequence[SummedVariable], reducer: CostReducer) -> Node:
    """Return the logarithm of the sum of the product of `factors` and the laws of `variables` over these."""
    total, _ = VariableElimination([*factors], variables, reducer).run()
    return log_factor(total)


@dataclass
class VariableElimination:
    """The sum of a product of factors over variables; `steps` are the tables in the order of elimination."""

    factors: list[Factor]
    variables: Sequence[SummedVariable]
    reducer: CostReducer

    def run(self) -> tuple[Factor, list[EliminationStep]]:
        """Return what is left without the variables, and the tables."""
        self.factors += [v.factor for v in self.variables]
        known = {v.axis: v for v in self.variables}
        sizes = {a: float(a.size or 1) for f in self.factors for a in f.states}
        depths = {v.axis: len(v.plates) for v in self.variables}
        steps = []
        for table in elimination_tables([f.states for f in self.factors], sizes, depths):
            variable = known[table.variable]  # type: ignore[index]
            steps.append(self._sum_out(variable))
        return self.joined(self.factors), steps

    def _sum_out(self, variable: SummedVariable) -> EliminationStep:
        mine = [f for f in self.factors if variable.axis in f.axes]
        self.factors = [f for f in self.factors if variable.axis not in f.axes]
        table = self.joined([self._within(f, variable.plates) for f in mine])
        self.factors.append(self._total(table, variable.axis))
        return EliminationStep(variable, table)

    def _within(self, factor: Factor, plates: Iterable[Axis]) -> Factor:
        """Return a factor with its rows of further plates multiplied: given the variable they are independent."""
        further = [a for a in factor.axes if a.kind is Kind.PLATE and a not in plates]
        return multiply_over_rows(factor, sorted(further, key=lambda a: -a.depth))

    def joined(self, factors: Sequence[Factor]) -> Factor:
        """Return the product of factors."""
        log, weight = ops.const(0.0), None
        for factor in factors:
            log = ops.add(log, factor.log)
            if factor.weight is not None:
                weight = (
                    factor.weight if weight is None else ops.mul(*self.reducer.align_states([weight, factor.weight]))
                )
        if weight is None:
            return Factor(log)
        weight, log = self.reducer.align_states([weight, log])
        return Factor(log, weight)

    def _total(self, table: Factor, axis: Axis) -> Factor:
        log, weight = table
        if weight is None:
            top = finite_maximum(ops.expand(log, (axis,)), (axis,))
            return Factor(ops.add(log_of_weight(ops.sum_axes(ops.exp(ops.sub(log, top)), (axis,))), top))
        weight, log = ops.broadcast(ops.expand(weight, (axis,)), log)
        live = ops.less(0.0, frozen(weight))
        known = ops.where(ops.less(frozen(log), np.inf), frozen(log), -np.inf)
        top = _stopped_maximum(ops.where(live, frozen(log), -np.inf), (axis,))
        top = ops.where(ops.less(ops.absolute(top), np.inf), top, finite_maximum(known, (axis,)))
        ratio = ops.where(
            live,
            ops.exp(ops.sub(ops.where(live, log, 0.0), top)),
            ops.exp(ops.minimum(ops.sub(known, top), LARGEST_LOG_RATIO)),
        )
        return rescale_weight(top, ops.sum_axes(ops.mul(weight, ratio), (axis,)))


def _stopped_maximum(log: Node, axes: tuple[Axis, ...]) -> Node:
    return ops.stop(make("amax", log, axes=axes, dims=()), "shift")


def finite_maximum(log: Node, axes: tuple[Axis, ...]) -> Node:
    """Return the maximum over `axes`, by which exponents are shifted: stopped, and 0 where it is not finite."""
    top = _stopped_maximum(log, axes)
    return ops.where(ops.less(ops.absolute(top), np.inf), top, 0.0)
