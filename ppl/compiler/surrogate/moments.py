"""Nodes whose expectation is taken by their moments (`Analytic`): the mean as value, the rest as a term of costs."""

from __future__ import annotations

import numpy as np

from ppl.distributions.base import Distribution
from ppl.graph.stochastic import RandomNode
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.polynomial import second_derivative
from ppl.ir.types import Axis, Kind, union_axes
from ppl.lang.trace import Cost
from ppl.records import dataclass


@dataclass(frozen=True, eq=False)
class Averaged:
    """A random node in an expansion: its distribution there, and its mean as a node that stands for it alone."""

    rn: RandomNode
    dist: Distribution
    mean: Node

    @classmethod
    def make(cls, rn: RandomNode, dist: Distribution, axes: tuple[Axis, ...]) -> Averaged:
        """The mean over `axes` and all axes of the parameters, so that a cost never lacks an axis of the covariance."""
        everywhere = union_axes(axes, *(p.type.axes for p in dist.params.values()))
        return cls(rn, dist, ops.mark(ops.expand(dist.node_mean(), everywhere), rn.name))

    def expectation(self, cost: Cost, value: Node) -> Node:
        """E[value] over the node: sum_ij H_ij C_ij / 2 on top of the value at the mean, one direction an entry."""
        if self.rn.degrees.of_cost(cost) < 2:
            return value
        plates, dist = self.rn.coupled_plates, self.dist
        rows: tuple[Node, ...] = tuple(dist.params.values())
        for plate in reversed(plates):
            rows = tuple(ops.collect(p, plate) for p in rows)
        axis, u, v = _directions(dist.with_params(rows), self.rn)
        for plate in plates:
            u, v = ops.distribute(u, plate), ops.distribute(v, plate)
        second = second_derivative(value, self.mean, u, v)
        return value if second is None else ops.add(value, ops.mul(0.5, ops.sum_axes(second, (axis,))))


def _directions(dist: Distribution, rn: RandomNode) -> tuple[Axis, Node, Node]:
    """Every unit vector e of the event and C e, along a new axis: sum of e^T H C e over it is tr(H C)."""
    shape = dist.event_shape
    size = int(np.prod(shape))
    units = np.eye(size).reshape(size, *shape)
    covariance = dist.unit_covariance()
    if dist.unit_rank:
        images = ops.reduce_sum(ops.mul(units[..., None, :], covariance), -1)
    else:
        images = ops.mul(units, covariance)
    axis = Axis(f"directions:{rn.name}", Kind.ENUM, size, depth=rn.rank)
    return axis, ops.distribute(ops.const(units), axis), ops.distribute(images, axis)
