"""Dependence of values on random nodes, directly and through `ppl.stop_gradient`, and costs as sums of terms.

A stopped occurrence is a constant: neither a derivative nor dependence of downstream costs passes. A path keeps to that
by itself. Estimators that weigh a whole cost (scores, pairs of samples, sums over states) would count the stopped
occurrence too, so for these a cost is split into terms that depend on a node in one of the two ways. Where that is
impossible, as in z * stop(z), only a path is right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ppl.ir import ops
from ppl.ir.node import Node, make, remake, topological
from ppl.ir.op_facts import LINEAR, LINEAR_ARGUMENTS, PRODUCTS, ops_of_role
from ppl.lang.loops import Scan, leader_of, resolve_alias, sum_over_loops
from ppl.lang.trace import Cost

MOST_TERMS = 256

UNSPLIT_OPS = LINEAR & ops_of_role("marker", "random")
"""Linear ops whose whole value has a meaning of its own."""


class Reach(NamedTuple):
    """Random nodes that a value depends on, as bits: directly, and through a stop of the user's."""

    direct: int
    stopped: int

    @property
    def tangled(self) -> int:
        """Nodes that it depends on in both ways."""
        return self.direct & self.stopped


class CostTerm(NamedTuple):
    """A term of a cost and what it depends on; `step` is its value in one step of the loops that the cost stands in."""

    node: Node
    reach: Reach
    step: Node | None


