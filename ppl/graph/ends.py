"""Where paths from a random node end, and the worst smoothness that they have there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ppl.graph.lost_means import crossed, met
from ppl.graph.ranges import Ranges
from ppl.graph.smoothness import Orders
from ppl.ir.node import Node
from ppl.ir.op_facts import JUMP, SMOOTH, Fault
from ppl.lang.trace import Cost

if TYPE_CHECKING:
    from ppl.graph.stochastic import StochasticGraph


class End(NamedTuple):
    """Where a path from a random node ends; `periodic` where of an angle nothing but the direction matters.

    `entered` is the `sample` node whose parameter number `position` it is, if it is one.
    """

    node: Node
    label: str
    periodic: bool = False
    entered: Node | None = None
    position: int = 0

    def steep(self, ranges: Ranges) -> Fault | None:
        """The jump that the probabilities of the node entered are in this parameter, as far as draws can tell."""
        return None if self.entered is None else ranges.slopes.steep_logits(self.entered, self.position)


def cost_end(cost: Cost) -> End:
    """A cost, as the end of paths."""
    return End(cost.node, f"cost '{cost.name}'")


def worst_of(orders: Orders, ends: list[End]) -> tuple[float, str]:
    """The worst order at the ends that are reached, and where it lies."""
    worst, where = SMOOTH, ""
    for end in ends:
        node, label, periodic = end[:3]
        if node not in orders:
            continue
        if orders.ranges.touches(node):
            return JUMP, f"{label}, one of which may touch an end that {label.rsplit(' ', 1)[-1]} excludes"
        steep = end.steep(orders.ranges)
        if steep is not None:
            return JUMP, f"{label} ({steep.words})"
        if orders.at_end(node, periodic) < worst:
            worst, where = orders.at_end(node, periodic), label
            blamed = orders.blame.get(id(node))
            if id(node) in orders.angles or (blamed is not None and any(id(a) in orders.angles for a in blamed.args)):
                where += ", which is not visibly periodic in an angle that wraps at pi,"
            if blamed is not None:
                words = orders.words.get(id(node), "")
                where += f" (op {blamed.op}{': ' + words if words else ''})"
    return worst, where


def unsettled(orders: Orders, ends: Callable[[], list[End]], graph: StochasticGraph) -> tuple[float, str] | None:
    """The jump that a product with a pole of other noise counts as: a slope that has no mean; None where none is."""
    noisy = graph.noisy
    if not graph.once("crossed", lambda: crossed(graph, noisy)):
        return None
    reached = dict.fromkeys(orders.of, "")
    for end in ends():
        for op, _, source in met(end.node, graph, reached, noisy):
            return JUMP, f"{end.label} (times a pole of '{source}', op {op})"
    return None
