"""The simplifier: rewrites every node by tables of rules until none applies.

It preserves values up to rounding (see `STABLE_RULES` in `ppl.ir.rewrites.arithmetic` for where it improves them),
preserves types exactly, and goes by structure alone, so that equal graphs give equal results. Markers (`stop`, masks of
live branch entries) are left alone: a graph may be differentiated after it was simplified. `erase_markers` drops
them after the last differentiation, so that primal values and gradients share their common subexpressions."""

from __future__ import annotations

from collections.abc import Sequence

from ppl.ir.loop import map_body
from ppl.ir.node import Node, make, rebuild, remake
from ppl.ir.op_facts import MARKERS
from ppl.ir.rewrites.arithmetic import ARITHMETIC_RULES, FOLDING_RULES, STABLE_RULES
from ppl.ir.rewrites.branches import ROUTE_RULES
from ppl.ir.rewrites.layout import EXPAND_RULES, VIEW_RULES
from ppl.ir.rewrites.loops import LOOP_RULES, merge_loops, tidy_loops
from ppl.ir.rewrites.patterns import Rule
from ppl.ir.rewrites.reductions import CONTRACTION_RULES, REDUCTION_RULES

__all__ = ["RULES", "erase_markers", "simplify"]


def _erase_marker(n: Node, args: tuple[Node, ...]) -> Node:
    if n.op in MARKERS:
        return args[0]
    if n.op == "expand" and n.attrs["live"] is not None:
        return make("expand", *args, axes=n.attrs["axes"], shape=n.attrs["shape"], live=None)
    if n.op == "route" and not all(n.attrs["live"]):
        return make("route", *args, to=n.attrs["to"], terms=n.attrs["terms"], live=(True,) * len(n.attrs["live"]))
    return map_body(n, args, erase_markers) if n.op == "loop" else remake(n, args)


def erase_markers(outputs: Sequence[Node]) -> list[Node]:
    """Replace markers by their (first) argument and let every branch entry pass gradient, loop bodies too.

    Call it after the last differentiation: a graph without markers has the same values but other gradients.
    """
    return rebuild(outputs, _erase_marker)


TABLES = (
    *(FOLDING_RULES, VIEW_RULES, ROUTE_RULES, EXPAND_RULES, ARITHMETIC_RULES, STABLE_RULES),
    *(REDUCTION_RULES, CONTRACTION_RULES, LOOP_RULES),
)
"""Rules by op, in the order in which they are tried."""

RULES: dict[str, list[Rule]] = {}

for _table in TABLES:
    for _op, _rules in _table.items():
        RULES.setdefault(_op, []).extend(_rules)


def simplify(outputs: Sequence[Node], strict: bool = False) -> list[Node]:
    """Rewrite `outputs` to their normal forms.

    Parameters
    ----------
    outputs
        Roots of the graph; what they do not need is dropped.
    strict
        Raise an AssertionError if rules undo one another, instead of stopping there.

    Returns
    -------
    list of Node
        As many nodes, of the same types.
    """
    nodes = [*map(_Rewriter(strict).normal, merge_loops(outputs))]
    while (tidy := tidy_loops(nodes)) != nodes:
        nodes = [*map(_Rewriter(strict).normal, tidy)]
    return nodes


class _Rewriter:
    """Memoised bottom-up rewriting with an explicit stack."""

    def __init__(self, strict: bool):
        self.strict = strict
        self.memo: dict[Node, Node] = {}

    def normal(self, root: Node) -> Node:
        """The normal form of `root`."""
        memo, stack = self.memo, [root]
        becomes: dict[Node, Node] = {}
        while stack:
            node = stack[-1]
            if node in memo:
                stack.pop()
            elif node in becomes:
                target = becomes[node]
                if target in memo:
                    memo[node] = memo[target]
                elif target in becomes:
                    self.cycle(target)
                    memo[target] = target
                else:
                    stack.append(target)
            else:
                missing = [a for a in node.args if a not in memo]
                if missing:
                    stack.extend(reversed(missing))
                    continue
                new = self.rewrite(node)
                if new is node:
                    memo[node] = node
                else:
                    becomes[node] = new
        return memo[root]

    def rewrite(self, node: Node) -> Node:
        """One rewriting of a node whose arguments have normal forms; the node itself if nothing applies."""
        args = tuple(self.memo[a] for a in node.args)
        if any(a is not b for a, b in zip(args, node.args, strict=True)):
            return remake(node, args)
        if node.op == "loop":
            return map_body(node, args, lambda outputs: simplify(outputs, self.strict))
        for rule in RULES.get(node.op, ()):
            new = rule(node)
            if new is not None and new is not node:
                if new.type != node.type:
                    raise AssertionError(f"{rule.__name__} changes {node.op} from {node.type} to {new.type}")
                return new
        return node

    def cycle(self, node: Node) -> None:
        """Rules turned `node` into something that contains it again."""
        if self.strict:
            raise AssertionError(f"rewrites of {node!r} lead back to it")
