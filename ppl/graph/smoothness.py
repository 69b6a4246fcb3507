"""Smoothness of an expression in one of its ancestors, read off the ops along every path.

Orders: -1 discontinuous (a pathwise gradient would be silently 0), 0 kinked, 1 once differentiable, inf smooth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ppl.graph.seams import closes
from ppl.ir.node import Node

JUMP, KINK, SMOOTH = -1.0, 0.0, math.inf

ENDS = ("user", "shift", "formula")
"""Tags of stops that end every path: the user's, values that cancel, and values that only choose between formulas."""

ORDER_OF_OP: dict[str, float] = {
    **dict.fromkeys(("lt", "le", "eq", "and", "or", "not", "sign", "floor", "argmax"), JUMP),
    **dict.fromkeys(("poisson_draw", "binomial_draw", "poisson_icdf", "negative_binomial_icdf"), JUMP),
    **dict.fromkeys(("abs", "max", "min", "amax"), KINK),
}


def order_of_edge(node: Node, position: int) -> float:
    """Smoothness of `node` in its argument number `position`."""
    if node.op == "where":
        return SMOOTH if position else KINK if closes(node) else JUMP
    if node.op in ("take", "put"):
        return JUMP if position == 1 else SMOOTH
    if node.op == "cast":
        return SMOOTH if node.type.dtype == "float" and node.args[0].type.dtype == "float" else JUMP
    if node.op == "external":
        return JUMP if node.attrs["fn"].gradient is None else SMOOTH
    return ORDER_OF_OP.get(node.op, SMOOTH)


PERIODIC = ("sin", "cos", "tan")
KEEPS_ANGLE = {"expand", "reshape", "transpose", "slice", "collect", "distribute", "concat", "take", "where"}
KEEPS_ANGLE |= {"neg", "add", "sub", "sum"}


def is_whole(node: Node) -> bool:
    """Whether `node` is a constant of whole numbers."""
    while node.op in ("expand", "cast"):
        node = node.args[0]
    return node.op == "const" and bool(np.all(np.mod(node.attrs["value"].value, 1) == 0))


def describe(order: float) -> str:
    """An order in words."""
    return {JUMP: "a jump", KINK: "a kink", SMOOTH: "smooth"}.get(order, f"differentiable {order:g} times")


class Orders:
    """Worst smoothness, over all paths, of every node as a function of `source`; nodes it does not reach are absent.

    `through` decides what a `sample` node passes on: None (paths end there) or an order.
    `blame` remembers, for every node reached with a jump, the op that jumps. `angles` holds the nodes that are whole
    multiples of angles wrapped into (-pi, pi], plus anything: they jump, unless what is made of them has period 2 pi.
    """

    def __init__(self, source: Node, order: Sequence[Node], through: Callable[[Node], float | None]):
        self.of: dict[int, float] = {id(source): SMOOTH}
        self.blame: dict[int, Node] = {}
        self.angles: set[int] = set()
        self._wrapped(source)
        for node in order:
            if node is source:
                continue
            edges = [(self._at(node, i), i, a) for i, a in enumerate(node.args) if id(a) in self.of]
            if not edges or (node.op == "stop" and node.attrs["tag"] in ENDS):
                continue
            if node.op == "sample":
                passed = through(node)
                if passed is None:
                    continue
                self.of[id(node)] = min([passed, *(self.at_end(a, self.takes_angle(node, i)) for _, i, a in edges)])
                self._wrapped(node)
                continue
            self._combine(node, edges)

    def _at(self, node: Node, position: int) -> float:
        """Order of an argument; of a condition whose switch leaves no gap, that of what it compares."""
        arg = node.args[position]
        if position == 0 and closes(node):
            return min(self.at_end(a) for a in arg.args if id(a) in self.of)
        return self.of[id(arg)]

    def _wrapped(self, node: Node) -> None:
        if node.op == "sample" and node.attrs["site"].dist.angular:
            self.angles.add(id(node))

    @staticmethod
    def takes_angle(sample: Node, position: int) -> bool:
        """Whether an argument of a `sample` node is a parameter of which only the angle matters."""
        dist = sample.attrs["site"].dist
        return dist.param_names[position] in dist.angular

    def at_end(self, node: Node, periodic: bool = False) -> float:
        """The order of a node where a path ends: an angle jumps, unless what it enters is `periodic`."""
        return JUMP if id(node) in self.angles and not periodic else self.of[id(node)]

    def _keeps_angle(self, node: Node) -> bool:
        """Whether `node`, an op on angles, is an angle again."""
        if node.op == "mul":
            return any(is_whole(a) for a in node.args)
        return node.op in KEEPS_ANGLE

    def _combine(self, node: Node, edges: list[tuple[float, int, Node]]) -> None:
        if node.op not in PERIODIC and any(id(a) in self.angles for _, _, a in edges):
            if not self._keeps_angle(node):
                self.of[id(node)], self.blame[id(node)] = JUMP, node
                return
            self.angles.add(id(node))
        worst, position, arg = min(edges, key=lambda e: min(e[0], order_of_edge(node, e[1])))
        own = order_of_edge(node, position)
        self.of[id(node)] = min(worst, own)
        if self.of[id(node)] == JUMP:
            self.blame[id(node)] = self.blame.get(id(arg), node) if worst == JUMP else node

    def __contains__(self, node: Node) -> bool:
        return id(node) in self.of

    def __getitem__(self, node: Node) -> float:
        return self.of[id(node)]
