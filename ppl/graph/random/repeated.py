"""Random nodes of a trace with loops over time: analyses read their copies in a sketch of the loops."""

from __future__ import annotations

from functools import cached_property

from ppl.graph.random.node import RandomNode
from ppl.ir.types import Axis
from ppl.lang.time.record import base_name
from ppl.lang.trace import Cost


class RepeatedNode(RandomNode):
    """A random node of a trace with loops over time: what holds for all its copies in the sketch holds for it."""

    @cached_property
    def copies(self) -> tuple[RandomNode, ...]:
        """Its copies in the sketch."""
        assert self.graph.sketch is not None
        return tuple(n for name, n in self.graph.sketch.nodes.items() if base_name(name) == self.name)

    @cached_property
    def enters_loops(self) -> bool:
        """Whether a loop over time reads what it is computed to."""
        reach, bit = self.graph.terms.reach, self.graph.terms.bit[self.name]
        scans = self.graph.trace.scans
        read = [n for scan in scans for n in (*scan.inits, *scan.slices.values(), *scan.outs)]
        steps = [c.step for c in self.graph.trace.costs.values() if c.scan is not None and c.step is not None]
        return any((reach(n).direct | reach(n).stopped) & bit for n in (*read, *steps))

    @cached_property
    def costs(self) -> list[Cost]:
        """Downstream costs."""
        names = {base_name(cost.name) for copy in self.copies for cost in copy.costs}
        return [cost for name, cost in self.graph.trace.costs.items() if name in names]

    @cached_property
    def children(self) -> list[RandomNode]:
        """Random nodes downstream; it is its own child where a later step depends on it."""
        names = {base_name(child.name) for copy in self.copies for child in copy.children}
        return [node for name, node in self.graph.nodes.items() if name in names]

    @cached_property
    def needs_gradient(self) -> bool:
        """Whether a learnable parameter lies upstream of its own parameters and a cost downstream."""
        return any(copy.needs_gradient for copy in self.copies)

    @cached_property
    def coupled_plates(self) -> tuple[Axis, ...]:
        """Plates of the node whose rows one later value mixes."""
        mixed = {axis for copy in self.copies for axis in copy.coupled_plates}
        return tuple(a for a in self.node.type.axes if a in mixed)

    def coupled_for(self, cost: Cost) -> tuple[Axis, ...]:
        """Plates of the node such that every row of `cost` depends on several of their rows."""
        return self.coupled_plates

    @cached_property
    def learnable(self) -> tuple[str, ...]:
        """Names of its parameters that have a learnable parameter upstream."""
        names = {name for copy in self.copies for name in copy.learnable}
        return tuple(name for name in self.dist.params if name in names)

    def path_order(self) -> tuple[float, str]:
        """Worst smoothness on the way to a cost or to the parameters of the next random node, and where it lies."""
        return min((copy.path_order() for copy in self.copies), key=lambda found: found[0])

    def soft_order(self) -> tuple[float, str]:
        """Worst smoothness on the way to a cost when it and every discrete node after it are relaxed."""
        return min((copy.soft_order() for copy in self.copies), key=lambda found: found[0])

    def moving_support(self) -> list[str]:
        """Parameters that move the support and have a learnable parameter upstream."""
        return list(dict.fromkeys(name for copy in self.copies for name in copy.moving_support()))

    def lost_support(self) -> str | None:
        """Why a score misses what moves the support, or None."""
        return next((why for copy in self.copies if (why := copy.lost_support()) is not None), None)
