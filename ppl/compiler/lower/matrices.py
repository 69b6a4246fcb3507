"""Linear algebra as steps: what systems, inverses and determinants of one matrix ask of it is one factorisation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ppl.compiler.lower.copies import in_memory
from ppl.ir import ops
from ppl.ir.node import Node, make, remake


def _lu(x: Node) -> Node:
    return make("lu", in_memory(x))


def _linsolve(node: Node, a: Node, b: Node) -> Node:
    return make("lu_solve", _lu(a), in_memory(b), transposed=node.attrs["transposed"])


def _inverse(node: Node, x: Node) -> Node:
    """Row i is A^-T e_i."""
    unit = ops.expand(ops.const(np.eye(x.type.shape[-1])), x.type.axes, x.type.shape)
    return make("lu_solve", _lu(x), in_memory(unit), transposed=True)


def _entries(lu: Node, first: int, count: int, step: int) -> Node:
    lead = [(0, n, 1) for n in lu.type.shape[:-1]]
    return ops.window(lu, (*lead, (first, count, step)))


def _from_end(places: int) -> Callable[[Node, Node], Node]:
    def rule(node: Node, x: Node) -> Node:
        lu = _lu(x)
        return ops.reshape(_entries(lu, lu.type.shape[-1] - places, 1, 1), node.type.shape)

    return rule


def _log_det(node: Node, x: Node) -> Node:
    d = x.type.shape[-1]
    return ops.reduce_sum(ops.log(ops.absolute(_entries(_lu(x), 0, d, d + 1))), -1)


def _in_memory(node: Node, *args: Node) -> Node:
    return remake(node, tuple(in_memory(x) for x in args))


KERNELS = {"solve": "solve_lower", "cholesky": "cholesky", "lu": "lu", "lu_solve": "lu_solve"}
"""The kernels of the steps, less the program's dtype."""


def size_of(node: Node) -> int:
    """Rows of each of the matrices of a step."""
    return node.type.shape[-1] if node.op != "lu" else node.args[0].type.shape[-1]


def sizes(node: Node) -> list[int]:
    """How many matrices a kernel takes, right sides of each if it solves systems, rows of a matrix, and which way."""
    d = size_of(node)
    if node.op in ("cholesky", "lu"):
        return [math.prod(node.args[0].type.shape[:-2]), d]
    matrix, b = (arg.type.shape for arg in node.args)
    count = math.prod(matrix[:-1] if node.op == "lu_solve" else matrix[:-2])
    return [count, math.prod(b) // (count * d), d, int(node.attrs["transposed"])]


RULES: dict[str, Callable[..., Node]] = {
    "solve": _in_memory,
    "cholesky": _in_memory,
    "linsolve": _linsolve,
    "inverse": _inverse,
    "det": _from_end(1),
    "sign_det": _from_end(2),
    "log_det": _log_det,
}
