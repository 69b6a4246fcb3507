"""Emission of loops over the rows of one part of tables that threads share by columns; all sizes are constants.

All tables of a part lie in one array `columns`; a `Place` says where. Rows of tables are asked for some rows of data
earlier (`fetch`), up to `MAX_AT_ONCE` of them are walked through side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ppl.compiler.emit.tables import MAX_AT_ONCE, fetch


class Place(NamedTuple):
    """A table in a part: its first entry, the number of its rows, and entries from one row to the next."""

    start: int
    length: int
    width: int

    def at(self, index: str) -> str:
        """Where the row begins that the expression `index` names."""
        row = f"min(max(I({index}), 0), {self.length - 1}) * {self.width}"
        return f"{self.start} + {row}" if self.start else row


class Dot(NamedTuple):
    """`each` products per data row of rows of a table with the common row."""

    place: Place
    each: int


class Weighted(NamedTuple):
    """`each` rows of a table per data row, with coefficients or without."""

    place: Place
    each: int
    coefs: bool


def entry(array: str, count: int, k: object, r: str = "r") -> str:
    """Entry `k` of the `count` ones of data row `r`."""
    if count == 1:
        return f"{array}[{r}]"
    first = f"({r})" if " " in r else r
    return f"{array}[{first} * {count} + {k}]"


def function(name: str, arguments: Sequence[str], doc: str, body: Sequence[str], after: Sequence[str] = ()) -> str:
    """A function with `body` for each of n data rows."""
    top = [f"@jit\ndef {name}({', '.join(arguments)}):", f'    """{doc}"""', "    prefer_wide()"]
    before = ["    total = F(0.0)"] if after else []
    loop = ["    for r in range(n):", *("        " + line for line in body)]
    return "\n".join([*top, *before, *loop, *("    " + line for line in after)])


def dots(name: str, right: Place, found: Sequence[Dot]) -> str:
    """The source of `name(columns, n, right, index_0, out_0, …)`, products of rows with the row that `right` names.

    It returns Σ right².
    """
    arguments = ["columns", "n", "right", *(x for i, _ in enumerate(found) for x in (f"index_{i}", f"out_{i}"))]
    asked = _ask("right", Weighted(right, 1, False), "to_read")
    for i, dot in enumerate(found):
        asked += _ask(f"index_{i}", Weighted(dot.place, dot.each, False), "to_read")
    body = [*_ahead(asked), f"y_at = {right.at('right[r]')}", f"y = columns[y_at : y_at + {right.width}]",
            "own = F(0.0)"]  # fmt: skip
    few = [(i, k, d) for i, d in enumerate(found) for k in range(d.each) if d.each <= MAX_AT_ONCE]
    for number, batch in enumerate(_batches(few)):
        body += [x for i, k, d in batch for x in _row(f"{i}_{k}", d.place, entry(f"index_{i}", d.each, k))]
        body += [f"s_{i}_{k} = F(0.0)" for i, k, _ in batch] + [f"for j in range({right.width}):"]
        body += [f"    s_{i}_{k} += t_{i}_{k}[j] * y[j]" for i, k, d in batch]
        body += ["    own += y[j] * y[j]"] if number == 0 else []
        body += [f"{entry(f'out_{i}', d.each, k)} = s_{i}_{k}" for i, k, d in batch]
    for i, d in enumerate(found):
        if d.each > MAX_AT_ONCE:
            body += [f"for k in range({d.each}):",
                     *("    " + x for x in _row("k", d.place, entry(f"index_{i}", d.each, "k"))),
                     "    s = F(0.0)", f"    for j in range({right.width}):", "        s += t_k[j] * y[j]",
                     f"    {entry(f'out_{i}', d.each, 'k')} = s"]  # fmt: skip
    body += [] if few else [f"for j in range({right.width}):", "    own += y[j] * y[j]"]
    body += ["total += own"]
    doc = "Products of rows, over the columns of one part; returns the sum of the squares of the common rows."
    return function(name, arguments, doc, body, ["return total"])


def sums(name: str, found: Sequence[Weighted]) -> str:
    """The source of `name(columns, n, out, index_0, coefs_0, …)`: weighted sums of rows; returns their squares."""
    width = found[0].place.width
    given = [x for i, w in enumerate(found) for x in (f"index_{i}", *([f"coefs_{i}"] if w.coefs else []))]
    body = _ahead([x for i, w in enumerate(found) for x in _ask(f"index_{i}", w, "to_read")])
    body += [f"y = out[r * {width} : r * {width} + {width}]", "own = F(0.0)"]
    few = [(i, k, w) for i, w in enumerate(found) for k in range(w.each) if w.each <= MAX_AT_ONCE]
    batches = _batches(few)
    whole = len(batches) == 1 and len(few) == sum(w.each for w in found)
    body += [] if batches else ["y[:] = F(0.0)"]
    for number, batch in enumerate(batches):
        for i, k, w in batch:
            body += _row(f"{i}_{k}", w.place, entry(f"index_{i}", w.each, k))
            body += [f"c_{i}_{k} = {entry(f'coefs_{i}', w.each, k)}"] if w.coefs else []
        products = [f"c_{i}_{k} * t_{i}_{k}[j]" if w.coefs else f"t_{i}_{k}[j]" for i, k, w in batch]
        terms = (["y[j]"] if number else []) + products
        body += [f"for j in range({width}):", f"    x = {' + '.join(terms)}", "    y[j] = x"]
        body += ["    own += x * x"] if whole else []
    for i, w in enumerate(found):
        if w.each > MAX_AT_ONCE:
            factor = entry(f"coefs_{i}", w.each, "k") if w.coefs else "F(1.0)"
            body += [f"for k in range({w.each}):",
                     *("    " + x for x in _row("k", w.place, entry(f"index_{i}", w.each, "k"))),
                     f"    c = {factor}", f"    for j in range({width}):", "        y[j] += c * t_k[j]"]  # fmt: skip
    body += [] if whole else [f"for j in range({width}):", "    own += y[j] * y[j]"]
    body += ["total += own"]
    doc = "Weighted sums of rows, over the columns of one part; returns the sum of their squares."
    return function(name, ["columns", "n", "out", *given], doc, body, ["return total"])


def moves(name: str, target: Place, rows: Place | None, found: Sequence[Weighted]) -> str:
    """The source of `name(columns, n, rate, rows, targets_0, coefs_0, …)`: rows of `target` minus rate · coefs · row.

    `rows` of data row r is a row of the table at `rows`, if that is given, else row r of an array.
    """
    width = target.width
    given = [x for i, w in enumerate(found) for x in (f"targets_{i}", *([f"coefs_{i}"] if w.coefs else []))]
    asked = _ask("rows", Weighted(rows, 1, False), "to_read") if rows else []
    body = _ahead(asked + [x for i, w in enumerate(found) for x in _ask(f"targets_{i}", w, "to_write")])
    if rows:
        body += [f"y_at = {rows.at('rows[r]')}", f"y = columns[y_at : y_at + {width}]"]
    else:
        body += [f"y = rows[r * {width} : r * {width} + {width}]"]
    for i, w in enumerate(found):
        factor = f" * {entry(f'coefs_{i}', w.each, 'k')}" if w.coefs else ""
        one = [*_row("k", w.place, entry(f"targets_{i}", w.each, "k")), f"c = rate{factor}",
               f"for j in range({width}):", "    t_k[j] -= c * y[j]"]  # fmt: skip
        body += [f"for k in range({w.each}):", *("    " + x for x in one)] if w.each > 1 else one
    return function(name, ["columns", "n", "rate", "rows", *given], "Steps of SGD on the columns of one part.", body)


def _row(name: str, place: Place, index: str) -> list[str]:
    """The table row `t_name`."""
    return [f"at_{name} = {place.at(index)}", f"t_{name} = columns[at_{name} : at_{name} + {place.width}]"]


def _ask(index: str, rows: Weighted, how: str) -> list[str]:
    """Statements that ask for the rows of data row r + AHEAD."""
    place, count = rows.place, rows.each
    lines = fetch(how, "columns", place.at(entry(index, count, "k", "r + AHEAD")), place.width)
    return lines if count == 1 else [f"for k in range({count}):", *("    " + x for x in lines)]


def _ahead(asked: Sequence[str]) -> list[str]:
    return ["if r + AHEAD < n:", *("    " + x for x in asked)]


def _batches(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[i : i + MAX_AT_ONCE] for i in range(0, len(items), MAX_AT_ONCE)]
