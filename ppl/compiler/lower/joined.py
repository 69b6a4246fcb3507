"""Sums of products over rows as one product: both add to the same accumulator, and their factors move into the rows.

``s A'B + t C'D``, with numbers s and t that do not depend on the row, becomes one ``gemm`` of two pairs, (A, s B) and
(C, t D). A gradient of this form (contrastive divergence, tied weights) is then the accumulator itself: nothing is
added up or scaled that is as long as the parameters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from ppl.compiler.lower.views import Poly, axis_size, entries, row_axis
from ppl.ir import ops
from ppl.ir.node import Node, make, rebuild, remake, topological
from ppl.ir.types import Axis

PAIR = ("rows", "cols", "inner", "a", "b")
"""Attributes of a product that belong to its two operands."""


class _Term(NamedTuple):
    gemm: Node
    factor: Node | None


def joined(outputs: Sequence[Node]) -> list[Node]:
    """`outputs` with such sums as one product, where nothing else reads the products."""
    uses = Counter(a for node in topological(outputs) for a in node.args) + Counter(outputs)

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        if node.op in ("add", "sub") and all(uses[a] == 1 for a in node.args):
            first, second = (_term(old, new, uses) for old, new in zip(node.args, args, strict=True))
            if first is not None and second is not None:
                return _join(first, second if node.op == "add" else _negated(second))
        return remake(node, args)

    return rebuild(outputs, visit)


def _term(old: Node, new: Node, uses: Counter[Node]) -> _Term | None:
    """`new`, which replaces `old`, as a product that adds up over rows, times a number."""
    if old.op == "neg" and uses[old.args[0]] == 1:
        found = _term(old.args[0], new.args[0], uses)
        return None if found is None else _negated(found)
    if old.op == "mul":
        for i, other in ((0, 1), (1, 0)):
            number, found = _number(new.args[other]), _term(old.args[i], new.args[i], uses)
            if number is not None and found is not None and found.factor is None and uses[old.args[i]] == 1:
                return _Term(found.gemm, number)
        return None
    over_rows = old.op == "gemm" and row_axis(tuple(i for i in old.attrs["inner"] if isinstance(i, Axis))) is not None
    return _Term(new, None) if over_rows and "more" not in new.attrs and not new.type.axes else None


def _number(x: Node) -> Node | None:
    """The one number that `x` repeats, or None."""
    while x.op == "expand":
        x = x.args[0]
    return x if not x.type.axes and not x.type.shape else None


def _negated(term: _Term) -> _Term:
    return _Term(term.gemm, ops.const(-1.0) if term.factor is None else ops.neg(term.factor))


def _join(first: _Term, second: _Term) -> Node:
    more = tuple(second.gemm.attrs[name] for name in PAIR)
    args = (*_scaled(first), *_scaled(second))
    own = {name: first.gemm.attrs[name] for name in PAIR}
    return make("gemm", *args, type=first.gemm.type, more=(more,), **own)


def _scaled(term: _Term) -> tuple[Node, Node]:
    a, b = term.gemm.args
    return (a, b) if term.factor is None else (a, ops.mul(b, term.factor))


def pairs(gemm: Node) -> list[tuple[dict[str, Any], Node, Node]]:
    """Attributes and operands of each pair of a product."""
    attrs = [dict(gemm.attrs), *(dict(zip(PAIR, more, strict=True)) for more in gemm.attrs.get("more", ()))]
    return [(own, gemm.args[2 * i], gemm.args[2 * i + 1]) for i, own in enumerate(attrs)]


def multiplications(gemm: Node) -> Poly:
    """Number of multiplications of a product."""
    total = Poly()
    for attrs, a, _ in pairs(gemm):
        size = entries(gemm.type)
        for x in attrs["inner"]:
            size = size * (axis_size(x) if isinstance(x, Axis) else a.type.shape[attrs["a"].index(x)])
        total = total + size
    return total
