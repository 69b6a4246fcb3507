"""Emission of tiny programs without rows or run-time sizes: straight-line code over local variables.

The lowered graph is evaluated once at compile time on arrays of expressions: every entry of every value becomes one
local, so that a program of a dozen scalar operations costs what its arithmetic costs (well under a microsecond).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppl.compiler.emit.code import Name, Return, Statement, assign
from ppl.compiler.emit.scalar import ZERO
from ppl.compiler.emit.straight.entries import Straight, shape_of
from ppl.compiler.emit.straight.rules import value
from ppl.compiler.lower.request import Output
from ppl.ir.node import Node, topological
from ppl.ir.types import Kind


def suits(outputs: Sequence[Node], most: int) -> bool:
    """Whether a program, run with one particle, is static, and computes `most` entries at most: it is then unrolled."""
    total = 0
    for node in topological(outputs):
        if node.op in ("loop", "get", "external", "gemm", "cholesky", "lu", "lu_solve"):
            return False
        if node.op == "solve" and len(node.type.shape) == len(node.args[0].type.shape):
            return False
        if any(a.size is None and a.kind is not Kind.PARTICLES for a in node.type.axes):
            return False
        if node.op == "size" and node.attrs["axis"].kind is not Kind.PARTICLES:
            return False
        if node.op in ("scale", "rowid") or (node.op == "input" and node.type.axes) or node.attrs.get("by_row"):
            return False
        if node.op not in ("param", "input", "aux"):
            work = 4 if node.op == "noise" else 1
            total += work * int(np.prod(shape_of(node)))
    return total <= most


def _noise_first(outputs: Sequence[Node]) -> list[Node]:
    """All nodes, first those that do not wait for parameters: in a loop of steps they can start before a step ends."""
    waiting: dict[Node, bool] = {}
    for node in topological(outputs):
        waiting[node] = node.op in ("param", "aux") or any(waiting[a] for a in node.args)
    return sorted(waiting, key=waiting.__getitem__)


def body(outputs: Sequence[Output], offsets: dict[tuple[str, str], int], arrays: dict[str, str], dtype: str,
         n_aux: int, aux_at: int) -> list[Statement]:  # fmt: skip
    """The statements of the whole program."""
    s = Straight(offsets, arrays, dtype)
    for node in _noise_first([o.node for o in outputs]):
        s.values[node] = value(s, node)
    writes = []
    for out in outputs:
        start, array = out.offset.constant, out.array
        assert start is not None
        if array == "w" and start >= aux_at and n_aux:
            start, array = start - aux_at, "aux"
        for i, x in enumerate(s.values[out.node].reshape(-1)):
            writes.append(assign(Name(array).at(start + i), x))
    first = next((o for o in outputs if o.array == "w"), None)
    result = s.values[first.node].reshape(-1)[0] if first is not None else ZERO
    return [*s.statements, *writes, Return(result)]
