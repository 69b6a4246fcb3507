"""Loops over rows that add to the same few entries (a regression's gradient): four rows at a time.

One row at a time, every addition waits for the one before it. So four rows are added up first, which waits for nothing,
and then their sum is added to the entries. `plus` keeps LLVM from adding row after row all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from ppl.compiler.emit.code import (
    Assign,
    Binary,
    Call,
    Expression,
    For,
    Index,
    Literal,
    Name,
    Record,
    Statement,
    inside,
    loop,
    names_in,
    rebuilt,
)
from ppl.compiler.emit.scalar import scalar
from ppl.tuning import ROWS_ABREAST

R = TypeVar("R", bound=Record)
CONVERSIONS = (Name("F"), Name("I"))
"""Functions that cost nothing beside an addition."""


def abreast(var: str, size: Expression, body: Sequence[Statement]) -> list[Statement] | None:
    """``for var in range(size): body`` with `ROWS_ABREAST` turns in one; None where turns do more than to add.

    `body` sets locals, and then its loops multiply and add to entries that are the same ones in every turn.
    """
    loops = [x for x in body if isinstance(x, For)]
    before = list(body[: len(body) - len(loops)])
    if not loops or not all(_sets_local(x) for x in before):
        return None
    statements = (*before, *(y for x in loops for y in x.body))
    moved = _moved(var, statements)
    if not all(isinstance(x, Assign) for x in statements) or _carries(statements):
        return None
    if not all(_adds(x, moved) for x in loops):
        return None
    fixed = [x for x in before if not names_in(x).bound & moved]
    first = [x for x in before if x not in fixed]
    end = Binary("*", Binary("//", size, Literal(ROWS_ABREAST)), Literal(ROWS_ABREAST))
    several = [_of_row(x, var, moved, k) for k in range(ROWS_ABREAST) for x in first]
    several += [loop(x.var, x.stop, list(_joined(x, var, moved))) for x in loops]
    return [*fixed, loop(var, end, several, 0, ROWS_ABREAST), loop(var, size, [*first, *loops], end)]


def _sets_local(x: Statement) -> bool:
    return isinstance(x, Assign) and isinstance(x.target, Name) and not x.op


def _carries(statements: Sequence[Statement]) -> bool:
    """Whether a turn reads a local that an earlier turn has set."""
    to_come = names_in(*statements).bound
    for x in statements:
        assert isinstance(x, Assign)
        if names_in(x.value).used & to_come:
            return True
        to_come -= names_in(x).bound
    return False


def _moved(var: str, statements: Sequence[Statement]) -> set[str]:
    """The loop's variable, and the locals whose values it moves."""
    moved = {var}
    for x in statements:
        found = names_in(x)
        if found.used - found.bound & moved:
            moved |= found.bound
    return moved


def _adds(x: For, moved: set[str]) -> bool:
    """Whether a loop of a known length sets locals by arithmetic, and adds to entries that no row moves."""
    if not isinstance(x.stop, Literal) or x.start is not None or x.step is not None:
        return False
    if any(isinstance(y, Call) and y.function not in CONVERSIONS for y in inside(*x.body)):
        return False
    return any(not _sets_local(y) for y in x.body) and all(_sets_local(y) or _added(y, moved) for y in x.body)


def _added(x: Statement, moved: set[str]) -> Expression | None:
    """What a statement adds to an entry that no row moves; None where it does something else."""
    if not (isinstance(x, Assign) and isinstance(x.target, Index) and not names_in(x.target).used & moved):
        return None
    value = x.value
    return value.right if isinstance(value, Binary) and value.op == "+" and value.left == x.target else None


def _joined(x: For, var: str, moved: set[str]) -> Iterator[Statement]:
    """The body of a loop for several rows: their sum is added to each entry."""
    for y in x.body:
        added = _added(y, moved)
        if added is None:
            rows_of = range(ROWS_ABREAST if names_in(y).bound & moved else 1)
            yield from (_of_row(y, var, moved, k) for k in rows_of)
            continue
        assert isinstance(y, Assign)
        rows: list[Expression] = [_of_row(added, var, moved, k) for k in range(ROWS_ABREAST)]
        while len(rows) > 1:
            rows = [scalar("plus", a, b) for a, b in zip(rows[::2], rows[1::2], strict=True)]
        yield Assign(y.target, y.target + rows[0])


def _of_row(x: R, var: str, moved: set[str], k: int) -> R:
    """A statement or expression for the row that is `k` behind `var`, whose locals are its own."""

    def changed(y: Record) -> Record | None:
        if not isinstance(y, Name) or y.name not in moved:
            return None
        return (y + k if k else y) if y.name == var else Name(f"{y.name}x{k}")

    found: R = rebuilt(x, changed)
    return found
