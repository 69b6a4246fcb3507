"""The simplifier: rewrites every node by flat tables of rules until none applies.

It preserves values up to rounding (see `ppl.ir.rewrites.stable` for where it improves them), preserves types
exactly, and goes by structure alone, so that equal graphs give equal results. Markers (`stop`, masks of live
branch entries) are left alone: a graph may be differentiated after it was simplified.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl.ir.loop import map_body
from ppl.ir.node import Node, remake
from ppl.ir.rewrites import (
    arithmetic,
    broadcast,
    constants,
    contraction,
    loops,
    reduction,
    routing,
    stable,
    views,
)
from ppl.ir.rewrites.markers import erase_markers
from ppl.ir.rewrites.match import Rule
from ppl.ir.rewrites.recurrences import tidy_loops

__all__ = ["RULES", "erase_markers", "simplify"]

MODULES = (constants, views, routing, broadcast, arithmetic, stable, reduction, contraction, loops)
RULES: dict[str, list[Rule]] = {}
for _module in MODULES:
    for _op, _rules in _module.RULES.items():
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
    nodes = [*map(_Engine(strict).normal, loops.merge_loops(outputs))]
    while (tidy := tidy_loops(nodes)) != nodes:
        nodes = [*map(_Engine(strict).normal, tidy)]
    return nodes


class _Engine:
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
