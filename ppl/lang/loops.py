"""Records of loops over time: a `Scan` holds a step as a graph, an `UnrolledStep` is one step of an unrolled loop.

The body of a loop is part of the trace's graph. Its nodes read *step inputs*: the step number, carries, and slices of
stacks. Outside the loop, the values of a body node in all steps are one node `stacked`, whose leading event axis is
time, and the last value of a carry is one node `final`. `scan_of` tells the innermost loop that a node belongs to."""

from __future__ import annotations

import itertools
import re
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import field

from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.loop import Remat
from ppl.ir.node import Node, make, topological
from ppl.ir.types import Axis, Type
from ppl.records import dataclass

_step_input_ids = itertools.count()


@dataclass(eq=False)
class Scan:
    """One loop over time. `outer` is the loop that it stands in, `axes` are the plates that were open around it.

    `inits`, `carries` and `outs` are what a carry starts with, is in a step, and becomes; `slices` maps a step input
    to the stack that it is a slice of; `exposed` are the values that are seen from outside. A loop that is `joined` to
    another one has its carries there from number `carry_offset` on, and `aliases` there say what its step inputs
    stand for.
    """

    name: str
    length: int
    reverse: bool
    remat: Remat
    where: str
    axes: tuple[Axis, ...] = ()
    outer: Scan | None = None
    inits: tuple[Node, ...] = ()
    carries: tuple[Node, ...] = ()
    outs: tuple[Node, ...] = ()
    slices: dict[Node, Node] = field(default_factory=dict)
    exposed: list[Node] = field(default_factory=list)
    fused_into: Scan | None = None
    carry_offset: int = 0
    aliases: dict[Node, Node] = field(default_factory=dict)
    index: Node = field(init=False)

    def __post_init__(self) -> None:
        self.index = self.make_step_input(Type((), (), "int"))

    def __repr__(self) -> str:
        return f"Scan({self.name!r}, {self.length})"

    @property
    def leader(self) -> Scan:
        """The loop that it is part of: itself, unless it was joined to another one."""
        return self if self.fused_into is None else self.fused_into.leader

    @property
    def chain(self) -> tuple[Scan, ...]:
        """The loops that a step of this one is in, outermost first."""
        return (*(() if self.outer is None else self.outer.chain), self)

    @property
    def suffix(self) -> str:
        """What the names of nodes get: nothing, one name stands for all steps."""
        return ""

    def make_step_input(self, t: Type) -> Node:
        """A fresh step input of type `t`."""
        return make("step_input", uid=next(_step_input_ids), axes=t.axes, shape=t.shape, dtype=t.dtype, scan=self)

    def make_carries(self, inits: Sequence[Node]) -> tuple[Node, ...]:
        """The carries of a step, each a step input."""
        self.inits = tuple(inits)
        self.carries = tuple(self.make_step_input(x.type) for x in inits)
        return self.carries

    def slice(self, stack: Node) -> Node:
        """The entry of `stack`, whose leading event dimension is time, that belongs to a step."""
        for found, known in self.slices.items():
            if known is stack:
                return found
        t = stack.type
        new = self.make_step_input(Type(t.axes, t.shape[1:], t.dtype))
        self.slices[new] = stack
        return new

    def stacked(self, node: Node) -> Node:
        """The values of `node`, one of the body, in all steps: a leading event dimension is time."""
        self.exposed.append(node)
        return self.as_stacked(node)

    def as_stacked(self, node: Node) -> Node:
        """As `stacked`, of a value that is made of what is known to be seen from outside."""
        return make("stacked", node, *self.leader._outer_values([node]), scan=self)

    def final(self, i: int) -> Node:
        """Carry number `i` after the last step."""
        return make("final", self.outs[i], *self._outer_values(self.outs), scan=self, index=i)

    def _outer_values(self, nodes: Iterable[Node]) -> list[Node]:
        """All that values of the body are computed from outside of it, and what the carries become."""
        found: dict[Node, None] = {}
        pending, entered = list(nodes), False
        while pending:
            inputs = [n for n in topological(pending) if n.op == "step_input" and leader_of(n) is self]
            pending = []
            for node in inputs:
                if node in self.aliases:
                    pending.append(self.aliases[node])
                elif node in self.slices:
                    found[self.slices[node]] = None
                elif node is not self.index and not entered:
                    entered = True
                    found.update(dict.fromkeys((*self.inits, *self.outs)))
                    pending += self.outs
        return list(found)


