"""Downstream costs of a random node: all of a cost, or, in a loop over time, what lies ahead of a step.

A cost of step t counts for the nodes of steps up to t. So in a step there are the costs of the step itself that depend
on the node, those of later steps that depend on it through a carry, and then, outside of the loop, the same again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ppl.compiler.surrogate.recurrence import after
from ppl.graph.stochastic import RandomNode
from ppl.ir import ops
from ppl.ir.loop import placeholder
from ppl.ir.node import Node, topological
from ppl.ir.types import Axis
from ppl.lang.time.record import Scan

if TYPE_CHECKING:
    from ppl.compiler.surrogate.expansion import Expansion, Part


class Ahead:
    """The downstream costs of nodes of one expansion, stopped.

    Values that are made outside of all loops and read in a step are leaves; `deferred` says what they stand for.
    """

    def __init__(self, expansion: Expansion):
        self.expansion = expansion
        self.deferred: dict[Node, Node] = {}
        self._leaves: dict[Node, Node] = {}

    def of(self, rn: RandomNode, parts: Sequence[Part], keep: Collection[Axis], copy: object) -> Node:
        """The costs `parts` downstream of a node, one number for every entry of the axes `keep`, in one branch."""
        scan = rn.site.scan
        if scan is None:
            return self._rest(rn, parts, keep, copy)
        found: list[Node] = []
        inner: Scan | None = None
        level: Scan | None = scan
        while level is not None:
            found += self._in_loop(rn, level, inner, parts, keep, copy)
            inner, level = level, level.outer
        beyond = [p for p in parts if scan.chain[0] not in _loops(p)]
        if beyond:
            found.append(self._leaf(self._rest(rn, beyond, keep, copy)))
        total = ops.const(0.0)
        for part in found:
            total = ops.add(total, part)
        return ops.stop(total)

    def _rest(self, rn: RandomNode, parts: Sequence[Part], keep: Collection[Axis], copy: object) -> Node:
        """The sum of whole costs; over all rows of a plate whose rows a cost couples, since every row reads all."""
        total: Node | None = None
        for part in parts:
            kept = set(keep) - set(rn.coupled_for(part.cost))
            value = self.expansion.reducer.advantage([part.value], kept, copy)
            total = value if total is None else ops.add(total, value)
        assert total is not None
        return ops.stop(total)

    def _in_loop(self, rn: RandomNode, level: Scan, inner: Scan | None, parts: Sequence[Part], keep: Collection[Axis],
                 copy: object) -> list[Node]:  # fmt: skip
        """What lies ahead in one loop: of the rest of this step, and of later steps."""
        walk, terms = self.expansion, self.expansion.graph.terms
        bit = terms.bit[rn.name]
        later = terms.later(level, bit)
        now: list[Node] = []
        then: list[Node] = []
        for part in parts:
            if level not in _loops(part):
                continue
            traced = _at(part, level)
            reach = terms.reach(traced).direct
            if not (reach & bit or reach & later):
                continue
            value = walk.walk([traced])
            if reach & bit and inner not in _loops(part):
                now.append(walk.reducer.advantage(value, _uncoupled(rn, keep, [traced], bit), copy))
            if reach & later:
                kept = _uncoupled(rn, keep, [traced, *level.outs], bit | later)
                then.append(walk.reducer.advantage(value, kept, copy))
        found = [_sum(now)] if now else []
        if then:
            recurrence = walk.recurrence(level)
            stack = after(recurrence, recurrence.stacked(_sum(then)))
            found.append(recurrence.slice(self._leaf(stack) if level.outer is None else stack))
        return found

    def _leaf(self, value: Node) -> Node:
        """A leaf that stands for a value made outside of all loops."""
        if value not in self._leaves:
            leaf = self._leaves[value] = placeholder(value.type)
            self.deferred[leaf] = ops.stop(value)
        return self._leaves[value]


def _uncoupled(rn: RandomNode, keep: Collection[Axis], values: Sequence[Node], bits: int) -> set[Axis]:
    """The axes `keep` but for plates whose rows one of `values`, all of one loop, couples."""
    nodes = topological(values)
    inner = any(n.op in ("stacked", "final") for n in nodes)
    return set(keep) - set(rn.coupled_plates if inner else rn.mixed(nodes, bits))


def _loops(part: Part) -> tuple[Scan | None, ...]:
    """The loops that a cost stands in."""
    return () if part.cost.scan is None else part.cost.scan.chain


def _at(part: Part, level: Scan) -> Node:
    """A term of a cost as seen in a step of one of its loops."""
    node, scan = part.step, part.cost.scan
    while scan is not level:
        assert node is not None and scan is not None
        node, scan = ops.reduce_sum(scan.seen(node), 0), scan.outer
    assert node is not None
    return node


def _sum(nodes: Sequence[Node]) -> Node:
    total = nodes[0]
    for node in nodes[1:]:
        total = ops.add(total, node)
    return total
