"""Sums over the states of several nodes, one node after the other, in logarithms.

A *factor* is a log-density and, where states may be impossible, a weight that it is multiplied by: probabilities stay
what they are, so that a state of weight 0 keeps its derivative. What a node is summed out of is the product of all
factors that vary with it; what is left is a factor of their other nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ppl.compiler.surrogate.enumeration import States
from ppl.compiler.surrogate.reductions import Reducer
from ppl.compiler.surrogate.summed.factors import Factor, logarithm, multiplied, scaled, whole_log
from ppl.distributions.parts.formulas import frozen
from ppl.distributions.parts.probabilities import STEEPEST
from ppl.graph.summed.order import elimination
from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.ir.types import Axis, Kind
from ppl.records import dataclass


@dataclass(frozen=True, eq=False)
class Variable:
    """States that are summed over, in every row of `plates`."""

    states: States
    plates: tuple[Axis, ...]

    @property
    def axis(self) -> Axis:
        """Its axis."""
        return self.states.axis

    @property
    def factor(self) -> Factor:
        """Its law."""
        states = self.states
        if states.log_prob is not None:
            return Factor(states.log_prob)
        known = ops.less(ops.absolute(states.weight), np.inf)
        return Factor(ops.const(0.0), ops.where(known, states.weight, 0.0))


class Summed(NamedTuple):
    """A variable and the product of all factors that varied with it when it was summed out."""

    variable: Variable
    table: Factor


def log_total(factors: Sequence[Factor], variables: Sequence[Variable], reducer: Reducer) -> Node:
    """The logarithm of the sum of the product of `factors` and the laws of `variables` over these."""
    total, _ = Elimination([*factors], variables, reducer).run()
    return whole_log(total)


@dataclass
class Elimination:
    """The sum of a product of factors over variables; `steps` are the tables in the order of elimination."""

    factors: list[Factor]
    variables: Sequence[Variable]
    reducer: Reducer

    def run(self) -> tuple[Factor, list[Summed]]:
        """What is left without the variables, and the tables."""
        self.factors += [v.factor for v in self.variables]
        known = {v.axis: v for v in self.variables}
        sizes = {a: float(a.size or 1) for f in self.factors for a in f.states}
        depths = {v.axis: len(v.plates) for v in self.variables}
        steps = []
        for table in elimination([f.states for f in self.factors], sizes, depths):
            variable = known[table.variable]  # type: ignore[index]
            steps.append(self._sum_out(variable))
        return self.joined(self.factors), steps

    def _sum_out(self, variable: Variable) -> Summed:
        mine = [f for f in self.factors if variable.axis in f.axes]
        self.factors = [f for f in self.factors if variable.axis not in f.axes]
        table = self.joined([self._within(f, variable.plates) for f in mine])
        self.factors.append(self._total(table, variable.axis))
        return Summed(variable, table)

    def _within(self, factor: Factor, plates: Iterable[Axis]) -> Factor:
        """A factor with its rows of further plates multiplied: given the variable they are independent."""
        further = [a for a in factor.axes if a.kind is Kind.PLATE and a not in plates]
        return multiplied(factor, sorted(further, key=lambda a: -a.depth))

    def joined(self, factors: Sequence[Factor]) -> Factor:
        """The product of factors."""
        log, weight = ops.const(0.0), None
        for factor in factors:
            log = ops.add(log, factor.log)
            if factor.weight is not None:
                weight = factor.weight if weight is None else ops.mul(*self.reducer.meet([weight, factor.weight]))
        if weight is None:
            return Factor(log)
        weight, log = self.reducer.meet([weight, log])
        return Factor(log, weight)

    def _total(self, table: Factor, axis: Axis) -> Factor:
        log, weight = table
        if weight is None:
            top = _finite_or_zero(_top(ops.expand(log, (axis,)), axis))
            return Factor(ops.add(logarithm(ops.sum_axes(ops.exp(ops.sub(log, top)), (axis,))), top))
        weight, log = ops.broadcast(ops.expand(weight, (axis,)), log)
        live = ops.less(0.0, frozen(weight))
        known = ops.where(ops.less(frozen(log), np.inf), frozen(log), -np.inf)
        top, any_ = _top(ops.where(live, frozen(log), -np.inf), axis), _top(known, axis)
        top = ops.where(ops.less(ops.absolute(top), np.inf), top, _finite_or_zero(any_))
        ratio = ops.where(
            live,
            ops.exp(ops.sub(ops.where(live, log, 0.0), top)),
            ops.exp(ops.minimum(ops.sub(known, top), STEEPEST)),
        )
        return scaled(top, ops.sum_axes(ops.mul(weight, ratio), (axis,)))


def _top(log: Node, axis: Axis) -> Node:
    return ops.stop(make("amax", log, axes=(axis,), dims=()), "shift")


def _finite_or_zero(x: Node) -> Node:
    return ops.where(ops.less(ops.absolute(x), np.inf), x, 0.0)
