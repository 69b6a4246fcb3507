"""Which nodes read which, so that what lies downstream of a node is walked without looking at anything else."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from functools import cached_property
from heapq import heappop, heappush

from ppl.ir.node import Node


class Readers:
    """The readers of every node of `order`, which has arguments before their readers."""

    def __init__(self, order: Sequence[Node]):
        self.order = order

    @cached_property
    def _places(self) -> dict[int, list[int]]:
        """By id of a node, the places of its readers in the order."""
        found: dict[int, list[int]] = {}
        for place, node in enumerate(self.order):
            for arg in dict.fromkeys(node.args):
                found.setdefault(id(arg), []).append(place)
        return found

    def after(self, source: Node, reached: Container[int]) -> Iterator[Node]:
        """The readers of `source`, in order, and those of every one of them whose id is in `reached` when asked again.

        So whoever walks decides where a path goes on. Takes time linear in what it yields, up to a logarithm.
        """
        waiting: list[int] = []
        seen: set[int] = set()
        self._push(source, waiting, seen)
        while waiting:
            node = self.order[heappop(waiting)]
            yield node
            if id(node) in reached:
                self._push(node, waiting, seen)

    def _push(self, node: Node, waiting: list[int], seen: set[int]) -> None:
        for place in self._places.get(id(node), ()):
            if place not in seen:
                seen.add(place)
                heappush(waiting, place)
