"""Reduce costs to expectations: over enumerated states, particles and rows, and by moments of analytic nodes.

The expansion asks for these sums and means when it assembles losses, advantages and score terms."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from ppl.distributions.base import Distribution
from ppl.graph.stochastic import RandomNode
from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.ir.polynomial import IMPOSSIBLE, second_derivative
from ppl.ir.types import PRIMAL, Axis, Kind, union_axes
from ppl.lang.trace import Cost
from ppl.records import dataclass


class CostReducer:
    """Reduces values over enumerated supports, particles and plates.

    `weights[axis]` is the probability of each state of an enumerated node; it may depend on earlier enumerated nodes.
    `possible[axis]` says which states have a positive one, where a parameter or constant may be such that some do not.
    A state of weight 0 contributes what its weight moves, where the value is finite there; nothing that it computes
    has a derivative, and no parameter in it is out of range.
    """

    def __init__(self) -> None:
        self.weights: dict[Axis, Node] = {}
        self.possible: dict[Axis, Node] = {}
        self._known: dict[tuple[Axis, tuple[Axis, ...], bool], Node] = {}

    def align_states(self, values: Sequence[Node], primal: bool = False) -> list[Node]:
        """Expand `values` to common axes; along an enumerated axis that is new, impossible ones have no derivative."""
        axes = union_axes(*(x.type.axes for x in values))
        masks = {a: self._within(a, axes, primal) for a in axes if a in self.possible}
        axes = union_axes(axes, *(m.type.axes for m in masks.values()))
        met = []
        for x in values:
            new = [m for a, m in masks.items() if not {a, *m.type.axes}.issubset(x.type.axes)]
            x = ops.expand(x, axes)
            for mask in new if x.type.dtype == "float" else ():
                x = ops.where(mask, x, ops.stop(x, IMPOSSIBLE))
            met.append(x)
        return met

    def _within(self, axis: Axis, axes: Collection[Axis], primal: bool) -> Node:
        """Return which states are possible; of other nodes whose states `axes` has not, in some possible state."""
        possible = self._possible(axis, primal)
        others = tuple(a for a in possible.type.axes if a.kind is Kind.ENUM and a != axis and a not in axes)
        key = axis, others, primal
        if others and key not in self._known:
            for other in others:
                if other in self.possible:
                    possible = ops.logical_and(possible, self._within(other, (), primal))
            self._known[key] = ops.less(0.5, make("amax", ops.cast(possible, "float"), axes=others, dims=()))
        return self._known[key] if others else possible

    def may_be_impossible(self, x: Node) -> bool:
        """Return whether `x` has entries of states or branches that may be impossible."""
        return x.type.branch is not None or any(a in self.possible for a in x.type.axes)

    def mask_unreached(self, x: Node, idle: float | bool) -> Node:
        """Return `x` in the primal, but `idle` in states that nothing reaches."""
        x = ops.pick_branch(x, PRIMAL)
        for axis in [a for a in x.type.axes if a in self.possible]:
            x = ops.where(self._within(axis, x.type.axes, True), x, idle)
        return x

    def _possible(self, axis: Axis, primal: bool) -> Node:
        return ops.pick_branch(self.possible[axis], PRIMAL) if primal else self.possible[axis]

    def expect_over_states(
        self, x: Node, keep: Collection[Axis] = (), stopped: bool | Collection[Axis] = False, primal: bool = False
    ) -> Node:
        """Take the expectation over enumerated axes not in `keep`, latest node first (weights may depend on earlier
        ones).

        Weights pass no gradient where `stopped` is True or holds their axis.
        """
        x = ops.pick_branch(x, PRIMAL) if primal else x
        while True:
            axes = [a for a in x.type.axes if a in self.weights and a not in keep]
            if not axes:
                return x
            axis = max(axes, key=lambda a: a.depth)
            weight = ops.pick_branch(self.weights[axis], PRIMAL) if primal else self.weights[axis]
            constant = stopped if isinstance(stopped, bool) else axis in stopped
            weight, x = self.align_states([ops.stop(weight) if constant else weight, x], primal)
            if axis in self.possible:
                finite = ops.less(ops.absolute(ops.stop(x)), np.inf)
                x = ops.where(ops.logical_or(self._possible(axis, primal), finite), x, 0.0)
            x = ops.sum_axes(ops.mul(weight, x), (axis,))

    def plates(self, x: Node, keep: Collection[Axis] = ()) -> Node:
        """Sum over data plates not in `keep`; a run-time plate is scaled by total rows over rows given."""
        axes = [a for a in x.type.axes if a.kind is Kind.PLATE and a not in keep]
        x = ops.sum_axes(x, axes)
        for axis in axes:
            if axis.size is None:
                x = ops.mul(x, make("scale", axis=axis))
        return x

    def particles(self, x: Node) -> Node:
        """Take the mean over particles."""
        for axis in [a for a in x.type.axes if a.kind is Kind.PARTICLES]:
            x = ops.div(ops.sum_axes(x, (axis,)), ops.size(axis))
        return x

    def total(self, x: Node, stopped: bool | Collection[Axis] = False, primal: bool = False) -> Node:
        """Sum `x` to its share of the objective (repeats stay); branches are summed or the primal taken."""
        x = self.expect_over_states(x, stopped=stopped, primal=primal)
        branch = x.type.branch
        if branch is not None:
            entries = tuple((0, t) for t in range(len(branch.copies)))
            x = make("route", x, to=None, terms=(entries,), live=(True,))
        return self.plates(self.particles(x))

    def advantage(self, costs: Iterable[Node], keep: Collection[Axis], copy: object = PRIMAL) -> Node:
        """Return the primal downstream costs in one branch, reduced to the axes `keep`."""
        parts = [self.plates(ops.pick_branch(self.expect_over_states(c, keep), copy), keep) for c in costs]
        return ops.stop(functools.reduce(ops.add, parts))

    def mean_over_rows(self, x: Node) -> Node:
        """Average over everything but repeats, to a scalar."""
        x = self.particles(self.expect_over_states(x, stopped=True, primal=True))
        for axis in [a for a in x.type.axes if a.kind is Kind.PLATE]:
            x = ops.div(ops.sum_axes(x, (axis,)), ops.size(axis))
        return x


@dataclass(frozen=True, eq=False)
class MomentNode:
    """A random node in an expansion: its distribution there, and its mean as a node that stands for it alone."""

    rn: RandomNode
    dist: Distribution
    mean: Node

    @classmethod
    def make(cls, rn: RandomNode, dist: Distribution, axes: tuple[Axis, ...]) -> MomentNode:
        """Make the mean over `axes` and those of the parameters, so that a cost lacks no axis of the covariance."""
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
        axis, u, v = _covariance_directions(dist.with_params(rows), self.rn)
        for plate in plates:
            u, v = ops.distribute(u, plate), ops.distribute(v, plate)
        second = second_derivative(value, self.mean, u, v)
        return value if second is None else ops.add(value, ops.mul(0.5, ops.sum_axes(second, (axis,))))


def _covariance_directions(dist: Distribution, rn: RandomNode) -> tuple[Axis, Node, Node]:
    """Return every unit vector e of the event and C e, along a new axis: sum of e^T H C e over it is tr(H C)."""
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
