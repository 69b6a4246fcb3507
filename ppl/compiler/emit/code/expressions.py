"""Expressions as records: names, numbers, arithmetic, entries of arrays, calls.

`Name("w").at(Name("i") + 1)` is `w[i + 1]`. Where an expression is expected, `term` also takes a name, a number and a
polynomial in sizes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from ppl.compiler.lower.views import Poly
from ppl.records import dataclass


class Record:
    """What all records are: immutable, compared by what they hold."""

    __slots__ = ()


class Expression(Record):
    """A value; the operators of Python make larger ones."""

    __slots__ = ()

    def __add__(self, other: Given) -> Binary:
        return Binary("+", self, term(other))

    def __radd__(self, other: Given) -> Binary:
        return Binary("+", term(other), self)

    def __sub__(self, other: Given) -> Binary:
        return Binary("-", self, term(other))

    def __mul__(self, other: Given) -> Expression:
        return product(self, other)

    def __rmul__(self, other: Given) -> Expression:
        return product(term(other), self)

    def __truediv__(self, other: Given) -> Binary:
        return Binary("/", self, term(other))

    def __rtruediv__(self, other: Given) -> Binary:
        return Binary("/", term(other), self)

    def __floordiv__(self, other: Given) -> Binary:
        return Binary("//", self, term(other))

    def __neg__(self) -> Unary:
        return Unary("-", self)

    def at(self, *index: Given) -> Index:
        """One entry."""
        return Index(self, term(index[0]) if len(index) == 1 else Tuple(tuple(map(term, index))))

    def cut(self, start: Given, count: Given) -> Index:
        """The view of `count` entries from `start` on."""
        start = term(start)
        return self.between(start, start + count)

    def between(self, start: Given, stop: Given) -> Index:
        """The view of the entries from `start` to before `stop`."""
        return Index(self, Span(term(start), term(stop)))

    def whole(self) -> Index:
        """The view of all entries."""
        return Index(self, Span(None, None))

    def before(self, stop: Given) -> Index:
        """The view of the first entries, up to `stop`."""
        return Index(self, Span(None, term(stop)))

    def after(self, start: Given) -> Index:
        """The view of all entries from `start` on."""
        return Index(self, Span(term(start), None))

    def dot(self, name: str) -> Attribute:
        """An attribute."""
        return Attribute(self, name)


Given = Expression | Poly | str | int | float | tuple[Any, ...]


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
class Both(Expression):
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
class Span(Expression):
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


def term(x: Given) -> Expression:
    """An expression as it is; for a name, a number, a polynomial in sizes or a tuple, its record."""
    if isinstance(x, Expression):
        return x
    if isinstance(x, str):
        return Name(x)
    return _size(x) if isinstance(x, Poly) else Literal(x)


def product(left: Expression, right: Given) -> Expression:
    """The product of both, from the left with every factor of a single product of sizes."""
    if not isinstance(right, Poly) or len(right.terms) != 1:
        return Binary("*", left, term(right))
    for factor in _factors(*right.terms[0]):
        left = Binary("*", left, factor)
    return left


def _factors(names: tuple[str, ...], coef: int) -> list[Expression]:
    return [*map(Name, names), *([Literal(coef)] if coef != 1 or not names else [])]


def _size(poly: Poly) -> Expression:
    """A polynomial as the sum of its products."""
    sums = [functools.reduce(product, _factors(names, coef)) for names, coef in poly.terms]
    return total(sums) if sums else Literal(0)


def total(terms: Iterable[Expression]) -> Expression:
    """The sum of at least one term, from the left."""
    first, *others = terms
    for x in others:
        first = first + x
    return first


def call(function: str | Expression, *arguments: Given) -> Call:
    """A call."""
    return Call(term(function), tuple(map(term, arguments)))


def compare(*chain: Given) -> Compare:
    """`compare(a, "<", b, "<=", c)`: terms with operators between them."""
    return Compare(tuple(str(op) for op in chain[1::2]), tuple(map(term, chain[::2])))


def both(terms: Iterable[Expression]) -> Expression:
    """Whether all of at least one term hold."""
    found = tuple(terms)
    return found[0] if len(found) == 1 else Both(found)


def names(*names: str) -> Tuple:
    """Several names as one target or value."""
    return Tuple(tuple(map(Name, names)))
