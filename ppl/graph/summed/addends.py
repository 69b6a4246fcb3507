"""A cost as a sum of terms, each of which varies with fewer nodes: their expectations need smaller tables."""

from __future__ import annotations

from ppl.ir import ops
from ppl.ir.node import Node

JOINT = 4096
"""Joint states of enumerated nodes from which on a cost is taken apart; fewer are one table."""
MOST = 256
"""Terms at most."""


def addends(node: Node) -> list[Node]:
    """Nodes whose sum is `node`, taken apart at sums, differences, and products with constants."""
    found = _addends(node)
    return found if len(found) <= MOST else [node]


def _addends(node: Node) -> list[Node]:
    if node.op == "add":
        return [part for arg in node.args for part in _addends(arg)]
    if node.op == "sub":
        return [*_addends(node.args[0]), *map(ops.neg, _addends(node.args[1]))]
    if node.op == "neg":
        return [*map(ops.neg, _addends(node.args[0]))]
    if node.op == "expand":
        return [ops.expand(part, node.type.axes, node.type.shape) for part in _addends(node.args[0])]
    if node.op == "mul" and any(map(ops.is_const, node.args)):
        factor, rest = node.args if ops.is_const(node.args[0]) else node.args[::-1]
        return [ops.mul(factor, part) for part in _addends(rest)]
    return [node]
