"""Factors of a sum over states: a log-density, and a weight where states may be impossible."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ppl.distributions.parts.formulas import frozen
from ppl.distributions.parts.probabilities import product
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import Axis, Kind


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


def multiplied(factor: Factor, plates: Iterable[Axis]) -> Factor:
    """The product of a factor over all rows of `plates`, the innermost first."""
    for plate in plates:
        log, weight = factor
        log, weight = ops.expand(log, (plate,)), None if weight is None else ops.expand(weight, (plate,))
        if weight is not None and plate.size is None:
            log, weight = ops.add(log, logarithm(weight)), None
        weight = None if weight is None else product(ops.collect(weight, plate))
        factor = Factor(ops.sum_axes(log, (plate,)), weight)
    return factor


def scaled(log: Node, weight: Node) -> Factor:
    """weight * exp(log) with a weight of 0 or 1, so that products of many do not underflow."""
    scale = ops.where(ops.less(0.0, frozen(weight)), ops.stop(weight, "shift"), 1.0)
    return Factor(ops.add(log, ops.log(scale)), ops.div(weight, scale))


def logarithm(weight: Node) -> Node:
    """The logarithm of a weight; -inf without a derivative where it is 0."""
    none = ops.equal(frozen(weight), 0.0)
    return ops.where(none, -np.inf, ops.log(ops.where(none, 1.0, weight)))


def whole_log(factor: Factor) -> Node:
    """A factor in logarithms."""
    return factor.log if factor.weight is None else ops.add(factor.log, logarithm(factor.weight))
