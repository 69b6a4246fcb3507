"""Reductions of costs over named axes: enumeration weights, particle means, plate sums with scaling."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.ir.types import TRUNK, Axis, Kind


class Reducer:
    """Reduces values over enumerated supports, particles and plates.

    `weights[axis]` is the probability of each state of an enumerated node; it may depend on earlier enumerated nodes.
    """

    def __init__(self) -> None:
        self.weights: dict[Axis, Node] = {}

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
            x = ops.sum_axes(ops.mul(ops.stop(weight) if constant else weight, x), (axis,))

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
