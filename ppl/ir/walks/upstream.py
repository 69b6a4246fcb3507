"""Which of some nodes lie upstream of others: asked again and again while a graph grows, and looked for once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ppl.ir.node import Node, topological


class Upstream:
    """Answers for the nodes `marked`; no path leads through a node that `ends` it.

    `bit` stands for each of the marked nodes in what `bits` returns.
    """

    def __init__(self, marked: Iterable[Node], ends: Callable[[Node], bool] = lambda node: False):
        self.bit = {node: 1 << i for i, node in enumerate(marked)}
        self._ends = ends
        self._found: dict[Node, int] = {}

    def bits(self, node: Node) -> int:
        """The marked nodes from which a path leads to `node`; from a node to itself one does."""
        if node not in self._found:
            for step in topological([node], self._found):
                bits = self.bit.get(step, 0)
                for arg in () if self._ends(step) else step.args:
                    bits |= self._found[arg]
                self._found[step] = bits
        return self._found[node]

    def leads(self, source: Node, target: Node) -> bool:
        """Whether a path leads from `source`, one of the marked nodes, to `target`."""
        return bool(self.bits(target) & self.bit[source])
