"""Values while LLVM code is written: numbers and their arithmetic, views of arrays, tuples, Python values.

Numbers of two types meet in the type in which Numba lets them meet. Nobody tests the bounds of views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from ppl.kernels.internals.lowering import Frame, NotWritten
from ppl.records import dataclass

I64, F64, BOOL, NONE = types.int64, types.float64, types.boolean, types.none

WORD, BIT = ir.IntType(64), ir.IntType(1)

TYPES: dict[Any, Any] = {
    np.float32: types.float32,
    np.float64: F64,
    np.int64: I64,
    np.uint64: types.uint64,
    np.int32: types.int32,
    np.bool_: BOOL,
}
"""Numba's types of NumPy's, which emitted code calls to convert numbers."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number or truth value of a type of Numba."""

    kind: Any
    code: Any

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole number, with a sign or without."""
        return isinstance(self.kind, types.Integer)


@dataclass(frozen=True, slots=True)
class View:
    """Entries that lie side by side in memory; `shape` are their sizes, the last one that of the innermost axis.

    `buffer` says which memory that is (`overlaps`), "" if it is not known.
    """

    kind: Any
    data: Any
    shape: Sequence[Any]
    buffer: str = ""


@dataclass(frozen=True, slots=True)
class TupleValue:
    """A tuple."""

    items: Sequence[Value]


@dataclass(frozen=True, slots=True)
class PythonValue:
    """A value of Python: a function, a module, a type, a constant."""

    value: Any


@dataclass(frozen=True, slots=True)
class ViewAttribute:
    """An attribute of a view: its shape, or a method."""

    view: View
    name: str


Value = Number | View | TupleValue | PythonValue | ViewAttribute


def codes_of(value: Number | View) -> list[Any]:
    """The code of a number; pointer and sizes of a view."""
    return [value.code] if isinstance(value, Number) else [value.data, *value.shape]


ARITHMETIC_INSTRUCTIONS = {"+": "add", "-": "sub", "*": "mul"}

BITWISE_INSTRUCTIONS = {"&": "and_", "|": "or_"}


class NumberWriter:
    """Writes arithmetic into a function."""

    def __init__(self, frame: Frame):
        self.frame, self.builder = frame, frame.builder

    def of(self, value: Value, kind: Any = None) -> Number:
        """`value` as a number, of the type `kind` if one is given."""
        if isinstance(value, PythonValue):
            value = self._constant(value.value, kind)
        if not isinstance(value, Number):
            raise NotWritten(f"a {type(value).__name__} where a number is expected")
        return value if kind is None else self.converted(value, kind)

    def size(self, value: Value) -> Any:
        """The code of a whole number."""
        found = self.of(value)
        if not found.is_whole:
            raise NotWritten(f"{found.kind} where a whole number is expected")
        return self.converted(found, I64).code

    def _constant(self, value: Any, kind: Any) -> Number:
        """A constant; a whole number is of the type `kind` if that is one of numbers."""
        found: Any
        if isinstance(value, bool | np.bool_):
            return Number(BOOL, BIT(int(value)))
        if isinstance(value, np.generic):
            found, value = TYPES.get(type(value)), value.item()
        elif isinstance(value, int):
            found = kind if isinstance(kind, types.Integer | types.Float) else I64
        else:
            found = F64 if isinstance(value, float) else None
        if found is None or (isinstance(found, types.Integer) and not found.minval <= value <= found.maxval):
            raise NotWritten(f"{value!r} as a constant")
        return Number(found, self.frame.constant(found, value))

    def converted(self, x: Number, kind: Any) -> Number:
        """A number as another type."""
        if x.kind == kind:
            return x
        return self.truth(x) if kind == BOOL else Number(kind, self.frame.cast(x.code, x.kind, kind))

    def truth(self, x: Number) -> Number:
        """Whether a number is not 0."""
        return x if x.kind == BOOL else Number(BOOL, self._compared("!=", x, Number(x.kind, x.code.type(0))))

    # two numbers

    def together(self, a: Any, b: Any) -> Any:
        """The type in which numbers of two types meet."""
        if a == b or BOOL in (a, b):
            return b if a == BOOL else a
        if all(isinstance(k, types.Integer) for k in (a, b)):
            if a.signed and b.signed:
                return I64
            raise NotWritten("a word and a whole number together")
        return F64

    def alike(self, left: Value, right: Value) -> tuple[Number, Number]:
        """Two numbers in one type; a whole number of the text takes the type of the other."""
        if isinstance(left, PythonValue) and isinstance(right, Number) and right.is_whole and type(left.value) is int:
            return self.of(left, right.kind), right
        if isinstance(right, PythonValue) and isinstance(left, Number) and left.is_whole and type(right.value) is int:
            return left, self.of(right, left.kind)
        a, b = self.of(left), self.of(right)
        kind = self.together(a.kind, b.kind)
        return self.converted(a, kind), self.converted(b, kind)

    def binary(self, op: str, left: Value, right: Value) -> Number:
        """`left op right` for all operators but "//"."""
        a, b = self.alike(left, right)
        builder, kind = self.builder, a.kind
        if op in BITWISE_INSTRUCTIONS and not isinstance(kind, types.Float):
            return Number(kind, getattr(builder, BITWISE_INSTRUCTIONS[op])(a.code, b.code))
        if kind == BOOL:
            return self.binary(op, self.converted(a, I64), self.converted(b, I64))
        if isinstance(kind, types.Float):
            if op == "/" or op in ARITHMETIC_INSTRUCTIONS:
                return Number(kind, getattr(builder, "f" + ARITHMETIC_INSTRUCTIONS.get(op, "div"))(a.code, b.code))
        elif op in ARITHMETIC_INSTRUCTIONS:
            return Number(
                kind,
                getattr(builder, ARITHMETIC_INSTRUCTIONS[op])(a.code, b.code, flags=("nsw",) if kind.signed else ()),
            )
        elif op == "/":
            return self.binary(op, self.converted(a, F64), self.converted(b, F64))
        raise NotWritten(f"{op} of {kind}")

    def larger(self, left: Value, right: Value) -> Number:
        """The larger of two floats, NaN if either is: what LLVM knows, so that the largest of many takes vectors."""
        a, b = self.alike(left, right)
        kind = a.code.type
        fn = self.builder.module.declare_intrinsic("llvm.maximum", [kind], ir.FunctionType(kind, [kind, kind]))
        return Number(a.kind, self.builder.call(fn, [a.code, b.code], fastmath=("nsz",)))

    def compared(self, op: str, left: Value, right: Value) -> Any:
        """The code of a comparison."""
        return self._compared(op, *self.alike(left, right))

    def _compared(self, op: str, a: Number, b: Number) -> Any:
        builder = self.builder
        if isinstance(a.kind, types.Float):
            return (builder.fcmp_unordered if op == "!=" else builder.fcmp_ordered)(op, a.code, b.code)
        signed = a.is_whole and a.kind.signed
        return (builder.icmp_signed if signed else builder.icmp_unsigned)(op, a.code, b.code)

    def negative(self, x: Number) -> Number:
        """Minus a number."""
        if isinstance(x.kind, types.Float):
            return Number(x.kind, self.builder.fneg(x.code))
        if x.kind != I64:
            raise NotWritten(f"minus {x.kind}")
        return Number(I64, self.builder.neg(x.code))

    def selected(self, test: Any, left: Value, right: Value) -> Number:
        """`left` where `test` holds, else `right`; both are computed."""
        a, b = self.alike(left, right)
        return Number(a.kind, self.builder.select(test, a.code, b.code))


ZERO = ir.Constant(WORD, 0)


class IndexRange(NamedTuple):
    """Positions along one axis: those of `size` entries from `start` on, or one without a `size`."""

    start: Any
    size: Any = None


def cut_view(builder: Any, of: View, ranges: Sequence[IndexRange]) -> View:
    """What positions along the first axes take of a view; without a shape if that is one entry."""
    data, shape = of.data, [r.size for r in ranges if r.size is not None]
    if len(shape) > (ranges[-1].size is not None):
        raise NotWritten("a range in front of another position")
    for at, (start, _) in enumerate(ranges):
        if isinstance(start, ir.Constant) and isinstance(start.constant, int) and start.constant < 0:
            raise NotWritten("a position counted from the end")
        for size in of.shape[at + 1 :]:
            start = builder.mul(start, size, flags=("nsw",))
        data = builder.gep(data, [start])
    shape += of.shape[len(ranges) :]
    return View(of.kind.copy(ndim=max(1, len(shape))), data, shape, of.buffer)


def reshape_view(of: View, sizes: Sequence[Any]) -> View:
    """A view in another shape."""
    return View(of.kind.copy(ndim=len(sizes)), of.data, sizes, of.buffer)


def reinterpret_view(builder: Any, of: View, dtype: Any, pointer: Any) -> View:
    """The same memory as numbers of another type, to which `pointer` is one."""
    old, (size, *others) = of.kind.dtype, of.shape
    if others or not all(isinstance(t, types.Integer | types.Float) for t in (old, dtype)):
        raise NotWritten(f"{of.kind} as {dtype}")
    if dtype.bitwidth != old.bitwidth:
        size = builder.udiv(builder.mul(size, WORD(old.bitwidth), flags=("nsw",)), WORD(dtype.bitwidth))
    return View(of.kind.copy(dtype=dtype), builder.bitcast(of.data, pointer), [size])
