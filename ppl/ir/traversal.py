"""Walks over graphs of nodes: who reads a node, which nodes lie upstream of it, and which leaf stands behind views.

`Readers` walks downstream from a node, `Upstream` answers whether a path leads from one node to another, and
`view_of_leaf` says which entries of a data argument or a constant a node shows unchanged. The analyses of `ppl.graph`,
the objectives and the conditions of `ppl.compiler.surrogate` ask these questions of traces."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from functools import cached_property
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np

from ppl.ir.node import Node, topological
from ppl.ir.op_facts import VIEWS


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


TRANSPARENT = VIEWS - {"collect"} | {"cast", "mark"}


class LeafView(NamedTuple):
    """A leaf and the views through which a node shows it: (op, what it is given, event shape before it)."""

    leaf: Node
    views: tuple[tuple[str, Any, tuple[int, ...]], ...]

    @property
    def plain(self) -> bool:
        """Whether entries stand where they stand in the leaf."""
        return all(
            op == "reshape" and _without_unit_dims(given) == _without_unit_dims(before)
            for op, given, before in self.views
        )

    def of(self, array: np.ndarray) -> np.ndarray:
        """The entries that are seen, for an array of the leaf's shape."""
        if self.plain:
            return array
        for op, given, before in self.views:
            lead = array.shape[: array.ndim - len(before)]
            if op == "slice":
                cut = [slice(start, start + (n - 1) * step + 1, step) for start, n, step in given]
                array = array[(slice(None),) * len(lead) + tuple(cut)]
            elif op == "reshape":
                array = array.reshape((*lead, *given))
            else:
                array = array.transpose(*range(len(lead)), *(len(lead) + i for i in given))
        return array


def _without_unit_dims(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def view_of_leaf(node: Node, leaf: str = "input") -> LeafView | None:
    """The leaf of an op ("input", "const") whose entries `node` shows unchanged, if any."""
    views: list[tuple[str, Any, tuple[int, ...]]] = []
    while node.op in TRANSPARENT:
        before, shape = node.args[0].type, node.type.shape
        truncates = node.op == "cast" and (node.type.dtype, before.dtype) == ("int", "float")
        if truncates or (node.op == "expand" and views and before.shape != shape):
            return None
        if node.op in ("slice", "transpose", "reshape"):
            given = shape if node.op == "reshape" else node.attrs["window" if node.op == "slice" else "perm"]
            views.append((node.op, given, before.shape))
        node = node.args[0]
    return LeafView(node, tuple(reversed(views))) if node.op == leaf else None


def input_behind_views(node: Node) -> Node | None:
    """The input leaf that all entries of `node` come from unchanged, if any."""
    while node.op in TRANSPARENT:
        node = node.args[0]
    return node if node.op == "input" else None
