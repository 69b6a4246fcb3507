"""Leaves seen through views: which entries of a data argument or a constant a node shows, unchanged."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ppl.ir.node import Node
from ppl.ir.op_facts import VIEWS

SHOWN = VIEWS - {"collect"} | {"cast", "mark"}


class Seen(NamedTuple):
    """A leaf and the views through which a node shows it: (op, what it is given, event shape before it)."""

    leaf: Node
    views: tuple[tuple[str, Any, tuple[int, ...]], ...]

    @property
    def plain(self) -> bool:
        """Whether entries stand where they stand in the leaf."""
        return all(op == "reshape" and _long(given) == _long(before) for op, given, before in self.views)

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


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def seen(node: Node, leaf: str = "input") -> Seen | None:
    """The leaf of an op ("input", "const") whose entries `node` shows unchanged, if any."""
    views: list[tuple[str, Any, tuple[int, ...]]] = []
    while node.op in SHOWN:
        before, shape = node.args[0].type, node.type.shape
        truncates = node.op == "cast" and (node.type.dtype, before.dtype) == ("int", "float")
        if truncates or (node.op == "expand" and views and before.shape != shape):
            return None
        if node.op in ("slice", "transpose", "reshape"):
            given = shape if node.op == "reshape" else node.attrs["window" if node.op == "slice" else "perm"]
            views.append((node.op, given, before.shape))
        node = node.args[0]
    return Seen(node, tuple(reversed(views))) if node.op == leaf else None


def leaf_of(node: Node) -> Node | None:
    """The input leaf that all entries of `node` come from unchanged, if any."""
    while node.op in SHOWN:
        node = node.args[0]
    return node if node.op == "input" else None