class CostTerms:
    """The terms of the costs of a graph whose random nodes are `samples`; `of` has them by cost."""

    def __init__(self, samples: Sequence[Node], costs: Iterable[Cost]):
        self.bit = {node.attrs["site"].name: 1 << i for i, node in enumerate(samples)}
        self._carry_bits: dict[Node, int] = {}
        self._reach: dict[Node, Reach] = {}
        self.of: dict[str, list[CostTerm]] = {cost.name: self._split_cost(cost) for cost in costs}
        self.tangled = 0  # all nodes that a term depends on in both ways
        for term in (term for terms in self.of.values() for term in terms):
            self.tangled |= term.reach.tangled

    def names(self, bits: int) -> frozenset[str]:
        """The random nodes of `bits`."""
        return frozenset(name for name, bit in self.bit.items() if bit & bits)

    @property
    def split_nodes(self) -> list[Node]:
        """The terms of all costs that have several."""
        return [term.node for terms in self.of.values() if len(terms) > 1 for term in terms]

    def reach(self, node: Node) -> Reach:
        """The nodes that `node` depends on."""
        if node not in self._reach:
            for step in topological([node], self._reach):
                self._reach[step] = self._find_reach(step)
        return self._reach[node]

    def carry_bit(self, carry: Node) -> int:
        """The bit that stands for a carry of a loop over time, among those of random nodes."""
        place = len(self.bit) + len(self._carry_bits)
        return self._carry_bits.setdefault(carry, 1 << place)

    def carries_reached(self, scan: Scan, bits: int) -> int:
        """The carries of `scan` that later steps begin with and that depend on one of `bits` in a step."""
        found = 0
        while True:
            reached = [self.reach(out).direct & (bits | found) for out in scan.outs]
            more = sum(self.carry_bit(c) for c, r in zip(scan.carries, reached, strict=True) if r)
            if more == found:
                return found
            found = more

    def _reach_of_step_input(self, node: Node) -> Reach:
        """A step input depends on a carry, or on what the stack is made of that it is a slice of."""
        stands = resolve_alias(node)
        if stands.op != "step_input":
            return self.reach(stands)
        node, scan = stands, leader_of(stands)
        if scan is None or node is scan.index:
            return Reach(0, 0)
        return self.reach(scan.slices[node]) if node in scan.slices else Reach(self.carry_bit(node), 0)

    def _reach_from_outside(self, node: Node) -> Reach:
        """A value of a loop seen from outside: its carries come from what they begin with and from earlier steps."""
        scan = leader_of(node)
        assert scan is not None
        found, known = self.reach(node.args[0]), Reach(-1, -1)
        own = {c: self.carry_bit(c) for c in scan.carries}
        while found != known:
            known = found
            for i, bit in enumerate(own.values()):
                before = [self.reach(n) for n in (scan.inits[i], scan.outs[i])]
                direct, stopped = before[0].direct | before[1].direct, before[0].stopped | before[1].stopped
                if found.direct & bit:
                    found = Reach(found.direct | direct, found.stopped | stopped)
                if found.stopped & bit:
                    found = Reach(found.direct, found.stopped | direct | stopped)
        mask = ~sum(own.values())
        return Reach(found.direct & mask, found.stopped & mask)

    def _find_reach(self, node: Node) -> Reach:
        if node.op == "step_input":
            return self._reach_of_step_input(node)
        if node.op in ("stacked", "final"):
            return self._reach_from_outside(node)
        direct = stopped = 0
        for arg in node.args:
            found = self._reach[arg]
            direct, stopped = direct | found.direct, stopped | found.stopped
        if node.op == "sample":
            return Reach(direct | self.bit[node.attrs["site"].name], stopped)
        if node.op == "stop" and node.attrs["tag"] == "user":
            return Reach(0, direct | stopped)
        if node.op == "stop" and node.attrs["tag"] in ("shift", "formula"):
            return Reach(0, 0)  # without effect on the value, or on which of equal formulas it is computed by
        return Reach(direct, stopped)

    def _split_cost(self, cost: Cost) -> list[CostTerm]:
        reach = self.reach(cost.node)
        if not reach.tangled or cost.marginalize or cost.bound is not None:
            return [CostTerm(cost.node, reach, cost.step)]
        grouped: dict[tuple[Reach, Reach], Node] = {}
        for node in self._split_sum(cost.node if cost.step is None else cost.step, cost.scan):
            own = self.reach(sum_over_loops(node, cost.scan)), self.reach(node)
            grouped[own] = ops.add(grouped[own], node) if own in grouped else node
        steps = [None if cost.step is None else node for node in grouped.values()]
        wholes = [sum_over_loops(node, cost.scan) for node in grouped.values()]
        return [CostTerm(*found) for found in zip(wholes, (reach for reach, _ in grouped), steps, strict=True)]

    def _split_sum(self, node: Node, scan: Scan | None) -> list[Node]:
        """Nodes whose sum is `node`, taken apart as far as it serves; `node` alone where they would be too many.

        They stand in the loop `scan`. What they depend on is seen from outside: a carry comes from earlier steps.
        """
        if not self.reach(sum_over_loops(node, scan)).tangled or node.op in UNSPLIT_OPS:
            return [node]
        if node.op == "stacked":
            inner: Scan = node.attrs["scan"]
            found = [inner.as_stacked(part) for part in self._split_sum(node.args[0], inner)]
        elif node.op in LINEAR:
            found = [
                _with_only_part(node, i, part) for i, arg in enumerate(node.args) for part in self._split_sum(arg, scan)
            ]
        elif node.op in PRODUCTS:
            first, second = (self._split_sum(arg, scan) for arg in node.args)
            few = len(first) * len(second) <= MOST_TERMS
            found = [make(node.op, a, b, **node.attrs) for a in first for b in second] if few else [node]
        elif node.op in LINEAR_ARGUMENTS:
            found = [
                _with_only_part(node, i, part)
                for i in LINEAR_ARGUMENTS[node.op]
                for part in self._split_sum(node.args[i], scan)
            ]
        else:
            found = [node]
        return found if len(found) <= MOST_TERMS else [node]


def _with_only_part(node: Node, position: int, part: Node) -> Node:
    """A jointly linear op with `part` at `position`, and zeros at the other arguments that it is linear in."""
    if node.op in ("add", "sub"):
        return ops.neg(part) if node.op == "sub" and position else part
    linear = LINEAR_ARGUMENTS.get(node.op, range(len(node.args)))
    args = (ops.cast(ops.zeros_like(a.type), a.type.dtype) if i in linear else a for i, a in enumerate(node.args))
    return remake(node, tuple(part if i == position else a for i, a in enumerate(args)))
