"""The entries of values in straight-line code: arrays of locals."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ppl.compiler.emit.code import Assign, Expression, Name, Statement
from ppl.compiler.emit.scalar import is_plain
from ppl.compiler.lower.identifiers import stem
from ppl.ir.node import Node

Entries = np.ndarray


def shape_of(node: Node) -> tuple[int, ...]:
    """Shape of a value, with one particle where their number is known only at run time."""
    return (*(1 if a.size is None else a.size for a in node.type.axes), *node.type.shape)


class Straight:
    """What is known of a program's nodes: arrays of expressions, and the assignments that they stand on."""

    def __init__(self, offsets: dict[tuple[str, str], int], arrays: dict[str, str], dtype: str):
        self.offsets, self.arrays = offsets, arrays
        self.uniform = "uniform_f32" if dtype == "float32" else "uniform_f64"
        self.statements: list[Statement] = []
        self.names: dict[str, int] = {}
        self.known: dict[Expression, Name] = {}
        self.values: dict[Node, Entries] = {}

    def local(self, node: Node, value: Expression, first: str = "") -> Expression:
        """A local that holds `value`; equal ones share one."""
        if is_plain(value):
            return value
        if value not in self.known:
            first = first or stem(str(node.attrs.get("name", node.op)))
            count = self.names[first] = self.names.get(first, 0) + 1
            self.known[value] = Name(f"{first}_{count}")
            self.statements.append(Assign(self.known[value], value))
        return self.known[value]

    def each(self, node: Node, values: Iterable[Expression]) -> Entries:
        """The entries of `node`, all of them locals."""
        return filled(shape_of(node), [self.local(node, x) for x in values])


def filled(shape: tuple[int, ...], values: Iterable[Expression]) -> Entries:
    """An array of expressions."""
    out = np.empty(shape, object)
    flat = out.reshape(-1)
    for i, x in enumerate(values):
        flat[i] = x
    return out
