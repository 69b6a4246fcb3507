"""Polynomial degrees: how every value downstream of a random node depends on it, everything else held fixed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property

from ppl.ir.node import Node
from ppl.ir.polynomial import degree_of
from ppl.ir.traversal import Readers
from ppl.lang.trace import Cost


class PolynomialDegrees:
    """Degree of every node as a polynomial in `source`; nodes it does not reach are absent.

    Nothing ends a path: a value behind `ppl.stop_gradient` depends on the node as a value, but not for a gradient, so
    it is no polynomial here. `random` is the first random node reached.
    The walk goes no further than what is asked: a chain of random nodes asks each for the next only.
    """

    def __init__(self, source: Node, readers: Readers):
        self._of: dict[int, float] = {id(source): 1.0}
        self._walk = readers.after(source, self._of)
        self._blamed: dict[int, Node] = {}

    @cached_property
    def random(self) -> str | None:
        """The name of the first random node downstream; None where there is none."""
        for node in self._walk:
            self._find_degree(node)
            if node.op == "sample":
                return str(node.attrs["site"].name)
        return None

    @cached_property
    def of(self) -> dict[int, float]:
        """Degrees by id."""
        if self.random is not None:
            for node in self._walk:
                self._find_degree(node)
        return self._of

    def _find_degree(self, node: Node) -> None:
        degrees = [self._of.get(id(a), 0.0) for a in node.args]
        degree = degree_of(node, degrees)
        if degree == 0:
            return
        self._of[id(node)] = degree
        worst = node.args[degrees.index(max(degrees))]
        self._blamed[id(node)] = node if degree > max(degrees) else self._blamed.get(id(worst), node)

    def __contains__(self, node: Node) -> bool:
        return id(node) in self.of

    def __getitem__(self, node: Node) -> float:
        return self.of[id(node)]

    def of_cost(self, cost: Cost) -> float:
        """Degree of a cost, 0 where it is not reached; one that sums latents out is the logarithm of a sum."""
        if cost.node not in self:
            return 0.0
        return math.inf if cost.marginalize else self[cost.node]

    def why_not_quadratic(self, costs: Iterable[Cost]) -> str | None:
        """Why one of `costs` is no polynomial of degree at most 2, or None."""
        for cost in costs:
            degree = self.of_cost(cost)
            if degree <= 2:
                continue
            if cost.marginalize:
                return f"cost '{cost.name}' sums out {', '.join(cost.marginalize)} inside a logarithm: no polynomial"
            node = self._blamed[id(cost.node)]
            what = f"degree {degree:g}" if degree < math.inf else "no polynomial"
            named = "ppl.stop_gradient" if node.op == "stop" else f"op {node.op}"
            named += " on whole numbers: multiply by 1.0 first" if node.type.dtype == "int" else ""
            return f"cost '{cost.name}' is {what} in it ({named}): only up to degree 2"
        return None
