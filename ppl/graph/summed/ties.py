"""Undirected graphs of a few hundred nodes, as elimination and groups of costs need them: neighbours and components."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from itertools import combinations
from typing import Generic, TypeVar

V = TypeVar("V", bound=Hashable)


class Ties(Generic[V]):
    """An undirected graph. Nodes and neighbours keep the order in which they were added."""

    def __init__(self, nodes: Iterable[V] = ()):
        self._around: dict[V, dict[V, None]] = {node: {} for node in nodes}

    def __contains__(self, node: object) -> bool:
        return node in self._around

    def tie(self, a: V, b: V) -> None:
        """Add an edge between two nodes, and the nodes."""
        self._around.setdefault(a, {})[b] = None
        self._around.setdefault(b, {})[a] = None

    def tie_all(self, nodes: Iterable[V]) -> None:
        """Add nodes, and an edge between any two of them."""
        nodes = list(nodes)
        for node in nodes:
            self._around.setdefault(node, {})
        for a, b in combinations(nodes, 2):
            self.tie(a, b)

    def tied(self, a: V, b: V) -> bool:
        """Whether there is an edge between two nodes."""
        return b in self._around[a]

    def neighbours(self, node: V) -> list[V]:
        """The nodes with an edge to `node`."""
        return list(self._around[node])

    def remove(self, node: V) -> None:
        """Remove a node and its edges."""
        for other in self._around.pop(node):
            self._around[other].pop(node, None)

    def copy(self) -> Ties[V]:
        """The same graph."""
        out = Ties[V]()
        out._around = {node: dict(around) for node, around in self._around.items()}
        return out

    def groups(self) -> Iterator[set[V]]:
        """The nodes of each connected component, by their first nodes."""
        seen: set[V] = set()
        for node in self._around:
            if node in seen:
                continue
            group, waiting = {node}, [node]
            while waiting:
                new = self._around[waiting.pop()].keys() - group
                group |= new
                waiting += new
            seen |= group
            yield group
