"""Smoothness of an expression in one of its ancestors, read off the ops along every path.

Orders: -1 discontinuous (a pathwise gradient would be silently 0), 0 kinked, 1 once differentiable, inf smooth.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ppl.graph.edges import felt_faults
from ppl.graph.ranges import Ranges
from ppl.graph.seams import closes
from ppl.ir.node import Node
from ppl.ir.op_facts import FACTS, JUMP, KINK, POLE_AT_0, SMOOTH
from ppl.ir.walks.readers import Readers

ENDS = ("user", "shift", "formula")
"""Tags of stops that end every path: the user's, values that cancel, and values that only choose between formulas."""


def is_whole(node: Node) -> bool:
    """Whether `node` is a constant of whole numbers."""
    while node.op in ("expand", "cast"):
        node = node.args[0]
    return node.op == "const" and bool(np.all(np.mod(node.attrs["value"].value, 1) == 0))


def describe(order: float) -> str:
    """An order in words."""
    return {JUMP: "a jump", KINK: "a kink", SMOOTH: "smooth"}.get(order, f"differentiable {order:g} times")


def missed(order: float, where: str, by: str) -> str:
    """Why a path does not pass: what would be missed on the way, by which gradient, and what to write instead."""
    reason = f"{describe(order)} on the way to {where}: {by} would miss it"
    hint = "; where its argument x is always positive, write np.maximum(x, 1e-12)" if POLE_AT_0 in where else ""
    return reason + hint


class Orders:
    """Worst smoothness, over all paths, of every node as a function of `source`; nodes it does not reach are absent.

    `through` decides what a `sample` node passes on: None (paths end there) or an order.
    `ranges` gives intervals of values, by which a pole is reached or not. `blame` remembers, for every node reached
    with a jump, the op that jumps, and `words` what it has there. `angles` holds the nodes that are whole
    multiples of angles wrapped into (-pi, pi], plus anything: they jump, unless what is made of them has period 2 pi.
    """

    def __init__(self, source: Node, readers: Readers, through: Callable[[Node], float | None], ranges: Ranges):
        self.of: dict[int, float] = {id(source): SMOOTH}
        self.blame: dict[int, Node] = {}
        self.words: dict[int, str] = {}
        self.ranges = ranges
        self.angles: set[int] = set()
        self._wrapped(source)
        for node in readers.after(source, self.of):
            if node.op == "stop" and node.attrs["tag"] in ENDS:
                continue
            edges = [(self._at(node, i), i, a) for i, a in enumerate(node.args) if id(a) in self.of]
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
        kept = FACTS[node.op].angle
        return kept == "keeps" or (kept == "multiple" and any(is_whole(a) for a in node.args))

    def _combine(self, node: Node, edges: list[tuple[float, int, Node]]) -> None:
        if FACTS[node.op].angle != "periodic" and any(id(a) in self.angles for _, _, a in edges):
            if not self._keeps_angle(node):
                self.of[id(node)], self.blame[id(node)] = JUMP, node
                return
            self.angles.add(id(node))
        for order, position, arg in edges:
            self._lower(node, order, self.blame.get(id(arg)), self.words.get(id(arg), ""))
            for fault in felt_faults(node, position, self.ranges):
                self._lower(node, fault.order, node, fault.words)

    def _lower(self, node: Node, order: float, blamed: Node | None, words: str) -> None:
        """Take an order where it is worse than what is known, with the op to blame for a jump."""
        if order >= self.of.setdefault(id(node), SMOOTH):
            return
        self.of[id(node)] = order
        if order == JUMP and blamed is not None:
            self.blame[id(node)], self.words[id(node)] = blamed, words

    def __contains__(self, node: Node) -> bool:
        return id(node) in self.of

    def __getitem__(self, node: Node) -> float:
        return self.of[id(node)]
