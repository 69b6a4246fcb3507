"""LLVM code of statements and of whole functions.

A local that is set in one place is a value; one that is set in several lies on the stack, from where LLVM lifts it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from numba import types

from ppl.compiler.emit.code import (
    Assign,
    Attribute,
    Call,
    Do,
    Expression,
    For,
    Function,
    If,
    Index,
    Literal,
    Name,
    Return,
    Statement,
    Tuple,
    While,
    walk_records,
)
from ppl.compiler.emit.llvm.aliasing import AliasScopes
from ppl.compiler.emit.llvm.expressions import PYTHON_NUMBERS, ExpressionWriter
from ppl.compiler.emit.llvm.values import BOOL, I64, NONE, WORD, Number, PythonValue, TupleValue, Value, View, codes_of
from ppl.kernels.internals.lowering import Frame, NotWritten
from ppl.tuning import LONG_LIST, ROLLED_LEAST, ROLLED_MOST

VECTOR_LENGTHS = (16, 8, 4)
"""Entries of the vectors of which innermost loops consist."""


def guess_result_type(function: Function, dtype: str) -> Any:
    """The type of what a function returns, as far as it can be seen at once."""
    counted = {Name(x.var) for x in walk_records(*function.body) if isinstance(x, For)}
    for x in walk_records(*function.body):
        if isinstance(x, Return) and x.value is not None:
            value = x.value
            if isinstance(value, Literal):
                return BOOL if isinstance(value.value, bool) else I64
            size = isinstance(value, Index) and isinstance(value.array, Attribute)
            whole = isinstance(value, Call) and value.function == Name("I")
            return I64 if size or whole or value in counted else getattr(types, dtype)
    return NONE


def count_assignments(function: Function) -> Counter[str]:
    """In how many places each local is set; one that a loop counts with counts once for all its loops."""
    found = Counter(a.name for a in function.arguments)
    for x in walk_records(*function.body):
        if isinstance(x, Assign):
            targets = x.target.items if isinstance(x.target, Tuple) else (x.target,)
            found.update(t.name for t in targets if isinstance(t, Name))
            found.update(t.name for t in targets if isinstance(t, Name) and x.op)
    found.update({x.var for x in walk_records(*function.body) if isinstance(x, For)})
    return found


def only_calls(function: Function) -> bool:
    """Whether a function does nothing but compute places and call others: it sets no entry of an array."""
    return not any(isinstance(x, Assign) and isinstance(x.target, Index) for x in walk_records(*function.body))


def statement_count(statements: Sequence[Statement]) -> int:
    """The number of statements, those inside others included."""
    return sum(isinstance(x, Statement) for x in walk_records(*statements))


class FunctionWriter:
    """Writes the statements of one function."""

    def __init__(self, function: Function, frame: Frame):
        self.function, self.frame, self.builder = function, frame, frame.builder
        self.overlaps = AliasScopes(function, frame)
        self.expressions = ExpressionWriter(frame, self.overlaps)
        self.several = {name for name, count in count_assignments(function).items() if count > 1}

    def write(self) -> None:
        """Write the function.

        Of a long list of calls LLVM keeps all places in mind at once, which takes it quadratic time and gains nothing.
        """
        if statement_count(self.function.body) > LONG_LIST and only_calls(self.function):
            self.frame.as_written()
        for name, kind, code in self.frame.arguments:
            self.bind(name, self.expressions.calls.received(kind, code, False))
        self.block(self.function.body)
        if not self.builder.block.is_terminated:
            self.frame.give(NONE, self.frame.dummy())

    def block(self, statements: Sequence[Statement]) -> None:
        """Write statements, but for those behind a return."""
        for x in statements:
            if not self.builder.block.is_terminated:
                if type(x) not in RULES:
                    raise NotWritten(f"a {type(x).__name__}")
                RULES[type(x)](self, x)

    def bind(self, name: str, value: Value) -> None:
        """Set a local."""
        if isinstance(value, PythonValue) and isinstance(value.value, PYTHON_NUMBERS):
            value = self.expressions.numbers.of(value)
        if name not in self.several:
            self.expressions.locals[name] = value
            return
        if not isinstance(value, Number | View):
            raise NotWritten(f"{name}, set in several places, is no number or array")
        slots, codes = self.expressions.slots, codes_of(value)
        if name not in slots:
            slots[name] = value.kind, [self.frame.local(code.type) for code in codes]
        kind, places = slots[name]
        if isinstance(value, Number) and len(places) == 1 and isinstance(kind, types.Number | types.Boolean):
            if self.expressions.numbers.together(value.kind, kind) != kind:
                raise NotWritten(f"{name} is {kind}, then {value.kind}")
            codes = [self.expressions.numbers.converted(value, kind).code]
        elif isinstance(value, Number) or value.kind.dtype != kind.dtype or len(codes) != len(places):
            raise NotWritten(f"{name} is {kind}, then {value.kind}")
        for code, place in zip(codes, places, strict=True):
            self.builder.store(code, place)

    def _assign(self, x: Assign) -> None:
        if isinstance(x.target, Index):
            self._store(x.target, x.op, x.value)
            return
        value = self.expressions.value(x.value)
        if isinstance(x.target, Name):
            if x.op:
                value = self.expressions.numbers.binary(x.op, self.expressions.value(x.target), value)
            self.bind(x.target.name, value)
        elif isinstance(x.target, Tuple) and isinstance(value, TupleValue):
            for target, item in zip(x.target.items, value.items, strict=True):
                assert isinstance(target, Name)
                self.bind(target.name, item)
        else:
            raise NotWritten("a target that is no name, entry or tuple")

    def _store(self, target: Index, op: str, value: Expression) -> None:
        of = self.overlaps.placed(self.expressions.view(target.array), target.array, target.index)
        place = self.expressions.cut(of, target.index)
        if place.shape:
            self._fill(place, op, value)
            return
        dtype, numbers = place.kind.dtype, self.expressions.numbers
        found = self.expressions.value(value)
        if op:
            found = numbers.binary(op, Number(dtype, self.overlaps.load(place)), found)
        self.overlaps.store(place, numbers.of(found, dtype).code)

    def _fill(self, place: View, op: str, value: Expression) -> None:
        """Set all entries of a view to one number."""
        if op or len(place.shape) != 1:
            raise NotWritten("arithmetic of arrays")
        code = self.expressions.number(value, place.kind.dtype).code
        with self._turns(WORD(0), place.shape[0], WORD(1)) as i:
            self.overlaps.store(replace(place, data=self.builder.gep(place.data, [i]), shape=()), code)

    def _do(self, x: Do) -> None:
        self.expressions.value(x.call)

    def _return(self, x: Return) -> None:
        value = PythonValue(None) if x.value is None else self.expressions.value(x.value)
        if value == PythonValue(None):
            self.frame.give(NONE, self.frame.dummy())
        else:
            found = self.expressions.numbers.of(value)
            self.frame.give(found.kind, found.code)

    def _if(self, x: If) -> None:
        builder, test = self.builder, self.expressions.test(x.test)
        yes, no, after = (builder.append_basic_block(name) for name in ("then", "else", "after"))
        builder.cbranch(test, yes, no)
        left = True
        for block, body in ((yes, x.body), (no, x.orelse)):
            builder.position_at_end(block)
            self.block(body)
            if not builder.block.is_terminated:
                builder.branch(after)
                left = False
        builder.position_at_end(after)
        if left:
            builder.unreachable()

    def _while(self, x: While) -> None:
        builder = self.builder
        head, body, after = (builder.append_basic_block(name) for name in ("while", "turn", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        builder.cbranch(self.expressions.test(x.test), body, after)
        builder.position_at_end(body)
        self.block(x.body)
        if not builder.block.is_terminated:
            builder.branch(head)
        builder.position_at_end(after)

    def _for(self, x: For) -> None:
        size, down = self.expressions.size, isinstance(x.step, Literal) and x.step.value < 0
        step = WORD(1) if x.step is None else size(x.step)
        held = all(isinstance(y, Assign) and isinstance(y.target, Name) for y in x.body)
        for first, last, rolled in self._parts(x, held):
            start, stop = WORD(0) if first is None else size(first), size(last)
            turns = self._turns(start, stop, step, down, rolled, held)
            with self.overlaps.loop(x, self.expressions.locals), turns as i:
                self.bind(x.var, Number(I64, i))
                self.block(x.body)

    def _parts(self, x: For, held: bool) -> list[tuple[Expression | None, Expression, bool]]:
        """Beginnings and ends of the loops that a loop is written as, and whether they are to be `rolled`.

        LLVM writes short loops out before it looks for vectors, and then finds none. What no vectors fill it masks, and
        then sums in memory do not stay in registers; so the innermost loops take vectors of all sizes. If all results
        are `held` by locals, one loop has one sum over the entries of a vector.
        """
        whole = isinstance(x.stop, Literal) and x.start is None and x.step is None
        turns = x.stop.value if isinstance(x.stop, Literal) and whole and self.function.noalias else 0
        if not ROLLED_LEAST <= turns <= ROLLED_MOST:
            return [(x.start, x.stop, False)]
        inner = not any(isinstance(y, For | While) for y in walk_records(*x.body))
        ends = [0, *sorted({turns - turns % n for n in VECTOR_LENGTHS}), turns] if inner and not held else [0, turns]
        return [(Literal(a), Literal(b), b - a >= VECTOR_LENGTHS[-1]) for a, b in pairwise(ends) if a < b]

    @contextlib.contextmanager
    def _turns(self, start: Any, stop: Any, step: Any, down: bool = False, rolled: bool = False, held: bool = False
               ) -> Iterator[Any]:  # fmt: skip
        """A loop from `start` to before `stop`, whose body is written inside; gives what it counts.

        LLVM does not write out the turns of one that is `rolled`, before they are vectors if its results are `held`.
        """
        builder, before = self.builder, self.builder.block
        head, body, after = (builder.append_basic_block(name) for name in ("for", "turn", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        i = builder.phi(WORD)
        i.add_incoming(start, before)
        builder.cbranch(builder.icmp_signed(">" if down else "<", i, stop), body, after)
        builder.position_at_end(body)
        yield i
        if not builder.block.is_terminated:
            i.add_incoming(builder.add(i, step, flags=("nsw",)), builder.block)
            back = builder.branch(head)
            if rolled:
                self.frame.rolled(back, held)
        builder.position_at_end(after)


RULES: dict[type, Callable[[FunctionWriter, Any], None]] = {
    Assign: FunctionWriter._assign,
    Do: FunctionWriter._do,
    For: FunctionWriter._for,
    While: FunctionWriter._while,
    If: FunctionWriter._if,
    Return: FunctionWriter._return,
}
