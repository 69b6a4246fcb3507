"""Emission of addresses: where an entry lies in the flat arrays, as an expression over loop variables."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from ppl.checked import CHECKED
from ppl.compiler.emit.checks import Owned, begin, cut, entry, length, tag
from ppl.compiler.emit.code import Assign, Expression, Given, Literal, Name, term, total
from ppl.compiler.lower.views import Entry, Key, Poly
from ppl.compiler.schedule.fusion import Buffer, Loop, Op, Value
from ppl.compiler.schedule.stages import Cluster
from ppl.ir.types import Axis
from ppl.tuning import SLICED_LOOP

Place = tuple[Poly, dict[Loop, Poly]]
"""Where an entry lies in its buffer: what does not move, and how far every loop moves it."""


class Passed:
    """What a kernel is passed, by the names under which it knows it; grows while it is written."""

    def __init__(self) -> None:
        self.values: dict[str, Expression] = {}

    def name(self, name: str, value: Given | None = None) -> Name:
        """An argument; it is passed what has the same name outside, unless `value` says otherwise."""
        self.values.setdefault(name, term(name if value is None else value))
        return Name(name)

    def size(self, poly: Poly) -> Expression:
        """A size, whose symbols are arguments."""
        for name in sorted(poly.names):
            self.name(name)
        return term(poly)


class Hoisted:
    """Locals that are set before an innermost loop; `views` are those that it walks through."""

    def __init__(self) -> None:
        self.statements: list[Assign] = []
        self.memo: dict[Expression, Name] = {}
        self.views: list[str] = []


def before_tile(buffer: Buffer, step: Poly) -> Expression:
    """How far from the beginning of `buffer` the tile begins, where rows are `step` apart."""
    return (Name("t0") - buffer.first if buffer.first else Name("t0")) * step


class Addresses:
    """Sizes and addresses in the kernel of one cluster: expressions over what it is `passed`."""

    def __init__(self, cluster: Cluster, row: Axis | None, passed: Passed):
        self.cluster, self.row, self.passed = cluster, row, passed
        self.before = Hoisted()
        self._numbers = itertools.count(1)

    def size(self, loop: Loop) -> Expression:
        """How often a loop runs."""
        if self.row is not None and loop.token == self.row:
            return self.passed.name("n")
        return self.passed.size(loop.size)

    def base(self, value: Value) -> Expression:
        """Where the buffer of `value` begins for this tile."""
        buffer = value.buffer
        assert buffer is not None
        if buffer.array in ("w", "v") and value in self.cluster.scratch:
            return self.passed.name(buffer.symbol)
        if buffer.literal:
            return begin(value)
        return self.passed.name(buffer.symbol, start_of(value, self.row))

    def array(self, value: Value) -> str:
        """The array that `value` lies in."""
        assert value.buffer is not None
        return self.passed.name(value.buffer.array).name

    def terms(self, op: Op, value: Value, axes: Mapping[Axis, Key | Entry], coefs: Mapping[Key, int], offset: int
              ) -> Place:  # fmt: skip
        """Where `op` reads or writes `value`."""
        start = value.stride(offset)
        terms: dict[Loop, Poly] = {}
        steps = value.steps
        for axis, key in axes.items():
            if isinstance(key, Entry):
                start = start + steps[axis] * key.position
            elif (loop := op.loop_of(key)) is not None and loop not in value.prefix:
                terms[loop] = terms.get(loop, Poly()) + steps[axis]
        for key, coef in coefs.items():
            if (loop := op.loop_of(key)) is not None and loop not in value.prefix:
                terms[loop] = terms.get(loop, Poly()) + value.stride(coef)
            if key == self.row and self.row is not None:  # an event dimension seen as rows: the tile begins at t0
                start = start + Poly.of("t0") * coef
        return start, terms

    def address(self, base: Expression, place: Place, skip: Loop | None = None, extra: Expression | None = None
                ) -> Expression:  # fmt: skip
        """A place as an index of the array; all but the loop `skip` move it."""
        start, terms = place
        parts = [] if base == Literal(0) else [base]
        for loop, step in terms.items():
            if loop is not skip:
                parts.append(self._moved(loop, step))
        if start.terms:
            parts.append(self.passed.size(start))
        if extra is not None:
            parts.append(extra)
        return total(parts) if parts else Literal(0)

    def _moved(self, loop: Loop, step: Poly) -> Expression:
        """How far a loop moves, by `step` in every turn."""
        self.passed.size(step)
        return Name(loop.var) if step.constant == 1 else Name(loop.var) * step

    def hoist(self, value: Expression, stem: str, view: bool = False) -> Name:
        """A local that holds `value`, set before the current innermost loop."""
        before = self.before
        if value not in before.memo:
            before.memo[value] = name = Name(f"{stem}_{next(self._numbers)}h")
            before.statements.append(Assign(name, value))
            before.views += [name.name] if view else []
        return before.memo[value]

    def entry(self, value: Value, place: Place, inner: Loop | None, gather: Expression | None, moving: bool
                ) -> Expression:  # fmt: skip
        """One entry of `value`, of a view that is cut before the loop `inner` where that pays."""
        assert value.buffer is not None, f"{value.name} has no memory"
        array, base, step = self.array(value), self.base(value), None if inner is None else place[1].get(inner)
        stride = None if step is None else step.constant
        short = inner is not None and (size := inner.size.constant) is not None and size <= SLICED_LOOP
        if inner is None or moving or short or stride is None or stride < 0:
            return self.at(value, array, self.address(base, place, None, gather))
        address, count = self.address(base, place, inner, gather), self.size(inner)
        if stride == 1:
            return self.hoist(self.cut(value, array, address, count), value.name, True).at(inner.var)
        view = self.cut(value, array, address, (count - 1) * stride + 1)
        return self.hoist(view, value.name, True).at(Name(inner.var) * stride)

    def at(self, value: Value, array: str, address: Expression) -> Expression:
        """The entry of `value` at `address`."""
        return Name(array).at(entry(address, self._owned(value)))

    def cut(self, value: Value, array: str, address: Expression, count: Given) -> Expression:
        """The view of `count` entries of `value` from `address` on."""
        return cut(array, address, count, self._owned(value))

    def filled(self, value: Value, array: str, address: Expression, count: Expression) -> Expression:
        """The same as the target of an assignment to all entries."""
        return self.cut(value, array, address, count).whole() if CHECKED else Name(array).cut(address, count)

    def _owned(self, value: Value) -> Owned | None:
        """What `value` owns of its array in this tile, in the checked build."""
        if not CHECKED:
            return None
        assert value.buffer is not None
        number = tag(self.cluster.name, value)
        if value.node.op == "input":
            return Owned(0, length(value.buffer.array), number)
        size = value.room()
        if value.stack is not None:
            size = value.stack * (value.shape[0] * value.block)
        elif self.row is not None and self.row in value.axes and not value.prefix:
            size = value.extent(skip=(self.row,)) * "n"
        return Owned(self.base(value), self.passed.size(size), number)


def start_of(value: Value, row: Axis | None) -> Expression:
    """Where the first row of the tile lies in the array of `value`."""
    buffer = value.buffer
    assert buffer is not None
    step = value.steps.get(row) if row is not None else None
    if not buffer.rows or step is None:
        return begin(value)
    moved = before_tile(buffer, step)
    return begin(value) + moved if begin(value) != Literal(0) else moved
