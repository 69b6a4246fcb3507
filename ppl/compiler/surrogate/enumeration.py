"""Summing a node out: its states along an axis of their own, their probabilities, and the log-sum-exp over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppl.compiler.surrogate.reductions import Reducer
from ppl.distributions.base import Distribution
from ppl.distributions.parts.probabilities import always_positive, log_total, product
from ppl.graph.stochastic import RandomNode
from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.ir.types import Axis, Kind, sort_axes
from ppl.records import dataclass

BEFORE = 2**20
"""By how much the depth of an axis of the step before is less: more than there are nodes."""
INFINITE = ("logits", "low", "high")
"""Ends of names of parameters that may be infinite."""


@dataclass(frozen=True, eq=False)
class States:
    """All joint values of a law along `axis`: the values, their probabilities, and those in logarithms.

    `log_prob` is None where a probability may be 0. The values then vary over all rows of the probabilities.
    """

    axis: Axis
    value: Node
    weight: Node
    log_prob: Node | None


def states_of(law: Distribution, rn: RandomNode) -> States:
    """The joint values of `law`, that of node `rn` or of its choice, in all rows that a downstream value mixes."""
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
        weight = product(ops.collect(weight, plate))
    if not always_positive(weight):
        plates = [a for a in weight.type.axes if a.kind is not Kind.ENUM]
        return States(axis, ops.expand(value, plates), weight, None)
    log_prob = ops.sum_axes(law.node_log_prob(value), coupled)
    return States(axis, value, ops.exp(log_prob), log_prob)


def drawable(name: str, x: Node) -> Node:
    """Whether parameter `name` of a discrete law is a number in all entries; log-odds and ends may be infinite."""
    size = ops.absolute(x)
    known = ops.less_equal(size, np.inf) if name.endswith(INFINITE) else ops.less(size, np.inf)
    return ops.less(ops.reduce("amax", ops.cast(ops.logical_not(known), "float")), 0.5) if x.type.shape else known


def before(axis: Axis) -> Axis:
    """The axis along which the states of the step before run, in a chain; it is reduced after all of this step's."""
    return Axis(f"{axis.name}:before", axis.kind, axis.size, axis.depth - BEFORE)


def marginal_cost(log_density: Node, summed: Sequence[States], reducer: Reducer) -> Node:
    """Minus the log of the sum of exp(log_density) over the states of `summed`, weighed by their probabilities."""
    weight, axes = ops.const(1.0), sort_axes(s.axis for s in summed)
    for states in summed:
        if states.log_prob is not None:
            log_density = ops.add(log_density, states.log_prob)
        else:
            known = ops.less(ops.absolute(states.weight), np.inf)
            weight = ops.mul(weight, ops.where(known, states.weight, 0.0))
    if weight.type.axes:
        weight, log_density = reducer.meet([weight, log_density])
        return ops.neg(log_total(weight, log_density, axes))
    top = ops.stop(make("amax", log_density, axes=axes, dims=()), "shift")
    top = ops.where(ops.less(ops.absolute(top), np.inf), top, 0.0)
    return ops.neg(ops.add(ops.log(ops.sum_axes(ops.exp(ops.sub(log_density, top)), axes)), top))
