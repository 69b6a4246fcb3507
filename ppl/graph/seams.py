"""Whether a `where` is continuous where its condition switches, as in where(x > 0, x, 0.1 x)."""

from __future__ import annotations

from functools import lru_cache

from ppl.ir import ops
from ppl.ir.node import Node, make, topological
from ppl.ir.simplify import simplify


@lru_cache(maxsize=4096)
def closes(node: Node) -> bool:
    """Whether `node` is where(a < b, u, v) (or <=) and u equals v at a = b, as found by substitution and simplification.

    False where it cannot be shown.
    """
    if node.op != "where" or node.args[0].op not in ("lt", "le"):
        return False
    (a, b), branches = node.args[0].args, node.args[1:]
    return any(_equal([_substitute(x, one, other) for x in branches]) for one, other in ((a, b), (b, a)))


def _equal(values: list[Node]) -> bool:
    u, v = simplify(values)
    return u is v or all(ops.is_const(x, 0.0) for x in (u, v))


def _substitute(root: Node, old: Node, new: Node) -> Node:
    """`root` with `new` in the place of `old`; products with zero are zero."""
    if old.op in ("const", "expand"):
        return root
    env: dict[int, Node] = {}
    for node in topological([root]):
        args = [env[id(a)] for a in node.args]
        if node is old:
            env[id(node)] = new
        elif node.op == "mul" and any(ops.is_const(a, 0.0) for a in args):
            env[id(node)] = ops.zeros_like(node.type)
        else:
            env[id(node)] = make(node.op, *args, **node.attrs) if args else node
    return env[id(root)]
