"""Costs as sums of terms, for nodes that a cost depends on both directly and through `ppl.stop_gradient`.

A stopped occurrence is a constant: neither a derivative nor downstream-cost dependence passes. A path keeps to that by
itself. Everything that weighs a whole cost (scores, pairs of samples, sums over states) would count the stopped
occurrence too, so for these a cost is taken apart into terms that depend on a node in one of the two ways. Where
that cannot be, as in z * stop(z), only a path is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ppl.ir import ops
from ppl.ir.node import Node, make, remake, topological
from ppl.ir.op_facts import LINEAR, PARTS, PRODUCTS, of_role
from ppl.lang.time.record import Scan, leader_of, resolved, total
from ppl.lang.trace import Cost

MOST = 256
ATOMS = LINEAR & of_role("marker", "random")
"""Linear ops whose whole value has a meaning of its own."""


class Reach(NamedTuple):
    """Random nodes that a value depends on, as bits: directly, and through a stop of the user's."""

    direct: int
    stopped: int

    @property
    def tangled(self) -> int:
        """Nodes that it depends on in both ways."""
        return self.direct & self.stopped


class Term(NamedTuple):
    """A term of a cost and what it depends on; `step` is its value in one step of the loops that the cost stands in."""

    node: Node
    reach: Reach
    step: Node | None


class Terms:
    """The terms of the costs of a graph whose random nodes are `samples`; `of` has them by cost."""

    def __init__(self, samples: Sequence[Node], costs: Iterable[Cost]):
        self.bit = {node.attrs["site"].name: 1 << i for i, node in enumerate(samples)}
        self._carry_bits: dict[Node, int] = {}
        self._reach: dict[Node, Reach] = {}
        self.of: dict[str, list[Term]] = {cost.name: self._terms(cost) for cost in costs}
        self.tangled = 0  # all nodes that a term depends on in both ways
        for term in (term for terms in self.of.values() for term in terms):
            self.tangled |= term.reach.tangled

    def names(self, bits: int) -> frozenset[str]:
        """The random nodes of `bits`."""
        return frozenset(name for name, bit in self.bit.items() if bit & bits)

    @property
    def split(self) -> list[Node]:
        """The terms of all costs that have several."""
        return [term.node for terms in self.of.values() if len(terms) > 1 for term in terms]

    def reach(self, node: Node) -> Reach:
        """The nodes that `node` depends on."""
        if node not in self._reach:
            for step in topological([node], self._reach):
                self._reach[step] = self._of(step)
        return self._reach[node]

    def carry_bit(self, carry: Node) -> int:
        """The bit that stands for a carry of a loop over time, among those of random nodes."""
        place = len(self.bit) + len(self._carry_bits)
        return self._carry_bits.setdefault(carry, 1 << place)

    def later(self, scan: Scan, bits: int) -> int:
        """The carries of `scan` that later steps begin with and that depend on one of `bits` in a step."""
        found = 0
        while True:
            reached = [self.reach(out).direct & (bits | found) for out in scan.outs]
            more = sum(self.carry_bit(c) for c, r in zip(scan.carries, reached, strict=True) if r)
            if more == found:
                return found
            found = more

    def _input(self, node: Node) -> Reach:
        """A step input depends on a carry, or on what the stack is made of that it is a slice of."""
        stands = resolved(node)
        if stands.op != "step_input":
            return self.reach(stands)
        node, scan = stands, leader_of(stands)
        if scan is None or node is scan.index:
            return Reach(0, 0)
        return self.reach(scan.slices[node]) if node in scan.slices else Reach(self.carry_bit(node), 0)

    def _outside(self, node: Node) -> Reach:
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

    def _of(self, node: Node) -> Reach:
        if node.op == "step_input":
            return self._input(node)
        if node.op in ("stacked", "final"):
            return self._outside(node)
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

    def _terms(self, cost: Cost) -> list[Term]:
        reach = self.reach(cost.node)
        if not reach.tangled or cost.marginalize or cost.bound is not None:
            return [Term(cost.node, reach, cost.step)]
        grouped: dict[tuple[Reach, Reach], Node] = {}
        for node in self._parts(cost.node if cost.step is None else cost.step, cost.scan):
            own = self.reach(total(node, cost.scan)), self.reach(node)
            grouped[own] = ops.add(grouped[own], node) if own in grouped else node
        steps = [None if cost.step is None else node for node in grouped.values()]
        wholes = [total(node, cost.scan) for node in grouped.values()]
        return [Term(*found) for found in zip(wholes, (reach for reach, _ in grouped), steps, strict=True)]

    def _parts(self, node: Node, scan: Scan | None) -> list[Node]:
        """Nodes whose sum is `node`, taken apart as far as it serves; `node` alone where they would be too many.

        They stand in the loop `scan`. What they depend on is seen from outside: a carry comes from earlier steps.
        """
        if not self.reach(total(node, scan)).tangled or node.op in ATOMS:
            return [node]
        if node.op == "stacked":
            inner: Scan = node.attrs["scan"]
            found = [inner.seen(part) for part in self._parts(node.args[0], inner)]
        elif node.op in LINEAR:
            found = [_alone(node, i, part) for i, arg in enumerate(node.args) for part in self._parts(arg, scan)]
        elif node.op in PRODUCTS:
            first, second = (self._parts(arg, scan) for arg in node.args)
            few = len(first) * len(second) <= MOST
            found = [make(node.op, a, b, **node.attrs) for a in first for b in second] if few else [node]
        elif node.op in PARTS:
            found = [_alone(node, i, part) for i in PARTS[node.op] for part in self._parts(node.args[i], scan)]
        else:
            found = [node]
        return found if len(found) <= MOST else [node]


def _alone(node: Node, position: int, part: Node) -> Node:
    """A jointly linear op with `part` at `position`, and zeros at the other arguments that it is linear in."""
    if node.op in ("add", "sub"):
        return ops.neg(part) if node.op == "sub" and position else part
    linear = PARTS.get(node.op, range(len(node.args)))
    args = (ops.cast(ops.zeros_like(a.type), a.type.dtype) if i in linear else a for i, a in enumerate(node.args))
    return remake(node, tuple(part if i == position else a for i, a in enumerate(args)))
