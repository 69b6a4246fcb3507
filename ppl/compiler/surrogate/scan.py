"""Loop ops of open graphs: `Recurrence` makes one of a body that is computed from step inputs and anything outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from ppl.ir import ops
from ppl.ir.loop import Body, Remat, make_loop, placeholder
from ppl.ir.node import Node, substitute, topological
from ppl.ir.types import Type, union_axes
from ppl.records import dataclass

INLINED_LEAVES = frozenset(("const", "size", "scale"))
"""Leaves that stay in a body."""


@dataclass(eq=False)
class Recurrence:
    """A loop whose steps go from `carries` to `outs`, starting from `inits`; `slices` maps step inputs to stacks."""

    index: Node
    length: int
    reverse: bool
    remat: Remat
    inits: tuple[Node, ...] = ()
    carries: tuple[Node, ...] = ()
    outs: tuple[Node, ...] = ()
    slices: dict[Node, Node] = field(default_factory=dict)
    constants: dict[Node, Node] = field(default_factory=dict)

    def slice(self, stack: Node) -> Node:
        """Return the step input that is a slice of `stack`."""
        for known, of in self.slices.items():
            if of is stack:
                return known
        t = stack.type
        new = placeholder(Type(t.axes, t.shape[1:], t.dtype))
        self.slices[new] = stack
        return new

    def final(self, i: int) -> Node:
        """Carry number `i` after the last step."""
        return self._run([])[i]

    def stacked(self, value: Node) -> Node:
        """Return the values of `value` in all steps; time leads the event."""
        if not self.varying_nodes([value]):
            return ops.expand(ops.reshape(value, (1, *value.type.shape)), (), (self.length, *value.type.shape))
        return self._run([value])[-1]

    def varying_nodes(self, values: Sequence[Node]) -> set[Node]:
        """Return what `values` are computed from, themselves included, that changes from step to step."""
        seeds = {self.index, *self.carries, *self.slices}
        found: set[Node] = set()
        for node in topological(values):
            if node in seeds or any(a in found for a in node.args):
                found.add(node)
        return found

    def _run(self, ys: Sequence[Node]) -> list[Node]:
        outputs = [*self.outs, *ys]
        inside = self._closed(outputs)
        used = set(topological(inside))
        xs = [p for p in self.slices if p in used]
        consts = {p: outer for outer, p in self.constants.items() if p in used}
        n = len(self.carries)
        body = Body(self.index, (*self.carries, *xs, *consts), tuple(inside[:n]), tuple(inside[n:]), len(xs))
        stacks = [self.slices[p] for p in xs]
        return make_loop(body, self.inits, stacks, list(consts.values()), self.length, self.reverse, self.remat)

    def _closed(self, outputs: Sequence[Node]) -> list[Node]:
        """Return `outputs` with constants of the loop in place of what no step changes."""
        moving = self.varying_nodes(outputs)
        inline: set[Node] = set()
        outer: dict[Node, None] = {}
        for node in topological(outputs):
            if node in moving:
                outer.update(dict.fromkeys(a for a in node.args if a not in moving and a not in inline))
            elif node.op in INLINED_LEAVES or (node.args and all(a in inline for a in node.args)):
                inline.add(node)
        outer.update(dict.fromkeys(o for o in outputs if o not in moving and o not in inline))
        for node in outer:
            self.constants.setdefault(node, placeholder(node.type))
        mapping: Mapping[Node, Node] = {node: self.constants[node] for node in outer}
        return substitute(outputs, dict(mapping))


def sum_over_later_steps(recurrence: Recurrence, stack: Node, own: Node | None = None) -> Node:
    """Return, for every step, the sum of `stack` over the steps after it, plus the step's own entry of `own`."""
    later = Recurrence(placeholder(Type((), (), "int")), recurrence.length, not recurrence.reverse, None)
    x = later.slice(stack)
    start = ops.zeros_like(x.type)
    later.inits, later.carries = (start,), (placeholder(x.type),)
    later.outs = (ops.add(later.carries[0], x),)
    y = later.carries[0]
    if own is not None:
        mine = later.slice(own)
        axes = union_axes(y.type.axes, mine.type.axes)
        y = ops.add(ops.expand(y, axes), ops.expand(mine, axes))
    return later.stacked(y)
