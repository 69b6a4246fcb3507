"""Emission of loops over the rows of one part of tables that threads share by columns; all sizes are constants.

All tables of a part lie in one array `columns`; a `Place` says where. Rows of tables are asked for some rows of data
earlier (`fetch`), up to `TABLE_ROWS_AT_ONCE` of them are walked through side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ppl.compiler.emit.code import (
    Argument,
    Expression,
    Function,
    Given,
    Name,
    Return,
    Statement,
    add_to,
    assign,
    compare,
    do,
    loop,
    term,
    total,
    when,
)
from ppl.compiler.emit.scalar import ONE, ZERO, to_int
from ppl.compiler.emit.tables import AHEAD, clamped, fetch, row_of
from ppl.tuning import TABLE_ROWS_AT_ONCE

R, K, OWN, Y = map(Name, ("r", "k", "own", "y"))


class Place(NamedTuple):
    """A table in a part: its first entry, the number of its rows, and entries from one row to the next."""

    start: int
    length: int
    width: int

    def at(self, index: Expression) -> Expression:
        """Where the row begins that `index` names."""
        row = clamped(to_int(index), self.length - 1) * self.width
        return term(self.start) + row if self.start else row


class Dot(NamedTuple):
    """`each` products per data row of rows of a table with the common row."""

    place: Place
    each: int


class Weighted(NamedTuple):
    """`each` rows of a table per data row, with coefficients or without."""

    place: Place
    each: int
    coefs: bool


def entry(array: str, count: int, k: Given, r: Expression = R) -> Expression:
    """Entry `k` of the `count` ones of data row `r`."""
    return Name(array).at(r if count == 1 else r * count + term(k))


def each_row(name: str, arguments: Sequence[str], doc: str, body: Sequence[Statement], totals: bool = False
             ) -> Function:  # fmt: skip
    """A function with `body` for each of n data rows; one that `totals` adds up `own` of all rows."""
    start: list[Statement] = [do("prefer_full_width")]
    if not totals:
        return Function(name, tuple(map(Argument, arguments)), (*start, loop("r", "n", body)), doc)
    all_rows = loop("r", "n", [*body, add_to("total", OWN)])
    lines = *start, assign("total", ZERO), all_rows, Return(Name("total"))
    return Function(name, tuple(map(Argument, arguments)), lines, doc)


def dots(name: str, right: Place, found: Sequence[Dot]) -> Function:
    """The function `name(columns, n, right, index_0, out_0, …)`: products of rows with the row that `right` names.

    It returns Σ right².
    """
    arguments = ["columns", "n", "right", *(x for i, _ in enumerate(found) for x in (f"index_{i}", f"out_{i}"))]
    asked = _ask("right", Weighted(right, 1, False), "to_read")
    for i, dot in enumerate(found):
        asked += _ask(f"index_{i}", Weighted(dot.place, dot.each, False), "to_read")
    body = [_ahead(asked), assign("y_at", right.at(Name("right").at(R))),
            assign(Y, Name("columns").cut("y_at", right.width)), assign(OWN, ZERO)]  # fmt: skip
    few = [(i, k, d) for i, d in enumerate(found) for k in range(d.each) if d.each <= TABLE_ROWS_AT_ONCE]
    for number, batch in enumerate(_batches(few)):
        body += [x for i, k, d in batch for x in _row(f"{i}_{k}", d.place, entry(f"index_{i}", d.each, k))]
        body += [assign(f"s_{i}_{k}", ZERO) for i, k, _ in batch]
        turn: list[Statement] = [add_to(f"s_{i}_{k}", _here(f"t_{i}_{k}") * _here("y")) for i, k, d in batch]
        body.append(loop("j", right.width, turn + ([_square("y")] if number == 0 else [])))
        body += [assign(entry(f"out_{i}", d.each, k), f"s_{i}_{k}") for i, k, d in batch]
    for i, d in enumerate(found):
        if d.each > TABLE_ROWS_AT_ONCE:
            turn = [*_row("k", d.place, entry(f"index_{i}", d.each, K)), assign("s", ZERO),
                    loop("j", right.width, [add_to("s", _here("t_k") * _here("y"))]),
                    assign(entry(f"out_{i}", d.each, K), "s")]  # fmt: skip
            body.append(loop("k", d.each, turn))
    body += [] if few else [loop("j", right.width, [_square("y")])]
    doc = "Products of rows, over the columns of one part; returns the sum of the squares of the common rows."
    return each_row(name, arguments, doc, body, totals=True)


def sums(name: str, found: Sequence[Weighted]) -> Function:
    """The function `name(columns, n, out, index_0, coefs_0, …)`: weighted sums of rows; returns their squares."""
    width = found[0].place.width
    given = [x for i, w in enumerate(found) for x in (f"index_{i}", *([f"coefs_{i}"] if w.coefs else []))]
    body = [_ahead([x for i, w in enumerate(found) for x in _ask(f"index_{i}", w, "to_read")])]
    body += [assign(Y, row_of("out", width)), assign(OWN, ZERO)]
    few = [(i, k, w) for i, w in enumerate(found) for k in range(w.each) if w.each <= TABLE_ROWS_AT_ONCE]
    batches = _batches(few)
    whole = len(batches) == 1 and len(few) == sum(w.each for w in found)
    body += [] if batches else [assign(Y.whole(), ZERO)]
    for number, batch in enumerate(batches):
        body += [x for i, k, w in batch for x in _weighted(i, k, w)]
        products = [Name(f"c_{i}_{k}") * _here(f"t_{i}_{k}") if w.coefs else _here(f"t_{i}_{k}") for i, k, w in batch]
        turn: list[Statement] = [
            assign("x", total([*([_here("y")] if number else []), *products])),
            assign(_here("y"), "x"),
        ]
        body.append(loop("j", width, turn + ([add_to(OWN, Name("x") * "x")] if whole else [])))
    for i, w in enumerate(found):
        if w.each > TABLE_ROWS_AT_ONCE:
            added = loop("j", width, [add_to(_here("y"), Name("c") * _here("t_k"))])
            coef = entry(f"coefs_{i}", w.each, K) if w.coefs else ONE
            turn = [*_row("k", w.place, entry(f"index_{i}", w.each, K)), assign("c", coef), added]
            body.append(loop("k", w.each, turn))
    body += [] if whole else [loop("j", width, [_square("y")])]
    doc = "Weighted sums of rows, over the columns of one part; returns the sum of their squares."
    return each_row(name, ["columns", "n", "out", *given], doc, body, totals=True)


def moves(name: str, target: Place, rows: Place | None, found: Sequence[Weighted]) -> Function:
    """The function `name(columns, n, rate, rows, targets_0, coefs_0, …)`: rows of `target` minus rate · coefs · row.

    `rows` of data row r is a row of the table at `rows`, if that is given, else row r of an array.
    """
    width = target.width
    given = [x for i, w in enumerate(found) for x in (f"targets_{i}", *([f"coefs_{i}"] if w.coefs else []))]
    asked = _ask("rows", Weighted(rows, 1, False), "to_read") if rows else []
    body = [_ahead(asked + [x for i, w in enumerate(found) for x in _ask(f"targets_{i}", w, "to_write")])]
    if rows:
        body += [assign("y_at", rows.at(Name("rows").at(R))), assign(Y, Name("columns").cut("y_at", width))]
    else:
        body.append(assign(Y, row_of("rows", width)))
    for i, w in enumerate(found):
        rate = Name("rate") * entry(f"coefs_{i}", w.each, K) if w.coefs else Name("rate")
        one = [*_row("k", w.place, entry(f"targets_{i}", w.each, K)), assign("c", rate),
               loop("j", width, [add_to(_here("t_k"), Name("c") * _here("y"), "-")])]  # fmt: skip
        body += [loop("k", w.each, one)] if w.each > 1 else one
    return each_row(name, ["columns", "n", "rate", "rows", *given], "Steps of SGD on the columns of one part.", body)


def _here(array: str) -> Expression:
    """Entry j."""
    return Name(array).at("j")


def _square(array: str) -> Statement:
    """The statement that adds the square of entry j."""
    return add_to(OWN, _here(array) * _here(array))


def _row(name: str, place: Place, index: Expression) -> list[Statement]:
    """The table row `t_name`."""
    return [assign(f"at_{name}", place.at(index)), assign(f"t_{name}", Name("columns").cut(f"at_{name}", place.width))]


def _weighted(i: int, k: int, w: Weighted) -> list[Statement]:
    """Table row number `k` of term `i`, and its coefficient."""
    row = _row(f"{i}_{k}", w.place, entry(f"index_{i}", w.each, k))
    return row + ([assign(f"c_{i}_{k}", entry(f"coefs_{i}", w.each, k))] if w.coefs else [])


def _ask(index: str, rows: Weighted, how: str) -> list[Statement]:
    """Statements that ask for the rows of data row r + AHEAD."""
    lines = fetch(how, "columns", rows.place.at(entry(index, rows.each, K, AHEAD)), rows.place.width)
    return lines if rows.each == 1 else [loop("k", rows.each, lines)]


def _ahead(asked: Sequence[Statement]) -> Statement:
    return when(compare(AHEAD, "<", "n"), asked)


def _batches(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[i : i + TABLE_ROWS_AT_ONCE] for i in range(0, len(items), TABLE_ROWS_AT_ONCE)]
