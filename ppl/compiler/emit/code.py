"""Emitted programs as records: a `Module` of `Function`s, whose bodies are trees of loops, stores and calls.

Other modules of this folder compose these records from a schedule; `emit/cpu` and `emit/cuda` put drivers around them;
a printer turns a module into text (`python`, for Numba) or machine code (`llvm`). Nothing reads text again: which names
a piece of code uses, whether an expression reads memory, what a function is passed, are questions to records.

`Name("w").at(Name("i") + 1)` is `w[i + 1]`. Where an expression is expected, `as_expression` also takes a name, a
number and a polynomial in sizes. An `Index` that
an `Assign` has as its target is a store, elsewhere a load."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from ppl.compiler.lower.sizes import Poly
from ppl.records import dataclass


class Record:
    """What all records are: immutable, compared by what they hold."""

    __slots__ = ()


class Expression(Record):
    """A value; the operators of Python make larger ones."""

    __slots__ = ()

    def __add__(self, other: ExpressionLike) -> Binary:
        return Binary("+", self, as_expression(other))

    def __radd__(self, other: ExpressionLike) -> Binary:
        return Binary("+", as_expression(other), self)

    def __sub__(self, other: ExpressionLike) -> Binary:
        return Binary("-", self, as_expression(other))

    def __mul__(self, other: ExpressionLike) -> Expression:
        return product_of(self, other)

    def __rmul__(self, other: ExpressionLike) -> Expression:
        return product_of(as_expression(other), self)

    def __truediv__(self, other: ExpressionLike) -> Binary:
        return Binary("/", self, as_expression(other))

    def __rtruediv__(self, other: ExpressionLike) -> Binary:
        return Binary("/", as_expression(other), self)

    def __floordiv__(self, other: ExpressionLike) -> Binary:
        return Binary("//", self, as_expression(other))

    def __neg__(self) -> Unary:
        return Unary("-", self)

    def at(self, *index: ExpressionLike) -> Index:
        """One entry."""
        return Index(self, as_expression(index[0]) if len(index) == 1 else Tuple(tuple(map(as_expression, index))))

    def cut(self, start: ExpressionLike, count: ExpressionLike) -> Index:
        """The view of `count` entries from `start` on."""
        start = as_expression(start)
        return self.between(start, start + count)

    def between(self, start: ExpressionLike, stop: ExpressionLike) -> Index:
        """The view of the entries from `start` to before `stop`."""
        return Index(self, Slice(as_expression(start), as_expression(stop)))

    def whole(self) -> Index:
        """The view of all entries."""
        return Index(self, Slice(None, None))

    def before(self, stop: ExpressionLike) -> Index:
        """The view of the first entries, up to `stop`."""
        return Index(self, Slice(None, as_expression(stop)))

    def after(self, start: ExpressionLike) -> Index:
        """The view of all entries from `start` on."""
        return Index(self, Slice(as_expression(start), None))

    def dot(self, name: str) -> Attribute:
        """An attribute."""
        return Attribute(self, name)


ExpressionLike = Expression | Poly | str | int | float | tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Name(Expression):
    """A local, an argument, or a function or constant of the module."""

    name: str


@dataclass(frozen=True, slots=True)
class Literal(Expression):
    """A number, truth value, text, or tuple or dictionary of these, as Python writes it."""

    value: Any


@dataclass(frozen=True, slots=True)
class Unary(Expression):
    """`op` is "-" or "not"."""

    op: str
    value: Expression


@dataclass(frozen=True, slots=True)
class Binary(Expression):
    """Arithmetic, or "&" and "|"."""

    op: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Compare(Expression):
    """A chain of comparisons: `ops[i]` stands between the terms i and i + 1."""

    ops: tuple[str, ...]
    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class And(Expression):
    """Whether all terms hold, looked at in their order."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Choice(Expression):
    """`yes` where `test` holds, else `no`; only one of them is computed."""

    test: Expression
    yes: Expression
    no: Expression


@dataclass(frozen=True, slots=True)
class Index(Expression):
    """An entry of an array, or with a `Span` a view."""

    array: Expression
    index: Expression


@dataclass(frozen=True, slots=True)
class Slice(Expression):
    """Positions from `start` to before `stop`; None for the ends of the array."""

    start: Expression | None
    stop: Expression | None


@dataclass(frozen=True, slots=True)
class Attribute(Expression):
    """`value.name`."""

    value: Expression
    name: str


