"""LLVM code of expressions; functions are typed and called by Numba's own rules."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numba import types

from ppl.compiler.emit.code import (
    And,
    Attribute,
    Binary,
    Call,
    Choice,
    Compare,
    Expression,
    Index,
    Literal,
    Name,
    Slice,
    Tuple,
    Unary,
)
from ppl.compiler.emit.llvm.aliasing import AliasScopes
from ppl.compiler.emit.llvm.values import (
    BIT,
    BOOL,
    I64,
    TYPES,
    WORD,
    ZERO,
    IndexRange,
    Number,
    NumberWriter,
    PythonValue,
    TupleValue,
    Value,
    View,
    ViewAttribute,
    codes_of,
    cut_view,
    reinterpret_view,
    reshape_view,
)
from ppl.kernels.cpu import memory
from ppl.kernels.cpu.threads.regions import array_at, array_of
from ppl.kernels.cpu.training.parallel_optimizers import own_copy
from ppl.kernels.generated.f32 import scalar
from ppl.kernels.generated.f64 import scalar as scalar_module
from ppl.kernels.internals.lowering import Frame, NotWritten

PYTHON_NUMBERS = bool | int | float | np.generic

VIEW_FUNCTIONS = (array_at, array_of, own_copy)
"""Functions that return a part of an array that somebody else holds."""


class CallWriter:
    """Writes calls into a function."""

    def __init__(self, frame: Frame, numbers: NumberWriter):
        self.frame, self.builder, self.numbers = frame, frame.builder, numbers
        self._called: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def apply(self, function: Any, values: Sequence[Value]) -> Value:
        """A call, by Numba's rules."""
        given = [self._passed(v) for v in values]
        key = function, *(kind for kind, _ in given)
        if key not in self._called:
            self._called[key] = self.frame.signature(function, key[1:])
        signature, kind = self._called[key]
        codes = [self.frame.cast(code, old, new) for (old, code), new in zip(given, signature.args, strict=True)]
        if function not in VIEW_FUNCTIONS and isinstance(signature.return_type, types.Array | types.BaseTuple):
            raise NotWritten(f"what {function} returns, which may be an array of its own")
        return self.received(signature.return_type, self.frame.call(signature, kind, codes), True)

    def _passed(self, value: Value) -> tuple[Any, Any]:
        """Type and code of a value as functions take it."""
        if isinstance(value, PythonValue):
            if isinstance(value.value, type) and value.value in TYPES:
                return types.NumberClass(TYPES[value.value]), self.frame.dummy()
            if callable(value.value):
                return self.frame.typing.resolve_value_type(value.value), self.frame.dummy()
            value = self.numbers.of(value)
        if isinstance(value, Number):
            return value.kind, value.code
        if isinstance(value, View):
            return value.kind, self.frame.packed(value.kind, value.data, value.shape)
        if isinstance(value, ViewAttribute):
            raise NotWritten("a method as an argument")
        parts = [self._passed(item) for item in value.items]
        return self.frame.tuple([kind for kind, _ in parts], [code for _, code in parts])

    def received(self, kind: Any, code: Any, returned: bool) -> Value:
        """What a call has `returned`, or an argument."""
        if isinstance(kind, types.Array):
            if kind.layout != "C":
                raise NotWritten(f"an array of layout {kind.layout}")
            if returned:
                self.frame.release(kind, code)
            return View(kind, *self.frame.array(kind, code))
        if isinstance(kind, types.Literal):
            return Number(types.unliteral(kind), self.frame.cast(code, kind, types.unliteral(kind)))
        if isinstance(kind, types.BaseTuple):
            kinds: Any = kind
            parts = enumerate(kinds)
            return TupleValue([self.received(k, self.builder.extract_value(code, i), returned) for i, k in parts])
        return PythonValue(None) if isinstance(kind, types.NoneType) else Number(kind, code)


BUILTINS = {f.__name__: f for f in (min, max, abs)}


