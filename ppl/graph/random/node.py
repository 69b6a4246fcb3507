"""Random nodes as estimators see them: what is downstream, how smooth the way there is, what moves their supports."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

from ppl.distributions.base import Distribution
from ppl.graph.degree import Degrees
from ppl.graph.ends import End, cost_end, unsettled, worst_of
from ppl.graph.moved import moved_by
from ppl.graph.smoothness import Orders
from ppl.ir.node import Node, topological
from ppl.ir.op_facts import JUMP, SMOOTH
from ppl.ir.types import Axis
from ppl.lang.trace import Cost, Site
from ppl.records import dataclass

if TYPE_CHECKING:
    from ppl.graph.stochastic import StochasticGraph

MIXES = ("collect", "sum", "amax")
"""Ops of a traced graph whose result depends on several rows of a plate."""


@dataclass(frozen=True, eq=False)
class RandomNode:
    """One random node, as an estimator sees it. `rank` is its place in the order of computation."""

    graph: StochasticGraph
    node: Node
    rank: int

    @property
    def copies(self) -> tuple[RandomNode, ...]:
        """What stands for the node in a sketch of its loops; nothing where there is no sketch."""
        return ()

    @property
    def alone(self) -> RandomNode:
        """The node in one step."""
        return self.copies[0] if self.copies else self

    @property
    def steps(self) -> int:
        """How often it is drawn in the loops over time that it stands in."""
        return 1 if self.site.scan is None else math.prod(s.length for s in self.site.scan.chain)

    @property
    def enters_loops(self) -> bool:
        """Whether a loop over time reads what it is computed to."""
        return False

    @property
    def site(self) -> Site:
        """The site that declared it."""
        return self.node.attrs["site"]

    @property
    def name(self) -> str:
        """Its name."""
        return self.site.name

    @property
    def dist(self) -> Distribution:
        """Its distribution, with the traced parameters."""
        assert self.site.dist is not None
        return self.site.dist

    @cached_property
    def direct(self) -> Orders:
        """Smoothness of everything computed from it before the next random node."""
        ranges = self.graph.ranges_with([self.node]) if self.dist.discrete else self.graph.ranges
        return Orders(self.node, self.graph.readers, lambda sample: None, ranges)

    @cached_property
    def degrees(self) -> Degrees:
        """Polynomial degrees of everything computed from it, random nodes included."""
        return Degrees(self.node, self.graph.readers)

    @cached_property
    def costs(self) -> list[Cost]:
        """Downstream costs."""
        return self.graph.downstream_costs(self.node)

    @cached_property
    def tangled(self) -> str | None:
        """Why no estimator that weighs a whole cost is right: one depends on it directly and stopped in one term."""
        terms = self.graph.terms
        for name, found in terms.of.items() if terms.tangled & terms.bit[self.name] else ():
            if any(term.reach.tangled & terms.bit[self.name] for term in found):
                return (
                    f"cost '{name}' depends on '{self.name}' both directly and through ppl.stop_gradient, and is no "
                    "sum of terms that do one or the other: only a path (Pathwise, Implicit) leaves the stopped value "
                    "as it is"
                )
        return None

    @cached_property
    def children(self) -> list[RandomNode]:
        """Random nodes downstream."""
        return [n for n in self.graph.downstream_nodes(self.node) if n is not self]

    @cached_property
    def plate_inputs(self) -> tuple[Node, ...]:
        """Float data arguments that its plates open: one row of each belongs to a row of the node."""
        plates = set(self.node.type.axes)
        leaves = [n for n in self.graph.order if n.op == "input" and n.type.dtype == "float"]
        return tuple(n for n in leaves if n.type.axes and plates.issuperset(n.type.axes))

    @cached_property
    def needs_gradient(self) -> bool:
        """Whether a learnable parameter lies upstream of its own parameters and a cost downstream."""
        return bool(self.costs) and any(id(a) in self.graph.depends_on_param for a in self.node.args)

    @cached_property
    def coupled_plates(self) -> tuple[Axis, ...]:
        """Plates of the node whose rows one later value mixes (through `collect`, or a sum in an objective).

        Values behind `ppl.stop_gradient` count: they pass no gradient, but vary with all the rows.
        """
        return self.mixed(self.graph.mixing, self.graph.terms.bit[self.name])

    def coupled_for(self, cost: Cost) -> tuple[Axis, ...]:
        """Plates of the node such that every row of `cost` depends on several of their rows."""
        bit = self.graph.terms.bit[self.name]
        return self.mixed(topological([cost.node]), bit) if self.coupled_plates else ()

    def mixed(self, nodes: Iterable[Node], bits: int) -> tuple[Axis, ...]:
        """Its plates whose rows one of `nodes` mixes that depends on what `bits` stand for."""
        mixed: set[Axis] = set()
        reach = self.graph.terms.reach
        for n in nodes:
            if n.op in MIXES and (reach(n).direct | reach(n).stopped) & bits:
                mixed.update(n.attrs["axes"] if n.op in ("sum", "amax") else (n.attrs["axis"],))
        return tuple(a for a in self.node.type.axes if a in mixed)

    def path_order(self) -> tuple[float, str]:
        """Worst smoothness on the way to a cost or to the parameters of the next random node, and where it lies."""
        return self.graph.once(("path", self.name), self._path_order)

    def _path_order(self) -> tuple[float, str]:
        order, where = worst_of(self.direct, self.graph.ends_among(self.direct.of))
        return (order, where) if order <= JUMP else unsettled(self.direct, self._ends, self.graph) or (order, where)

    def _ends(self) -> list[End]:
        """Where paths from it end."""
        ends = [cost_end(c) for c in self.costs]
        for child in self.children:
            ends += child.parameter_ends()
        return ends

    def parameter_ends(self) -> list[End]:
        """Its arguments, as ends of paths from other nodes."""
        label = f"the parameters of '{self.name}'"
        return [End(a, label, Orders.takes_angle(self.node, i), self.node, i) for i, a in enumerate(self.node.args)]

    def soft_order(self) -> tuple[float, str]:
        """Worst smoothness on the way to a cost when it and every discrete node after it are relaxed.

        A downstream node that can neither be relaxed nor reparameterized counts as a jump, unless the plan sums over
        it: then only its probabilities vary.
        """
        return self.graph.once(("soft", self.name), self._soft_order)

    def _soft_order(self) -> tuple[float, str]:
        summed = self.graph.enumerated
        ends = [cost_end(c) for c in self.costs]
        for child in self.children:
            dist = child.dist
            if child.name in summed:
                ends += child.parameter_ends()
            elif not (dist.relaxable if dist.discrete else dist.reparameterized):
                kind = type(dist).__name__
                return JUMP, f"'{child.name}' downstream, a {kind} that can be neither relaxed nor reparameterized"
        relaxed = [n.node for n in (self, *self.children) if n.name not in summed]
        ranges = self.graph.ranges_with(relaxed)
        soft = Orders(
            self.node, self.graph.readers, lambda n: None if n.attrs["site"].name in summed else SMOOTH, ranges
        )
        order, where = worst_of(soft, ends)
        return (order, where) if order <= JUMP else unsettled(soft, lambda: ends, self.graph) or (order, where)

    @cached_property
    def learnable(self) -> tuple[str, ...]:
        """Names of its parameters that have a learnable parameter upstream."""
        named = zip(self.dist.params, self.node.args, strict=True)
        return tuple(k for k, n in named if id(n) in self.graph.depends_on_param)

    def moving_support(self) -> list[str]:
        """Parameters that move the support and have a learnable parameter upstream."""
        return [k for k in self.learnable if k in self.dist.moving]

    def lost_support(self) -> str | None:
        """Why a score misses what moves the support, or None: a derivative may pass to a parameter that does.

        None passes through a discrete node that nothing relaxes: given its value, the support stays.
        """
        named = dict(zip(self.dist.params, self.node.args, strict=True))
        for parameter in self.moving_support():
            mover = moved_by(named[parameter], self.dist, self.graph.depends_on_param)
            if mover == "":
                return f"the support moves with the learnable {parameter}, which the score misses"
            if mover is not None:
                return (
                    f"the support moves with {parameter}, which follows the random node '{mover}', and where "
                    "a derivative passes along that node the score misses it"
                )
        return None

    def joint_support(self, law: Distribution | None = None) -> float:
        """Number of joint values (of `law`) over all event entries and rows that a downstream cost couples."""
        rows = 1.0
        for axis in self.coupled_plates:
            rows *= axis.size if axis.size is not None else float("inf")
        try:
            return (self.dist if law is None else law).support_size() ** rows
        except OverflowError:
            return float("inf")