@dataclass(frozen=True, slots=True)
class Call(Expression):
    """A function of the module, or one that it imports, of arguments."""

    function: Expression
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Tuple(Expression):
    """Several values."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class List(Expression):
    """Several values, as a list."""

    items: tuple[Expression, ...]


def as_expression(x: ExpressionLike) -> Expression:
    """An expression as it is; for a name, a number, a polynomial in sizes or a tuple, its record."""
    if isinstance(x, Expression):
        return x
    if isinstance(x, str):
        return Name(x)
    return _polynomial(x) if isinstance(x, Poly) else Literal(x)


def product_of(left: Expression, right: ExpressionLike) -> Expression:
    """The product of both, from the left with every factor of a single product of sizes."""
    if not isinstance(right, Poly) or len(right.terms) != 1:
        return Binary("*", left, as_expression(right))
    for factor in _factor_expressions(*right.terms[0]):
        left = Binary("*", left, factor)
    return left


def _factor_expressions(names: tuple[str, ...], coef: int) -> list[Expression]:
    return [*map(Name, names), *([Literal(coef)] if coef != 1 or not names else [])]


def _polynomial(poly: Poly) -> Expression:
    """A polynomial as the sum of its products."""
    sums = [functools.reduce(product_of, _factor_expressions(names, coef)) for names, coef in poly.terms]
    return sum_of(sums) if sums else Literal(0)


def sum_of(terms: Iterable[Expression]) -> Expression:
    """The sum of at least one term, from the left."""
    first, *others = terms
    for x in others:
        first = first + x
    return first


def call(function: str | Expression, *arguments: ExpressionLike) -> Call:
    """A call."""
    return Call(as_expression(function), tuple(map(as_expression, arguments)))


def compare(*chain: ExpressionLike) -> Compare:
    """`compare(a, "<", b, "<=", c)`: terms with operators between them."""
    return Compare(tuple(str(op) for op in chain[1::2]), tuple(map(as_expression, chain[::2])))


def all_of(terms: Iterable[Expression]) -> Expression:
    """Whether all of at least one term hold."""
    found = tuple(terms)
    return found[0] if len(found) == 1 else And(found)


def name_tuple(*names: str) -> Tuple:
    """Several names as one target or value."""
    return Tuple(tuple(map(Name, names)))


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

    `noalias` are arguments that buffers begin with, arrays or positions in them: no two buffers share an entry. An
    index whose first term is such a position is one of its buffer, another one of the array's.
    """

    name: str
    arguments: tuple[Argument, ...]
    body: tuple[Statement, ...]
    doc: str = ""
    form: str = "jit"
    noalias: tuple[str, ...] = ()


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


def assign(target: ExpressionLike, value: ExpressionLike) -> Assign:
    """Set `target`."""
    return Assign(as_expression(target), as_expression(value))


def add_to(target: ExpressionLike, value: ExpressionLike, op: str = "+") -> Assign:
    """Add `value` to `target`, or with another `op` change it otherwise."""
    return Assign(as_expression(target), as_expression(value), op)


def do(function: str | Expression, *arguments: ExpressionLike) -> Do:
    """The statement that calls `function`."""
    return Do(call(function, *arguments))


def loop(
    var: str,
    stop: ExpressionLike,
    body: Sequence[Statement],
    start: ExpressionLike | None = None,
    step: ExpressionLike | None = None,
) -> For:
    """A loop of `var` from `start` (0) to before `stop`."""
    first, by = (None if x is None else as_expression(x) for x in (start, step))
    return For(var, as_expression(stop), tuple(body), first, by)


def when(test: Expression, body: Sequence[Statement], orelse: Sequence[Statement] = ()) -> If:
    """A branch."""
    return If(test, tuple(body), tuple(orelse))


PLAIN_TYPES = ("str", "bool", "tuple[str, ...]", "Any")
"""Types of what records hold that is no record."""


_child_getters: dict[type, Callable[[Any], Any] | None] = {}


def _child_records(x: Any) -> Any:
    """The records that `x` consists of; None where there are none."""
    if type(x) not in _child_getters:
        found = [f.name for f in dataclasses.fields(x) if f.type not in PLAIN_TYPES]
        _child_getters[type(x)] = attrgetter(*found) if found else None
    parts = _child_getters[type(x)]
    return None if parts is None else parts(x)


def walk_records(*records: Record) -> Iterator[Record]:
    """The records and all that they consist of."""
    waiting: list[Any] = list(records)
    while waiting:
        x = waiting.pop()
        if isinstance(x, tuple):
            waiting += x
        elif x is not None:
            yield x
            waiting.append(_child_records(x))


class Names(NamedTuple):
    """Names that occur somewhere, and those of them that get their values there: locals and arguments."""

    used: set[str]
    bound: set[str]


def names_in(*records: Record) -> Names:
    """The names in records."""
    found = Names(set(), set())
    for x in walk_records(*records):
        if isinstance(x, Name):
            found.used.add(x.name)
        elif isinstance(x, Argument):
            found.bound.add(x.name)
        elif isinstance(x, For):
            found.bound.add(x.var)
        elif isinstance(x, Assign):
            targets = x.target.items if isinstance(x.target, Tuple) else (x.target,)
            found.bound.update(t.name for t in targets if isinstance(t, Name))
    return found


def rewrite_records(x: Any, rule: Callable[[Record], Record | None]) -> Any:
    """`x` with every record replaced for which `rule` has another one; what it gives is not looked into again."""
    if isinstance(x, tuple):
        return tuple(rewrite_records(item, rule) for item in x)
    if not isinstance(x, Record):
        return x
    other = rule(x)
    if other is not None:
        return other
    assert dataclasses.is_dataclass(x)
    return type(x)(*(rewrite_records(getattr(x, f.name), rule) for f in dataclasses.fields(x)))
