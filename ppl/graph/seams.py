"""Whether a `where` is continuous where its condition switches, as in where(x > 0, x, 0.1 x)."""

from __future__ import annotations

from functools import lru_cache

from ppl.ir import ops
from ppl.ir.node import Node, substitute
from ppl.ir.rewrites.simplify import simplify


@lru_cache(maxsize=4096)
def closes(node: Node) -> bool:
    """Whether `node` is where(a < b, u, v) (or <=) and u equals v at a = b; False where it cannot be shown.

    Shown by substitution of b for a, or a for b, and simplification.
    """
    if node.op != "where" or node.args[0].op not in ("lt", "le"):
        return False
    (a, b), branches = node.args[0].args, list(node.args[1:])
    pairs = [(x, y) for x, y in ((a, b), (b, a)) if x.op not in ("const", "expand")]
    return any(_equal(*simplify(substitute(branches, {x: y}))) for x, y in pairs)


def _equal(u: Node, v: Node) -> bool:
    return u is v or (_zero(u) and _zero(v))


def _zero(x: Node) -> bool:
    if x.op in ("add", "sub"):
        return all(map(_zero, x.args)) or (x.op == "sub" and x.args[0] is x.args[1])
    if x.op in ("mul", "neg", "expand"):
        return any(map(_zero, x.args))
    return ops.is_const(x, 0.0)
