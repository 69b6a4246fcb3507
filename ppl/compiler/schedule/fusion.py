"""Fusion: the operations of one cluster become one loop tree, whose bodies keep values in local variables.

Loops run in the canonical order (row, nested plates, particles, enumerations, branch, event). At each loop prefix,
operations without remaining loops become statements; of the others, as many as possible share the next loop. Two
operations share a loop if one reads the other's result at the very index of that loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from ppl.compiler.lower.views import Dim, Entry, Key, Poly, View, axis_strides, dims_of, row_axis, strides_of
from ppl.ir.node import Node
from ppl.ir.types import Axis
from ppl.records import dataclass


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

    One by `columns` has the rows of a tile side by side, once for every entry of a row; of a stack, in every step.

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
    columns: bool = False

    @property
    def block(self) -> int:
        """Contiguous entries of the event."""
        return math.prod(self.shape[1:] if self.stack is not None else self.shape)

    @property
    def turns(self) -> int:
        """Steps of a stack; 1 of what is none."""
        return self.shape[0] if self.stack is not None else 1

    @property
    def steps(self) -> dict[Axis, Poly]:
        """Memory strides of the named axes."""
        if not self.columns:
            return axis_strides(self.axes, self.block)
        row = row_axis(self.axes)
        others = axis_strides(tuple(a for a in self.axes if a != row), self.block)
        return {a: Poly.of(1) if a == row else others[a] * "n" for a in self.axes}

    def stride(self, coef: int) -> Poly:
        """The distance in memory of entries that are `coef` apart in the flat event."""
        apart = Poly.of("n") if self.columns else Poly.of(1)
        if self.stack is None:
            return apart * coef
        times, rest = divmod(coef, self.block)
        return apart * rest + self.stack * (times * self.block)

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
    def begins(self) -> int:
        """Depth at which its sums are cleared: where they begin, or before if what is left there lies apart."""
        if self.in_register:
            return self.outermost
        return next(d for d in range(self.outermost, -1, -1) if rest(self, d) is not None)

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
    """`for` over a named axis or an event dimension.

    `held` is the first of several loops whose turns are those of the same threads: see `threads/held.py`.
    """

    token: Any
    size: Poly
    items: list[Loop | Op] = field(default_factory=list)
    var: str = ""
    held: Loop | None = None

    def ops(self) -> Iterator[Op]:
        """All operations inside."""
        for item in self.items:
            if isinstance(item, Op):
                yield item
            else:
                yield from item.ops()

    def begun(self) -> list[Op]:
        """Operations whose sums are cleared before it."""
        return [op for op in self.ops() if op.begins < len(op.loops) and op.loops[op.begins] is self]

    @property
    def innermost(self) -> bool:
        """Whether no loop is inside."""
        return all(isinstance(i, Op) for i in self.items)


def identity_store(node: Node) -> tuple[dict[Axis, Key | Entry], dict[Key, int]]:
    """The store map of a result that is written where it is computed."""
    steps = strides_of(node.type.shape)
    return {a: a for a in node.type.axes}, {k: s for k, s in enumerate(steps) if node.type.shape[k] != 1}


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
    return len(user.loops) >= len(path) and all(map(_same, user.loops, path))


def _same(a: Loop, b: Loop) -> bool:
    """Whether the turns of both loops are those of one, or of the same threads."""
    return a is b or (a.held is not None and a.held is b.held)


def _common(paths: Sequence[tuple[Loop, ...]]) -> tuple[Loop, ...]:
    out = []
    for group in zip(*paths, strict=False):
        if any(g is not group[0] for g in group):
            break
        out.append(group[0])
    return tuple(out)
