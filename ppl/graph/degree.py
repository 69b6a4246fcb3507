"""Polynomial degrees: how every value downstream of a random node depends on it, everything else held fixed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ppl.ir.node import Node
from ppl.ir.polynomial import degree_of
from ppl.lang.trace import Cost


class Degrees:
    """Degree of every node as a polynomial in `source`; nodes it does not reach are absent.

    Nothing ends a path: a value behind `ppl.stop_gradient` depends on the node as a value, but not for a gradient, so
    it is no polynomial here. `random` lists the random nodes reached, `blame` the op that raised a degree.
    """

    def __init__(self, source: Node, order: Sequence[Node]):
        self.of: dict[int, float] = {id(source): 1.0}
        self.blame: dict[int, Node] = {}
        self.random: list[str] = []
        for node in order:
            if node is source or not any(id(a) in self.of for a in node.args):
                continue
            if node.op == "sample":
                self.random.append(node.attrs["site"].name)
            degrees = [self.of.get(id(a), 0.0) for a in node.args]
            degree = degree_of(node, degrees)
            if degree == 0:
                continue
            self.of[id(node)] = degree
            worst = node.args[degrees.index(max(degrees))]
            self.blame[id(node)] = node if degree > max(degrees) else self.blame.get(id(worst), node)

    def __contains__(self, node: Node) -> bool:
        return id(node) in self.of

    def __getitem__(self, node: Node) -> float:
        return self.of[id(node)]

    def of_cost(self, cost: Cost) -> float:
        """Degree of a cost, 0 where it is not reached; one that sums latents out is the logarithm of a sum."""
        if cost.node not in self:
            return 0.0
        return math.inf if cost.marginalize else self[cost.node]

    def too_high(self, costs: Iterable[Cost]) -> str | None:
        """Why one of `costs` is no polynomial of degree at most 2, or None."""
        for cost in costs:
            degree = self.of_cost(cost)
            if degree <= 2:
                continue
            if cost.marginalize:
                return f"cost '{cost.name}' sums out {', '.join(cost.marginalize)} inside a logarithm: no polynomial"
            node = self.blame[id(cost.node)]
            what = f"degree {degree:g}" if degree < math.inf else "no polynomial"
            named = "ppl.stop_gradient" if node.op == "stop" else f"op {node.op}"
            named += " on whole numbers: multiply by 1.0 first" if node.type.dtype == "int" else ""
            return f"cost '{cost.name}' is {what} in it ({named}): only up to degree 2"
        return None
