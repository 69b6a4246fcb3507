"""Statements, functions and modules as records: bodies are trees of loops, stores and calls.

An `Index` that an `Assign` has as its target is a store, elsewhere a load.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit.code.expressions import Expression, Given, Record, call, term
from ppl.records import dataclass


class Statement(Record):
    """What a body consists of."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Assign(Statement):
    """Set a local, several locals, or entries of an array; `op` adds ("+") to what was there, `note` says why."""

    target: Expression
    value: Expression
    op: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Do(Statement):
    """A call for its effect."""

    call: Expression


@dataclass(frozen=True, slots=True)
class For(Statement):
    """A loop of the whole number `var`."""

    var: str
    stop: Expression
    body: tuple[Statement, ...]
    start: Expression | None = None
    step: Expression | None = None


@dataclass(frozen=True, slots=True)
class While(Statement):
    """A loop as long as `test` holds."""

    test: Expression
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class If(Statement):
    """A branch."""

    test: Expression
    body: tuple[Statement, ...]
    orelse: tuple[Statement, ...] = ()


@dataclass(frozen=True, slots=True)
class Return(Statement):
    """The end of a function, with its value if it has one."""

    value: Expression | None = None


@dataclass(frozen=True, slots=True)
class Raise(Statement):
    """The end of a function, with an exception."""

    value: Expression


@dataclass(frozen=True, slots=True)
class Argument(Record):
    """What a function is passed; `type` is Numba's name of it, "" where callers decide."""

    name: str
    type: str = ""


@dataclass(frozen=True, slots=True)
class Function(Record):
    """A function of emitted code.

    `form` says how it is compiled and reached: "jit" as others call it, "shared" once, for the types of its arguments,
    by symbol; "entry" inlined into users' code; "launch" a CUDA kernel, "host" plain Python.

    `apart` are arguments that buffers begin with, arrays or positions in them: no two buffers share an entry. An index
    whose first term is such a position is one of its buffer, another one of the array's.
    """

    name: str
    arguments: tuple[Argument, ...]
    body: tuple[Statement, ...]
    doc: str = ""
    form: str = "jit"
    apart: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Import(Record):
    """`name` of `module`, known here as `known`."""

    module: str
    name: str
    known: str


@dataclass(frozen=True, slots=True)
class Module(Record):
    """A whole emitted program: functions and constants in their order, and where the other names that they use are."""

    doc: str
    items: tuple[Function | Assign, ...]
    imports: tuple[Import, ...]


def assign(target: Given, value: Given) -> Assign:
    """Set `target`."""
    return Assign(term(target), term(value))


def add_to(target: Given, value: Given, op: str = "+") -> Assign:
    """Add `value` to `target`, or with another `op` change it otherwise."""
    return Assign(term(target), term(value), op)


def do(function: str | Expression, *arguments: Given) -> Do:
    """The statement that calls `function`."""
    return Do(call(function, *arguments))


def loop(var: str, stop: Given, body: Sequence[Statement], start: Given | None = None, step: Given | None = None
         ) -> For:  # fmt: skip
    """A loop of `var` from `start` (0) to before `stop`."""
    first, by = (None if x is None else term(x) for x in (start, step))
    return For(var, term(stop), tuple(body), first, by)


def when(test: Expression, body: Sequence[Statement], orelse: Sequence[Statement] = ()) -> If:
    """A branch."""
    return If(test, tuple(body), tuple(orelse))
