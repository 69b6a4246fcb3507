"""Addresses: where an entry lies in the flat arrays, as an expression over loop variables.

In the checked build (`PPL_CHECK=1`) every entry and every view is tested against the buffer of its value; in other
builds the same functions write the plain index
and the plain view."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from ppl.checked import CHECKED
from ppl.compiler.emit.code import Assign, Expression, ExpressionLike, Literal, Name, as_expression, call, sum_of
from ppl.compiler.emit.scalar import kernel_call, to_int
from ppl.compiler.lower.sizes import Poly
from ppl.compiler.lower.views import FixedIndex, LoopKey
from ppl.compiler.schedule.stages import Buffer, Cluster, Loop, Op, Value
from ppl.ir.types import Axis
from ppl.tuning import SLICED_LOOP

_access_descriptions: dict[int, str] = {}


class OwnedRange(NamedTuple):
    """What a value owns of its array: the first entry, the number of entries, and the tag of who reads or writes."""

    start: ExpressionLike
    size: ExpressionLike
    number: Expression


def access_tag(user: str, value: Value) -> Expression:
    """The number under which a violation names the function `user` and what it reads or writes there."""
    text = f"'{value.name}' in {user}"
    number = zlib.crc32(text.encode()) & 0x7FFFFFFF
    _access_descriptions[number] = text
    return to_int(number)


def describe_access(number: int) -> str:
    """What a tag stands for."""
    return _access_descriptions.get(number, "a kernel")


def checked_index(address: ExpressionLike, owned: OwnedRange | None) -> Expression:
    """The index `address`, in the checked build tested against what is owned."""
    return kernel_call("inside", address, *owned) if owned is not None else as_expression(address)


def checked_view(array: str, address: ExpressionLike, count: ExpressionLike, owned: OwnedRange | None) -> Expression:
    """The view of `count` entries of `array` from `address` on."""
    if owned is not None:
        return kernel_call("part_of", array, address, count, *owned)
    return call("part", array, address, count)


def buffer_start(value: Value) -> Expression:
    """Where the buffer of `value` begins in its array, as it stands outside of kernels."""
    buffer = value.buffer
    assert buffer is not None
    return as_expression(buffer.offset) + buffer.shift if buffer.shift else as_expression(buffer.offset)


def owned_range(value: Value, user: str) -> OwnedRange | None:
    """What `value` owns of its array outside of kernels, in the checked build."""
    buffer = value.buffer
    assert buffer is not None
    if not CHECKED:
        return None
    if value.node.op == "input":
        return OwnedRange(0, array_length(buffer.array), access_tag(user, value))
    return OwnedRange(
        buffer_start(value), buffer.size if buffer.size.terms else value.extent(), access_tag(user, value)
    )


def array_length(array: str) -> Expression:
    """The number of entries of an array."""
    return Name(array).dot("shape").at(0)


def view_from(value: Value, at: Expression, user: str) -> Expression:
    """The view of the buffer of `value` from `at` on."""
    assert value.buffer is not None
    owned = owned_range(value, user)
    return (
        Name(value.buffer.array).after(at) if owned is None else kernel_call("rest_of", value.buffer.array, at, *owned)
    )


def product_view_from(value: Value, at: Expression, user: str) -> Expression:
    """The same for products, which need no count of references."""
    assert value.buffer is not None
    return view_from(value, at, user) if CHECKED else call("tail", value.buffer.array, at)


def view_of_entries(value: Value, at: Expression, count: ExpressionLike, user: str) -> Expression:
    """The view of `count` entries of the buffer of `value` from `at` on."""
    assert value.buffer is not None
    owned = owned_range(value, user)
    if owned is None:
        return Name(value.buffer.array).cut(at, as_expression(count))
    return checked_view(value.buffer.array, at, count, owned)


def entry_of(value: Value, at: Expression, user: str) -> Expression:
    """One entry of the buffer of `value`."""
    assert value.buffer is not None
    return Name(value.buffer.array).at(checked_index(at, owned_range(value, user)))


EntryPlace = tuple[Poly, dict[Loop, Poly]]
"""Where an entry lies in its buffer: what does not move, and how far every loop moves it."""


class KernelArguments:
    """What a kernel is passed, by the names under which it knows it; grows while it is written."""

    def __init__(self) -> None:
        self.values: dict[str, Expression] = {}

    def name(self, name: str, value: ExpressionLike | None = None) -> Name:
        """An argument; it is passed what has the same name outside, unless `value` says otherwise."""
        self.values.setdefault(name, as_expression(name if value is None else value))
        return Name(name)

    def size(self, poly: Poly) -> Expression:
        """A size, whose symbols are arguments."""
        for name in sorted(poly.names):
            self.name(name)
        return as_expression(poly)


class HoistedLocals:
    """Locals that are set before an innermost loop; `views` are those that it walks through."""

    def __init__(self) -> None:
        self.statements: list[Assign] = []
        self.memo: dict[Expression, Name] = {}
        self.views: list[str] = []


def rows_before_tile(buffer: Buffer, step: Poly) -> Expression:
    """How far from the beginning of `buffer` the tile begins, where rows are `step` apart."""
    return (Name("t0") - buffer.first if buffer.first else Name("t0")) * step


class AddressWriter:
    """Sizes and addresses in the kernel of one cluster: expressions over what it is `passed`."""

    def __init__(self, cluster: Cluster, row: Axis | None, passed: KernelArguments):
        self.cluster, self.row, self.passed = cluster, row, passed
        self.before = HoistedLocals()
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
            return buffer_start(value)
        return self.passed.name(buffer.symbol, tile_start(value, self.row))

    def array(self, value: Value) -> str:
        """The array that `value` lies in."""
        assert value.buffer is not None
        return self.passed.name(value.buffer.array).name

    def terms(
        self, op: Op, value: Value, axes: Mapping[Axis, LoopKey | FixedIndex], coefs: Mapping[LoopKey, int], offset: int
    ) -> EntryPlace:
        """Where `op` reads or writes `value`."""
        start = value.stride(offset)
        terms: dict[Loop, Poly] = {}
        steps = value.strides
        for axis, key in axes.items():
            if isinstance(key, FixedIndex):
                start = start + steps[axis] * key.position
            elif (loop := op.loop_of(key)) is not None and loop not in value.prefix:
                terms[loop] = terms.get(loop, Poly()) + steps[axis]
        for key, coef in coefs.items():
            if (loop := op.loop_of(key)) is not None and loop not in value.prefix:
                terms[loop] = terms.get(loop, Poly()) + value.stride(coef)
            if key == self.row and self.row is not None:  # an event dimension seen as rows: the tile begins at t0
                start = start + Poly.of("t0") * coef
        return start, terms

    def address(self, base: Expression, place: EntryPlace, skip: Loop | None = None, extra: Expression | None = None
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
        return sum_of(parts) if parts else Literal(0)

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

    def entry(self, value: Value, place: EntryPlace, inner: Loop | None, gather: Expression | None, moving: bool
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
        return Name(array).at(checked_index(address, self._owned(value)))

    def cut(self, value: Value, array: str, address: Expression, count: ExpressionLike) -> Expression:
        """The view of `count` entries of `value` from `address` on."""
        return checked_view(array, address, count, self._owned(value))

    def filled(self, value: Value, array: str, address: Expression, count: Expression) -> Expression:
        """The same as the target of an assignment to all entries."""
        return self.cut(value, array, address, count).whole() if CHECKED else Name(array).cut(address, count)

    def _owned(self, value: Value) -> OwnedRange | None:
        """What `value` owns of its array in this tile, in the checked build."""
        if not CHECKED:
            return None
        assert value.buffer is not None
        number = access_tag(self.cluster.name, value)
        if value.node.op == "input":
            return OwnedRange(0, array_length(value.buffer.array), number)
        size = value.room()
        if value.stack is not None:
            size = value.stack * (value.shape[0] * value.block)
        elif self.row is not None and self.row in value.axes and not value.prefix:
            size = value.extent(skip=(self.row,)) * "n"
        return OwnedRange(self.base(value), self.passed.size(size), number)


def tile_start(value: Value, row: Axis | None) -> Expression:
    """Where the first row of the tile lies in the array of `value`."""
    buffer = value.buffer
    assert buffer is not None
    step = value.strides.get(row) if row is not None else None
    if not buffer.rows or step is None:
        return buffer_start(value)
    moved = rows_before_tile(buffer, step)
    return buffer_start(value) + moved if buffer_start(value) != Literal(0) else moved


RowAxis = Axis | None