class ExpressionWriter:
    """Writes the expressions of one function; `locals` are the values of its names, `slots` where those lie that are
    set in several places."""

    def __init__(self, frame: Frame, overlaps: AliasScopes):
        self.frame, self.builder, self.numbers = frame, frame.builder, NumberWriter(frame)
        self.overlaps = overlaps
        self.locals: dict[str, Value] = {}
        self.slots: dict[str, tuple[Any, list[Any]]] = {}
        self.calls = CallWriter(frame, self.numbers)

    def value(self, x: Expression) -> Value:
        """The value of an expression."""
        return RULES[type(x)](self, x)

    def number(self, x: Expression, kind: Any = None) -> Number:
        """The value of an expression that is a number, in the type `kind` if one is given."""
        return self.numbers.of(self.value(x), kind)

    def size(self, x: Expression) -> Any:
        """The code of a whole number."""
        return self.numbers.size(self.value(x))

    def test(self, x: Expression) -> Any:
        """The code of a truth value."""
        return self.numbers.truth(self.number(x)).code

    def view(self, x: Expression) -> View:
        """The value of an expression that is a view."""
        found = self.value(x)
        if not isinstance(found, View):
            raise NotWritten("no array where one is expected")
        return found

    # names, attributes, positions

    def _name(self, x: Name) -> Value:
        if x.name in self.slots:
            kind, places = self.slots[x.name]
            code, *shape = map(self.builder.load, places)
            return View(kind, code, shape) if shape else Number(kind, code)
        if x.name in self.locals:
            return self.locals[x.name]
        scope = self.frame.scope if x.name in self.frame.scope else BUILTINS
        if x.name not in scope:
            raise NotWritten(f"{x.name} before it is set")
        return PythonValue(scope[x.name])

    def _attribute(self, x: Attribute) -> Value:
        of = self.value(x.value)
        if isinstance(of, PythonValue) and isinstance(of.value, ModuleType):
            return PythonValue(getattr(of.value, x.name))
        if isinstance(of, View) and x.name in ("shape", "view", "reshape"):
            return ViewAttribute(of, x.name)
        raise NotWritten(f"attribute {x.name}")

    def _index(self, x: Index) -> Value:
        of = self.value(x.array)
        if isinstance(of, View):
            found = self.cut(self.overlaps.placed(of, x.array, x.index), x.index)
            return found if found.shape else Number(found.kind.dtype, self.overlaps.load(found))
        if isinstance(x.index, Literal) and isinstance(of, TupleValue):
            return of.items[x.index.value]
        if isinstance(x.index, Literal) and isinstance(of, ViewAttribute) and of.name == "shape":
            return Number(I64, of.view.shape[x.index.value])
        raise NotWritten("an entry of what is no array")

    def cut(self, of: View, index: Expression) -> View:
        """What an index takes of a view; without a shape if that is one entry."""
        parts = index.items if isinstance(index, Tuple) else (index,)
        ranges = [self._range(x, of.shape[i]) if isinstance(x, Slice) else IndexRange(self.size(x))
                  for i, x in enumerate(parts)]  # fmt: skip
        return cut_view(self.builder, of, ranges)

    def _range(self, x: Slice, length: Any) -> IndexRange:
        """A span of an axis; one from `a` to `a + n` has n entries."""
        start = None if x.start is None else self.size(x.start)
        if isinstance(x.stop, Binary) and x.stop.op == "+" and x.stop.left == x.start:
            return IndexRange(start, self.size(x.stop.right))
        stop = length if x.stop is None else self.size(x.stop)
        return (
            IndexRange(ZERO, stop)
            if start is None
            else IndexRange(start, self.builder.sub(stop, start, flags=("nsw",)))
        )

    # operators

    def _unary(self, x: Unary) -> Value:
        if x.op == "not":
            return Number(BOOL, self.builder.not_(self.test(x.value)))
        return self.numbers.negative(self.number(x.value))

    def _binary(self, x: Binary) -> Value:
        left, right = self.value(x.left), self.value(x.right)
        if x.op == "//":
            return self.calls.apply(operator.floordiv, self.numbers.alike(left, right))
        return self.numbers.binary(x.op, left, right)

    def _compare(self, x: Compare) -> Value:
        terms = [self.value(t) for t in x.terms]
        code, *others = (self.numbers.compared(op, *terms[i : i + 2]) for i, op in enumerate(x.ops))
        for other in others:
            code = self.builder.and_(code, other)
        return Number(BOOL, code)

    def _both(self, x: And) -> Value:
        """Whether all terms hold; a later one is computed where those before it do."""
        builder, ways = self.builder, []
        end = builder.append_basic_block("both")
        for i, t in enumerate(x.terms):
            ways.append((self.test(t), builder.block))
            more = end if i + 1 == len(x.terms) else builder.append_basic_block("and")
            if more is end:
                builder.branch(end)
            else:
                builder.cbranch(ways[-1][0], more, end)
            builder.position_at_end(more)
        return Number(BOOL, self._merged(BIT, ways))

    def _merged(self, kind: Any, ways: Sequence[tuple[Any, Any]]) -> Any:
        found = self.builder.phi(kind)
        for code, block in ways:
            found.add_incoming(code, block)
        return found

    def _choice(self, x: Choice) -> Value:
        """One of two values; only that one is computed, unless both are at hand."""
        test = self.test(x.test)
        if all(isinstance(side, Name | Literal) or _is_converted(side) for side in (x.yes, x.no)):
            yes, no = self.value(x.yes), self.value(x.no)
            if not isinstance(yes, View):
                return self.numbers.selected(test, yes, no)
        return self._branched(test, x)

    def _branched(self, test: Any, x: Choice) -> Value:
        builder, found, ends = self.builder, [], []
        yes, no, end = (builder.append_basic_block(name) for name in ("yes", "no", "end"))
        builder.cbranch(test, yes, no)
        for block, side in ((yes, x.yes), (no, x.no)):
            builder.position_at_end(block)
            value = self.value(side)
            found.append(value if isinstance(value, View) else self.numbers.of(value))
            ends.append(builder.block)
        a, b = found
        views = isinstance(a, View) and isinstance(b, View)
        if not views and (isinstance(a, View) or isinstance(b, View)):
            raise NotWritten("a choice of an array and a number")
        kind = a.kind if views else self.numbers.together(a.kind, b.kind)
        parts = []
        for value, last in zip(found, ends, strict=True):
            builder.position_at_end(last)
            parts.append(codes_of(self.numbers.converted(value, kind) if isinstance(value, Number) else value))
            builder.branch(end)
        builder.position_at_end(end)
        merged = [
            self._merged(codes[0].type, list(zip(codes, ends, strict=True))) for codes in zip(*parts, strict=True)
        ]
        return View(kind, merged[0], merged[1:]) if views else Number(kind, merged[0])

    # calls

    def _call(self, x: Call) -> Value:
        of = self.value(x.function)
        if isinstance(of, ViewAttribute):
            return self._method(of, x.arguments)
        if not isinstance(of, PythonValue):
            raise NotWritten("a call of what is no function")
        function = of.value
        if isinstance(function, type) and function in TYPES:
            return self.number(x.arguments[0], TYPES[function])
        if function in INLINED_CALLS:
            return INLINED_CALLS[function](self, *x.arguments)
        return self.calls.apply(function, [self.value(a) for a in x.arguments])

    def _method(self, of: ViewAttribute, arguments: Sequence[Expression]) -> Value:
        """A view of the same memory."""
        if of.name == "view":
            (given,) = map(self.value, arguments)
            dtype = TYPES.get(given.value) if isinstance(given, PythonValue) else None
            if dtype is None:
                raise NotWritten("a view of an unknown type")
            return reinterpret_view(self.builder, of.view, dtype, self.frame.pointer(dtype))
        (first, *others) = arguments
        if not others and isinstance(first, Literal) and isinstance(first.value, tuple):
            arguments = [Literal(n) for n in first.value]
        if of.name != "reshape" or any(isinstance(n, Literal) and n.value < 0 for n in arguments):
            raise NotWritten(f"a call of {of.name}")
        return reshape_view(of.view, [self.size(n) for n in arguments])

    # calls that are written here

    def _part(self, array: Expression, start: Expression, size: Expression) -> Value:
        of = self.overlaps.placed(self.view(array), array, start)
        return cut_view(self.builder, of, [IndexRange(self.size(start), self.size(size))])

    def _tail(self, array: Expression, start: Expression) -> Value:
        of = self.view(array)
        return cut_view(self.builder, of, [self._range(Slice(start, None), of.shape[0])])

    def _words(self, count: Expression, dtype: Expression) -> Value:
        if not isinstance(count, Literal) or self.value(dtype) != PythonValue(np.int64):
            raise NotWritten("a new array")
        return View(types.Array(I64, 1, "C"), self.frame.words(count.value), [WORD(count.value)])

    def _least(self, *terms: Expression) -> Value:
        return self._extreme("<", terms)

    def _largest(self, *terms: Expression) -> Value:
        return self._extreme(">", terms)

    def _greater(self, *terms: Expression) -> Value:
        return self.numbers.larger(*map(self.value, terms))

    def _extreme(self, op: str, terms: Sequence[Expression]) -> Value:
        """The first of two numbers, unless the second is less, or larger."""
        if len(terms) != 2:
            raise NotWritten("the least or largest of many numbers")
        a, b = self.numbers.alike(*map(self.value, terms))
        return self.numbers.selected(self.numbers.compared(op, b, a), b, a)


def _is_converted(x: Expression) -> bool:
    """Whether `x` is a constant that is converted."""
    return isinstance(x, Call) and isinstance(x.function, Name) and all(isinstance(a, Literal) for a in x.arguments)


INLINED_CALLS: dict[Any, Callable[..., Value]] = {
    min: ExpressionWriter._least,
    max: ExpressionWriter._largest,
    np.empty: ExpressionWriter._words,
    memory.part: ExpressionWriter._part,
    scalar.maximum: ExpressionWriter._greater,
    scalar_module.maximum: ExpressionWriter._greater,
    memory.tail: ExpressionWriter._tail,
}

RULES: dict[type, Callable[[ExpressionWriter, Any], Value]] = {
    Name: ExpressionWriter._name,
    Literal: lambda writer, x: PythonValue(x.value),
    Unary: ExpressionWriter._unary,
    Binary: ExpressionWriter._binary,
    Compare: ExpressionWriter._compare,
    And: ExpressionWriter._both,
    Choice: ExpressionWriter._choice,
    Index: ExpressionWriter._index,
    Attribute: ExpressionWriter._attribute,
    Call: ExpressionWriter._call,
    Tuple: lambda writer, x: TupleValue([writer.value(item) for item in x.items]),
}
