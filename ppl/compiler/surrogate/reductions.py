"""Reductions of costs over named axes: enumeration weights, particle means, plate sums with scaling."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.ir.polynomial import IMPOSSIBLE
from ppl.ir.types import TRUNK, Axis, Kind, union_axes


class Reducer:
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

    def meet(self, values: Sequence[Node], trunk: bool = False) -> list[Node]:
        """`values` over common axes; along an enumerated axis that is new, impossible states have no derivative."""
        axes = union_axes(*(x.type.axes for x in values))
        masks = {a: self._within(a, axes, trunk) for a in axes if a in self.possible}
        axes = union_axes(axes, *(m.type.axes for m in masks.values()))
        met = []
        for x in values:
            new = [m for a, m in masks.items() if not {a, *m.type.axes}.issubset(x.type.axes)]
            x = ops.expand(x, axes)
            for mask in new if x.type.dtype == "float" else ():
                x = ops.where(mask, x, ops.stop(x, IMPOSSIBLE))
            met.append(x)
        return met

    def _within(self, axis: Axis, axes: Collection[Axis], trunk: bool) -> Node:
        """Which states are possible; of other nodes whose states `axes` has not, in some possible state."""
        possible = self._possible(axis, trunk)
        others = tuple(a for a in possible.type.axes if a.kind is Kind.ENUM and a != axis and a not in axes)
        key = axis, others, trunk
        if others and key not in self._known:
            for other in others:
                if other in self.possible:
                    possible = ops.logical_and(possible, self._within(other, (), trunk))
            self._known[key] = ops.less(0.5, make("amax", ops.cast(possible, "float"), axes=others, dims=()))
        return self._known[key] if others else possible

    def doubtful(self, x: Node) -> bool:
        """Whether `x` has entries of states or branches that may be impossible."""
        return x.type.branch is not None or any(a in self.possible for a in x.type.axes)

    def reached(self, x: Node, idle: float | bool) -> Node:
        """`x` in the trunk, but `idle` in states that nothing reaches."""
        x = ops.pick(x, TRUNK)
        for axis in [a for a in x.type.axes if a in self.possible]:
            x = ops.where(self._within(axis, x.type.axes, True), x, idle)
        return x

    def _possible(self, axis: Axis, trunk: bool) -> Node:
        return ops.pick(self.possible[axis], TRUNK) if trunk else self.possible[axis]

    def fold(
        self, x: Node, keep: Collection[Axis] = (), stopped: bool | Collection[Axis] = False, trunk: bool = False
    ) -> Node:
        """Expectation over enumerated axes not in `keep`, latest node first (its weights may depend on earlier ones).

        Weights pass no gradient where `stopped` is True or holds their axis.
        """
        x = ops.pick(x, TRUNK) if trunk else x
        while True:
            axes = [a for a in x.type.axes if a in self.weights and a not in keep]
            if not axes:
                return x
            axis = max(axes, key=lambda a: a.depth)
            weight = ops.pick(self.weights[axis], TRUNK) if trunk else self.weights[axis]
            constant = stopped if isinstance(stopped, bool) else axis in stopped
            weight, x = self.meet([ops.stop(weight) if constant else weight, x], trunk)
            if axis in self.possible:
                finite = ops.less(ops.absolute(ops.stop(x)), np.inf)
                x = ops.where(ops.logical_or(self._possible(axis, trunk), finite), x, 0.0)
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
        """Mean over particles."""
        for axis in [a for a in x.type.axes if a.kind is Kind.PARTICLES]:
            x = ops.div(ops.sum_axes(x, (axis,)), ops.size(axis))
        return x

    def total(self, x: Node, stopped: bool | Collection[Axis] = False, trunk: bool = False) -> Node:
        """The contribution of `x` to the objective, unplated (repeats stay); branches are summed or the trunk taken."""
        x = self.fold(x, stopped=stopped, trunk=trunk)
        branch = x.type.branch
        if branch is not None:
            entries = tuple((0, t) for t in range(len(branch.copies)))
            x = make("route", x, to=None, terms=(entries,), live=(True,))
        return self.plates(self.particles(x))

    def advantage(self, costs: Iterable[Node], keep: Collection[Axis], copy: object = TRUNK) -> Node:
        """Rule 1: the primal downstream costs in one branch, reduced to the axes `keep`."""
        parts = [self.plates(ops.pick(self.fold(c, keep), copy), keep) for c in costs]
        total = parts[0]
        for part in parts[1:]:
            total = ops.add(total, part)
        return ops.stop(total)

    def mean_over_rows(self, x: Node) -> Node:
        """Average over everything but repeats, as a scalar."""
        x = self.particles(self.fold(x, stopped=True, trunk=True))
        for axis in [a for a in x.type.axes if a.kind is Kind.PLATE]:
            x = ops.div(ops.sum_axes(x, (axis,)), ops.size(axis))
        return x
