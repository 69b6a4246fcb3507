"""Emission of products with rows of tables: one function each for the rows of a tile, in which sizes are constants.

Rows of tables are asked for some rows of the tile earlier (`fetch`): where they are is known, and it may be the cache
of the core that last wrote them.
"""

from __future__ import annotations

from ppl.compiler.emit.code import (
    Argument,
    Expression,
    Function,
    Given,
    Name,
    Statement,
    add_to,
    assign,
    call,
    compare,
    do,
    loop,
    term,
    total,
    when,
)
from ppl.compiler.emit.scalar import ZERO, to_int
from ppl.ir.node import Node
from ppl.tuning import CACHE_LINE, TABLE_ROWS_AT_ONCE

AHEAD = Name("r") + "AHEAD"
"""The row whose table rows are asked for at row `r`."""


def function(name: str, node: Node) -> Function:
    """The function `name(out, table, index, x, n)`, which carries out the step `node` for n rows."""
    (length, width), count = node.args[0].type.shape, node.args[1].type.event_size
    rows = Rows(count, width, length - 1)
    write = (_dots if node.op == "table_dot" else _sums) if count <= TABLE_ROWS_AT_ONCE else _one_by_one
    what = "Products" if node.op == "table_dot" else "Sums"
    asked = fetch("to_read", "table", rows.find(AHEAD, "k"), width)
    body = [when(compare(AHEAD, "<", "n"), [loop("k", count, asked)]), *write(node.op, rows)]
    arguments = tuple(map(Argument, ("out", "table", "index", "x", "n")))
    doc = f"{what} of {count} table rows of {width} entries."
    return Function(name, arguments, (do("prefer_full_width"), loop("r", "n", body)), doc)


def fetch(how: str, array: str, start: Given, size: int) -> list[Statement]:
    """Statements that ask for `size` entries of `array` from `start` on; `how` is "to_read" or "to_write"."""
    return [assign("at", start), loop("j", size, [do(how, array, Name("at") + "j")], 0, CACHE_LINE)]


def clamped(index: Given, last: int) -> Expression:
    """An index of a table, at most its `last` row."""
    return call("min", call("max", index, 0), last)


def row_of(array: str, width: int) -> Expression:
    """Row `r` of an array whose rows have `width` entries."""
    return Name(array).cut(Name("r") * width, width)


class Rows:
    """The `count` table rows of `width` entries that every row `r` names, up to the `last` one of the table."""

    def __init__(self, count: int, width: int, last: int):
        self.count, self.width, self.last = count, width, last

    def entry(self, r: Expression, k: Given) -> Expression:
        """Where index, result or coefficient number `k` of row `r` lies."""
        return r if self.count == 1 else r * self.count + term(k)

    def find(self, r: Expression, k: Given) -> Expression:
        """Where table row number `k` of row `r` begins."""
        return clamped(to_int(Name("index").at(self.entry(r, k))), self.last) * self.width

    def named(self) -> list[Statement]:
        """The table rows `t_0`, `t_1`, … of row `r`."""
        lines: list[Statement] = []
        for k in range(self.count):
            lines += [assign(f"at_{k}", self.find(Name("r"), k)), assign(f"t_{k}", _table_row(f"at_{k}", self.width))]
        return lines


def _table_row(at: str, width: int) -> Expression:
    return Name("table").cut(at, width)


def _number(array: str, count: int, k: Given) -> Expression:
    """Number `k` of the `count` ones of row `r`."""
    return Name(array).at(Name("r") * count + term(k))


def _dots(op: str, rows: Rows) -> list[Statement]:
    """All products in one loop."""
    count, width, each = rows.count, rows.width, range(rows.count)
    lines = [*rows.named(), assign("y", row_of("x", width)), *(assign(f"s_{k}", ZERO) for k in each)]
    inner = [add_to(f"s_{k}", Name(f"t_{k}").at("j") * Name("y").at("j")) for k in each]
    return [*lines, loop("j", width, inner), *(assign(_number("out", count, k), f"s_{k}") for k in each)]


def _sums(op: str, rows: Rows) -> list[Statement]:
    """The sum of all rows in one loop."""
    count, width, each = rows.count, rows.width, range(rows.count)
    lines = [*rows.named(), assign("y", row_of("out", width))]
    lines += [assign(f"c_{k}", _number("x", count, k)) for k in each]
    summed = total(Name(f"c_{k}") * Name(f"t_{k}").at("j") for k in each)
    return [*lines, loop("j", width, [assign(Name("y").at("j"), summed)])]


def _one_by_one(op: str, rows: Rows) -> list[Statement]:
    """A loop over the table rows."""
    count, width, y, t = rows.count, rows.width, Name("y").at("j"), Name("t").at("j")
    find = [assign("at", rows.find(Name("r"), "k")), assign("t", _table_row("at", width))]
    if op == "table_dot":
        summed, done = loop("j", width, [add_to("s", t * y)]), assign(_number("out", count, "k"), "s")
        turn = [*find, assign("s", ZERO), summed, done]
        return [assign("y", row_of("x", width)), loop("k", count, turn)]
    turn = [*find, assign("c", _number("x", count, "k")), loop("j", width, [add_to(y, Name("c") * t)])]
    return [assign("y", row_of("out", width)), assign(Name("y").whole(), ZERO), loop("k", count, turn)]
