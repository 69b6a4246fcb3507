"""Fusion: the operations of one cluster become one loop tree, whose bodies keep values in local variables.

Loops run in the canonical order (row, nested plates, particles, enumerations, branch, event). At each loop prefix,
operations without remaining loops become statements; of the others, as many as possible share the next loop. Two
operations share a loop if one reads the other's result at the very index of that loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ppl.compiler.lower.layout import Dim, Entry, Key, Poly, View, axis_strides, dims_of, strides_of
from ppl.compiler.lower.target import Fusion
from ppl.ir.node import Node
from ppl.ir.types import Axis


@dataclass(eq=False)
class Buffer:
    """Where a stored value lies: `array[offset + shift + ...]`.

    It begins `shift` entries behind `offset`; `rows` says that the row index counts from the first row of the call, or
    from row `first` if that is given, and not from that of the tile.
    """

    array: str
    offset: Poly
    rows: bool = False
    symbol: str = ""
    literal: bool = False
    size: Poly = field(default_factory=Poly)
    first: str = ""
    shift: int = 0


@dataclass(eq=False)
class Value:
    """A value that exists in memory or registers.

    A `stack` is what a loop over rows has stacked: its leading event dimension lies outside the rows of the tile, so
    that a step's entries of all rows are contiguous; `stack` is then the number of rows and other named entries.

    Scratch is written anew in every turn of the loops `prefix`, which run over its first dimensions in memory; it has
    room for the others.
    """

    node: Node
    name: str
    axes: tuple[Axis, ...]
    shape: tuple[int, ...]
    dtype: str
    buffer: Buffer | None = None
    external: bool = False
    accumulates: bool = False
    prefix: tuple[Loop, ...] = ()
    stack: Poly | None = None

    @property
    def block(self) -> int:
        """Contiguous entries of the event."""
        return math.prod(self.shape[1:] if self.stack is not None else self.shape)

    @property
    def steps(self) -> dict[Axis, Poly]:
        """Memory strides of the named axes."""
        return axis_strides(self.axes, self.block)

    def stride(self, coef: int) -> Poly:
        """The distance in memory of entries that are `coef` apart in the flat event."""
        if self.stack is None:
            return Poly.of(coef)
        times, rest = divmod(coef, self.block)
        return Poly.of(rest) + self.stack * (times * self.block)

    def room(self) -> Poly:
        """Number of entries in one turn of the loops `prefix`."""
        total = Poly.of(1)
        for dim in dims_of(self.axes, self.shape)[len(self.prefix) :]:
            total = total * dim.size
        return total

    def extent(self, skip: Iterable[Key] = ()) -> Poly:
        """Number of entries, leaving out the loops `skip`."""
        total = Poly.of(1)
        for dim in dims_of(self.axes, self.shape):
            total = total * (1 if dim.key in skip else dim.size)
        return total


@dataclass(eq=False)
class Access:
    """A read of `value` by an operation; `gather` is (index access, stride or axis) for data-dependent rows."""

    value: Value
    view: View
    gather: tuple[Access, int | Axis] | None = None
    limit: int = 0


@dataclass(eq=False)
class Op:
    """One operation over the loops `domain`; `scattered` are those after which, and only then, its result is whole.

    One that is `last` overwrites what others of its cluster read: it comes after them.
    """

    kind: str
    node: Node
    target: Value
    domain: tuple[Dim, ...]
    args: list[Access]
    scattered: frozenset[Key] = frozenset()
    axes: Mapping[Axis, Key | Entry] = field(default_factory=dict)
    coefs: Mapping[Key, int] = field(default_factory=dict)
    offset: int = 0
    gather: tuple[Access, int | Axis] | None = None
    limit: int = 0
    last: bool = False
    loops: list[Loop] = field(default_factory=list)

    @property
    def reads(self) -> Iterator[Access]:
        """All accesses, those of indices included."""
        for access in (*self.args, *((self.gather[0],) if self.gather else ())):
            yield access
            if access.gather:
                yield access.gather[0]

    @property
    def head(self) -> Dim:
        """The next loop it needs."""
        return self.domain[len(self.loops)]

    def loop_of(self, key: Key) -> Loop | None:
        """The loop over `key`, None where its length is 1."""
        for dim, loop in zip(self.domain, self.loops, strict=False):
            if dim.key == key:
                return loop
        return None

    @property
    def outermost(self) -> int:
        """Depth of the first scattered loop."""
        return next((i for i, d in enumerate(self.domain) if d.key in self.scattered), len(self.domain))

    @property
    def complete(self) -> tuple[Loop, ...]:
        """The loops inside which its result is whole."""
        return tuple(self.loops[: self.outermost])

    @property
    def in_register(self) -> bool:
        """Whether its result, while being made, is one number."""
        if self.kind in ("reduce", "argmax"):
            return all(d.key in self.scattered for d in self.domain[self.outermost :])
        return self.kind == "map"


@dataclass(eq=False)
class Loop:
    """`for` over a named axis or an event dimension."""

    token: Any
    size: Poly
    items: list[Loop | Op] = field(default_factory=list)
    var: str = ""

    def ops(self) -> Iterator[Op]:
        """All operations inside."""
        for item in self.items:
            if isinstance(item, Op):
                yield item
            else:
                yield from item.ops()

    @property
    def innermost(self) -> bool:
        """Whether no loop is inside."""
        return all(isinstance(i, Op) for i in self.items)


def identity_store(node: Node) -> tuple[dict[Axis, Key | Entry], dict[Key, int]]:
    """The store map of a result that is written where it is computed."""
    steps = strides_of(node.type.shape)
    return {a: a for a in node.type.axes}, {k: s for k, s in enumerate(steps) if node.type.shape[k] != 1}


def nest(ops: Sequence[Op], limits: Fusion) -> list[Loop | Op]:
    """Arrange `ops` (in topological order, all at the same loop prefix) into statements and shared loops.

    `limits` are those of the target.
    """
    pending = list(ops)
    items: list[Loop | Op] = []
    while pending:
        waiting = {id(o.target) for o in pending}
        for op in list(pending):
            if len(op.loops) == len(op.domain) and not (
                any(any(d.target is r.value for d in pending if not d.last) for r in op.reads if id(r.value) in waiting)
                or (op.last and any(r.value is op.target for d in pending for r in d.reads))
            ):
                items.append(op)
                pending.remove(op)
        if not pending:
            break
        token, members = _choose(pending, limits)
        loop = Loop(token, members[0].head.size)
        for op in members:
            op.loops.append(loop)
        loop.items = nest(members, limits)
        items.append(loop)
        inside = {id(m) for m in members}
        pending = [o for o in pending if id(o) not in inside]
    return items


def _choose(pending: list[Op], limits: Fusion) -> tuple[Any, list[Op]]:
    """The token whose loop can take in the most, complete groups first."""
    tokens = list(dict.fromkeys(o.head.token for o in pending if len(o.loops) < len(o.domain)))
    best: tuple[Any, list[Op]] | None = None
    rank = (False, 0)
    for token in tokens:
        members = _gather(pending, token, limits)
        wanted = sum(1 for o in pending if len(o.loops) < len(o.domain) and o.head.token == token)
        score = (len(members) == wanted, len(members))
        if members and (best is None or score > rank):
            best, rank = (token, members), score
    if best is None:
        raise AssertionError("the scheduler found a cycle")
    return best


def _gather(pending: list[Op], token: Any, limits: Fusion) -> list[Op]:
    defs: dict[int, list[Op]] = {}
    for op in pending:
        if not op.last:
            defs.setdefault(id(op.target), []).append(op)
    members: list[Op] = []
    inside: set[int] = set()
    arrays: set[int] = set()
    for op in pending:
        if len(op.loops) == len(op.domain) or op.head.token != token or len(members) >= limits.operations:
            continue
        before = [(r, d) for r in op.reads for d in defs.get(id(r.value), ()) if d is not op]
        if not all(id(d) in inside and aligned(op, r, d) for r, d in before):
            continue
        after = [(r, d) for d in pending for r in d.reads if r.value is op.target] if op.last else []
        if not all(id(d) in inside and aligned(d, r, op) for r, d in after):
            continue
        if len(op.domain) - len(op.loops) == 1:
            touched = {id(r.value) for r in op.reads if id(r.value) not in defs}
            touched |= {id(op.target)} if op.target.external or op.kind != "map" else set()
            if members and len(arrays | touched) > limits.arrays:
                continue
            arrays |= touched
        members.append(op)
        inside.add(id(op))
    return members


def aligned(user: Op, read: Access, maker: Op) -> bool:
    """Whether `user`, in the loop that both need next, reads what `maker` has just written there."""
    mine, theirs = user.head.key, maker.head.key
    if theirs in maker.scattered or read.gather is not None:
        return False
    if isinstance(theirs, int):
        same = read.view.coefs.get(mine) == maker.coefs.get(theirs) is not None
        return same and read.view.offset == 0 and maker.offset == 0
    return read.view.axes.get(theirs) == mine and maker.axes.get(theirs) == theirs


def place(ops: Sequence[Op]) -> list[Value]:
    """Decide which results of a cluster need memory; returns those that need only scratch, with their `prefix` set."""
    makers: dict[Value, list[Op]] = {}
    for op in ops:
        makers.setdefault(op.target, []).append(op)
    users: dict[Value, list[Op]] = {}
    for op in ops:
        for read in op.reads:
            if read.value in makers:
                users.setdefault(read.value, []).append(op)
    scratch = []
    for value, defs in makers.items():
        if value.external or value.buffer is not None:
            continue
        far = [u for u in users.get(value, []) if not near(defs, u)]
        if not far and all(d.in_register for d in defs):
            continue
        value.prefix = _common([d.complete for d in defs] + [tuple(u.loops) for u in users.get(value, [])])
        while any(rest(d, len(value.prefix)) is None for d in defs):
            value.prefix = value.prefix[:-1]
        scratch.append(value)
    return scratch


def rest(op: Op, depth: int) -> tuple[Dim, ...] | None:
    """The dimensions of the result of `op` that its first `depth` loops leave: all that follow in memory.

    None where these loops do not run over just the first dimensions in memory, in any order.
    """
    value = op.target
    dims, steps = dims_of(value.axes, value.shape), strides_of(value.shape)
    keys = {d.key for d in op.domain[:depth]}
    moving = {op.axes.get(d.key) if isinstance(d.key, Axis) else _mover(op, steps[d.key]) for d in dims[:depth]}
    return dims[depth:] if depth <= len(dims) and moving == keys else None


def _mover(op: Op, step: int) -> Key | None:
    """The loop that moves a result by `step` entries of its event."""
    return next((key for key, coef in op.coefs.items() if coef == step), None)


def near(defs: Sequence[Op], user: Op) -> bool:
    """Whether `user` can take the result of `defs` from a local variable."""
    if len(defs) != 1 or not defs[0].in_register:
        return False
    path = defs[0].complete
    return tuple(user.loops[: len(path)]) == path


def _common(paths: Sequence[tuple[Loop, ...]]) -> tuple[Loop, ...]:
    out = []
    for group in zip(*paths, strict=False):
        if any(g is not group[0] for g in group):
            break
        out.append(group[0])
    return tuple(out)
