"""What the kernel of one cluster moves and computes, from its loop tree, strides and sizes; nothing is run.

Bytes are counted twice. What threads *ask* for is every read and write of the emitted code; most of it comes from
caches. What a step *touches* is every entry of a value once, so that launches can add up what reaches memory. A read
whose address the inner loops do not move is counted outside of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import NamedTuple

from ppl.compiler.emit.cuda.block import Across, BlockWriter
from ppl.compiler.emit.unit import Unit
from ppl.compiler.lower.views import Poly
from ppl.compiler.schedule.fusion import Access, Loop, Op, Value, near
from ppl.compiler.schedule.stages import Cluster
from ppl.ir.node import Node
from ppl.ir.op_facts import VECTORS
from ppl.ir.types import Axis
from ppl.records import dataclass

FUNCTION = 16
"""Operations that an elementary function counts as."""

DATA = {"int": 8, "int32": 4, "bool": 1}
"""Bytes of an entry of data that are no floats."""


class Asked(NamedTuple):
    """Bytes that threads ask for, and those of them where neighbouring threads touch neighbouring entries."""

    bytes: float = 0.0
    beside: float = 0.0

    def plus(self, bytes_: float, share: float, times: float = 1.0) -> Asked:
        """With more bytes, a share of which is beside one another."""
        return Asked(self.bytes + bytes_ * times, self.beside + bytes_ * share * times)


@dataclass
class Moved:
    """What a step moves: entries read and written by value, bytes asked for, and operations."""

    read: dict[Value, float] = field(default_factory=dict)
    written: dict[Value, float] = field(default_factory=dict)
    asked: Asked = field(default_factory=Asked)
    flops: float = 0.0

    def reads(self, value: Value, count: float) -> None:
        """Count entries that are read."""
        self.read[value] = self.read.get(value, 0.0) + count

    def writes(self, value: Value, count: float) -> None:
        """Count entries that are written."""
        self.written[value] = self.written.get(value, 0.0) + count

    def asks(self, bytes_: float, share: float) -> None:
        """Count bytes that threads ask for, a share of them beside one another."""
        self.asked = self.asked.plus(bytes_, share)

    def add(self, other: Moved, times: float = 1.0) -> None:
        """Add what another step moves, in so many turns."""
        for value, count in other.read.items():
            self.reads(value, count * times)
        for value, count in other.written.items():
            self.writes(value, count * times)
        asked, found = self.asked, other.asked
        self.asked = Asked(asked.bytes + found.bytes * times, asked.beside + found.beside * times)
        self.flops += other.flops * times


@dataclass(frozen=True)
class Sized:
    """A program at some sizes: those of its axes and tiles by name, and the number of slabs."""

    unit: Unit
    sizes: Mapping[str, int]
    slabs: int

    @property
    def itemsize(self) -> int:
        """Bytes of a float of the program."""
        return 4 if self.unit.dtype == "float32" else 8

    def width(self, value: Value) -> int:
        """Bytes of an entry."""
        array = "" if value.buffer is None else value.buffer.array
        if array in self.unit.arrays:
            return DATA.get(self.unit.kind_of()[array], self.itemsize)
        return 8 if value.dtype == "int" or array == "sums" else self.itemsize

    def count(self, size: Poly) -> int:
        """A number of entries."""
        return size.evaluate(self.sizes)

    def turns(self, loops: Sequence[Loop]) -> float:
        """Turns of nested loops."""
        return math.prod(self.count(item.size) for item in loops)

    def most(self, value: Value) -> float:
        """Entries that a value has in memory, those of all slabs together."""
        scratch = value.buffer is not None and value.buffer.symbol.endswith("_s")
        size = self.count(value.room() if scratch else value.extent())
        return size * (self.slabs if value.accumulates or (scratch and value.buffer is not None) else 1)

    def value(self, node: Node) -> Value:
        """The stored value that `node` reads."""
        return self.unit.builder.value(self.unit.builder.base(node))

    def bytes(self, counts: Mapping[Value, float]) -> float:
        """Bytes of so many entries of values, none of which has more than lie in memory."""
        return sum(min(count, self.most(value)) * self.width(value) for value, count in counts.items())


class ClusterTraffic:
    """What the kernel of one cluster moves: `found`."""

    def __init__(self, cluster: Cluster, row: Axis | None, at: Sized):
        self.at, self.found = at, Moved()
        self.writer = BlockWriter(cluster, row, at.unit.builder.target.threads, at.unit.dtype)
        self.writer.function("", {}, "jit")
        for op in cluster.ops:
            for access in op.reads:
                self._read(op, access)
            if op.target.buffer is not None:
                self._written(op)
            self.found.flops += (FUNCTION if op.node.op in VECTORS else 1) * at.turns(op.loops)

    def _read(self, op: Op, access: Access) -> None:
        value, makers = access.value, self.writer.makers.get(access.value, ())
        if value.buffer is None or (access.gather is None and near(makers, op)):
            return
        moving = self._moving(op, value, access.view.axes, access.view.coefs)
        unknown = _unknown(op, access)
        far = [i for i, item in enumerate(op.loops) if item in moving or item in unknown]
        times = self.at.turns(op.loops[: max(far, default=-1) + 1])
        self.found.reads(value, self.at.turns([op.loops[i] for i in far]) * self._copies(value))
        self._ask(value, times, self.writer.reading[op], moving, unknown)

    def _written(self, op: Op) -> None:
        value = op.target
        moving = self._moving(op, value, op.axes, op.coefs)
        unknown = _unknown(op, op)
        once = op.in_register and op.kind in ("reduce", "argmax")
        loops = op.loops[: op.outermost] if once else op.loops
        touched = self.at.turns([x for x in loops if x in moving or x in unknown]) * self._copies(value)
        adds = value.accumulates or (op.kind in ("reduce", "put") and not once)
        self.found.writes(value, touched)
        if adds and not value.accumulates:
            self.found.reads(value, touched)
        for _ in range(2 if adds else 1):
            self._ask(value, self.at.turns(loops), self.writer.storing[op], moving, unknown)

    def _moving(self, op: Op, value: Value, axes: Mapping, coefs: Mapping) -> dict[Loop, int]:
        """How far every loop moves the address of an access."""
        steps = self.writer.addresses.terms(op, value, axes, coefs, 0)[1]
        return {item: self.at.count(step) for item, step in steps.items()}

    def _copies(self, value: Value) -> int:
        """How many slabs have a copy of their own."""
        return self.at.slabs if value.accumulates else 1

    def _ask(self, value: Value, times: float, across: Across, moving: Mapping[Loop, int], unknown: Sequence[Loop]
             ) -> None:  # fmt: skip
        share = 0.0 if across is None else beside(across, moving, unknown, self.at)
        self.found.asks(times * self.at.width(value), share)


def beside(across: Sequence[Loop], moving: Mapping[Loop, int], unknown: Sequence[Loop], at: Sized) -> float:
    """The share of neighbouring turns of some loops, taken as one, whose addresses are the same or neighbouring.

    `moving` says how far every loop moves the address, `unknown` are those that move it as data say.
    """
    share, inner, back = 0.0, 1.0, 0
    for item in reversed(across):
        size = at.count(item.size)
        if size == 1:
            continue
        if item in unknown:
            return share
        step = moving.get(item, 0)
        share += (1 - 1 / size) / inner if step - back in (0, 1) else 0.0
        inner, back = inner * size, back + step * (size - 1)
    return share + 1 / inner


def _unknown(op: Op, access: Access | Op) -> list[Loop]:
    """The loops that move the index of a read or write."""
    if access.gather is None:
        return []
    view = access.gather[0].view
    return [item for key in (*view.axis_keys(), *view.coefs) if (item := op.loop_of(key)) is not None]