@dataclass(frozen=True, eq=False)
class UnrolledStep:
    """One step of a loop that is written out; `index` is its number, in a sketch that of any step."""

    index: Node
    number: int
    length: int

    def slice(self, stack: Node) -> Node:
        """The entry of `stack`, whose leading event dimension is time, that belongs to the step."""
        if self.index.op != "const":
            return ops.take(stack, ops.expand(self.index, stack.type.axes, ()))
        rest = tuple((0, n, 1) for n in stack.type.shape[1:])
        return ops.reshape(ops.window(stack, ((self.number, 1, 1), *rest)), stack.type.shape[1:])

    @property
    def suffix(self) -> str:
        """What the names of nodes get."""
        return f"{STEP_OPEN}{self.number}{STEP_CLOSE}"


STEP_OPEN, STEP_CLOSE = "\u27e8", "\u27e9"
"""Brackets around the number of a step in the names of nodes; models hardly use them."""


def base_name(name: str) -> str:
    """The name of a node, or of a cost that is made of one, without the numbers of steps."""
    while STEP_OPEN in name:
        before, _, rest = name.partition(STEP_OPEN)
        name = before + rest.partition(STEP_CLOSE)[2]
    return name


def steps_in_words(text: str) -> str:
    """`text` with the numbers of steps after the quoted names of nodes instead of in them."""

    def with_step_after(found: re.Match[str]) -> str:
        numbers = re.findall(f"{STEP_OPEN}(\\d+){STEP_CLOSE}", found[1])
        return f"'{base_name(found[1])}' in {step_text(list(map(int, numbers)))}" if numbers else found[0]

    return re.sub(f"'([^'\n]*{STEP_OPEN}[^'\n]*)'", with_step_after, text)


def step_text(times: Sequence[int]) -> str:
    """The step of a loop, or those of nested ones, the outermost first."""
    return f"step {times[0]}" if len(times) == 1 else f"steps ({', '.join(map(str, times))})"


def arbitrary_carry(x: Node) -> Node:
    """A carry at the start of any step: it depends on `x`, and nothing else is known of it."""
    return make("entered", x, uid=next(_step_input_ids))


def arbitrary_step_number(length: int) -> Node:
    """The number of any step of a loop."""
    return make("step_input", uid=next(_step_input_ids), axes=(), shape=(), dtype="int", scan=None, length=length)


def leader_of(node: Node) -> Scan | None:
    """The loop that a step input, or a value seen from outside of a loop, belongs to."""
    scan: Scan | None = node.attrs["scan"]
    return None if scan is None else scan.leader


def resolve_alias(node: Node) -> Node:
    """What a step input stands for in the loop that its own was joined to."""
    while node.op == "step_input":
        leader = leader_of(node)
        if leader is None or node not in leader.aliases:
            break
        node = leader.aliases[node]
    return node


def stack_over_loops(node: Node, scan: Scan | None) -> Node:
    """`node` of a step of `scan`, seen from outside of all loops: times lead the event, the outermost first."""
    while scan is not None:
        node, scan = scan.stacked(node), scan.outer
    return node


def sum_over_loops(node: Node, scan: Scan | None) -> Node:
    """The sum of `node`, one number a step of `scan`, over the steps of all loops."""
    while scan is not None:
        scan.exposed.append(node)
        node, scan = ops.reduce_sum(scan.as_stacked(node), 0), scan.outer
    return node


def move_to_loop(node: Node, source: Scan | None, target: Scan | None) -> Node:
    """`node`, one of `source`, in the same step of `target`, a loop of as many steps that stands elsewhere."""
    node = stack_over_loops(node, source)
    for scan in () if target is None else target.chain:
        node = scan.slice(node)
    return node


_innermost_scans: weakref.WeakKeyDictionary[Node, Scan | None] = weakref.WeakKeyDictionary()


def scan_of(node: Node) -> Scan | None:
    """The innermost loop that a traced value belongs to; None outside of all loops."""
    if node not in _innermost_scans:
        for step in topological([node], _innermost_scans):
            _innermost_scans[step] = _find_scan(step)
    found = _innermost_scans[node]  # perhaps from before the loop was joined to another one
    return None if found is None else found.leader


def _find_scan(node: Node) -> Scan | None:
    if node.op in ("stacked", "final"):
        scan = leader_of(node)
        return None if scan is None else scan.outer
    if node.op == "step_input":
        return leader_of(node)
    found = [_innermost_scans[a] for a in node.args]
    if node.op == "sample":
        found.append(node.attrs["site"].scan)
    inner = innermost_scan(found)
    unrelated = [s for s in found if s is not None and inner is not None and s not in inner.chain]
    if unrelated and inner is not None:
        raise ModelError(
            f"a value of a step of the loop {unrelated[0].name!r} meets one of a step of {inner.name!r}, which is "
            f"another "
            f"loop: hand it out through the carry, or as what step returns\n  at {unrelated[0].where}\n  at "
            f"{inner.where}"
        )
    return inner


def innermost_scan(scans: Iterable[Scan | None]) -> Scan | None:
    """The innermost of some loops, each of which stands in the next."""
    return max((s for s in scans if s is not None), key=lambda s: len(s.chain), default=None)
