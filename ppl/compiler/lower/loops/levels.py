"""The values of a loop's body in levels: without rows (even), of rows (odd), made of sums over rows (even again).

A carry has the level of what a step makes of it. Sums over the rows of a slab belong to the rows: what slabs have added
up is added up again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ppl.compiler.lower.request import ADDITIVE
from ppl.compiler.lower.views import row_axis
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.loop import Body
from ppl.ir.node import Node, topological
from ppl.ir.op_facts import GIVEN, PARTS, PRODUCTS
from ppl.ir.types import Axis

PARTIAL = ("sum", "contract", "put")
"""Ops that add up rows, so that the sums of slabs add up to the whole."""


class CarriedRowsError(ModelError):
    """Rows of `axis` read in a step of a loop what depends on all rows of the step before."""

    def __init__(self, axis: Axis):
        super().__init__(
            f"each step of a loop reads a sum over all of '{axis.name}' of the step before, which cannot be compiled: "
            "carry the sum without feeding it back, or use a plate of fixed size"
        )
        self.axis = axis


class Group(NamedTuple):
    """A level, and the axis of its rows."""

    level: int
    row: Axis | None

    @property
    def order(self) -> tuple[int, tuple[int, int, str]]:
        """Sort key."""
        return self.level, self.row.order if self.row else (0, 0, "")


def home_of(node: Node) -> Axis | None:
    """The row axis over which the work of `node` runs."""
    axes = {a for x in (node, *node.args) for a in x.type.axes}
    if node.op == "loop":
        homes = (home_of(n) for n in topological(node.attrs["body"].outputs))
        axes |= {a for a in homes if a is not None}
    return row_axis(tuple(sorted(axes, key=lambda a: a.order)))


class Levels:
    """Home and level of every value of a body with the outputs `outs`; `partial` are sums over the rows of a slab."""

    def __init__(self, body: Body, outs: Sequence[Node]):
        self.outs, self.carries = outs, body.args[: len(body.carries)]
        self.given = {body.index, *body.args} - set(self.carries)
        self.order = topological(outs)
        self.home: dict[Node, Axis | None] = {}
        self.partial: set[Node] = set()
        for node in self.order:
            self._settle(node)
        self.added = {i: x for i, c in enumerate(self.carries) if (x := self._added(c, outs[i])) is not None}
        self.level: dict[Node, int] = {}
        self._rise()

    @property
    def rows(self) -> bool:
        """Whether there are rows at all."""
        return any(row is not None for row in self.home.values())

    def group(self, node: Node) -> Group:
        """Where `node` is computed."""
        return Group(self.level[node], self.home[node])

    def free(self, node: Node) -> bool:
        """Whether every loop may compute `node`, or is given it."""
        return node in self.given or (node.op in GIVEN and node.op != "arg") or self.group(node) == Group(0, None)

    def _settle(self, node: Node) -> None:
        row = self.home[node.args[0]] if node.op == "get" else home_of(node)
        if row is not None and row_axis(node.type.axes) != row:
            if node.op in PARTIAL or node.op == "get":
                self.partial.add(node)
        elif row is None:
            sums = [i for i, a in enumerate(node.args) if a in self.partial]
            if sums and self._linear(node, sums):
                self.partial.add(node)
                row = self.home[node.args[sums[0]]]
        self.home[node] = row

    def _linear(self, node: Node, sums: Sequence[int]) -> bool:
        """Whether `node`, made of slabs' sums number `sums`, is such a sum itself."""
        if len({self.home[node.args[i]] for i in sums}) > 1:
            return False
        if node.op in ADDITIVE:
            return len(sums) == len(node.args)
        if node.op in PARTS:  # of a choice, every slab would add the other side
            rest = set(PARTS[node.op]) - set(sums)
            return set(sums) <= set(PARTS[node.op]) and all(ops.is_const(node.args[i], 0.0) for i in rest)
        return len(sums) == 1 and node.op in PRODUCTS

    def _added(self, carry: Node, new: Node) -> Node | None:
        """The sum over rows that a step adds to `carry`, which nothing else reads."""
        reads = sum(a is carry for n in self.order for a in n.args) + sum(o is carry for o in self.outs)
        if reads != 1 or row_axis(carry.type.axes) is not None or new.op != "add" or carry not in new.args:
            return None
        other = new.args[1] if new.args[0] is carry else new.args[0]
        return other if other in self.partial else None

    def _rise(self) -> None:
        """Find levels, from below, to a fixed point."""
        start = dict.fromkeys(self.carries, 0)
        most = 4 * (len(self.carries) + 1)
        while True:
            self.level = {}
            for node in self.order:
                least = start.get(node, 0) + (self.home[node] is not None and not start.get(node))
                needs = (self._need(a, node) for a in node.args)
                self.level[node] = max([least, *needs])
            made = zip(self.carries, self.outs, strict=False)
            read = [(c, o) for i, (c, o) in enumerate(made) if i not in self.added and c in self.level]
            new = {**start, **{c: max(start[c], self._need(o, c)) for c, o in read}}
            if new == start:
                return
            if max(new.values()) > most:
                raise CarriedRowsError(next(row for row in self.home.values() if row is not None))
            start = new

    def _need(self, arg: Node, user: Node) -> int:
        """The least level of what reads `arg`."""
        if arg in self.given or (arg.op in GIVEN and arg.op != "arg") or arg not in self.level:
            return 0
        level, here, there = self.level[arg], self.home[arg], self.home[user]
        if here is None:
            return level + (there is not None)
        whole = arg.op == "loop" or row_axis(arg.type.axes) == here
        if here == there and (whole or (arg in self.partial and user in self.partial)):
            return level
        return level + (1 if there is None else 2)
