"""Training on tables whose columns are divided among threads (skip-gram): the rewritten request, and its emission.

This file is to be removed (`shared/house.md`, Out); `SparseTrainer` then takes these programs."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ppl.compiler.emit.addresses import buffer_start
from ppl.compiler.emit.code import (
    Argument,
    Assign,
    Expression,
    ExpressionLike,
    Function,
    Literal,
    Name,
    Return,
    Statement,
    Tuple,
    Unary,
    add_to,
    as_expression,
    assign,
    call,
    compare,
    do,
    loop,
    name_tuple,
    sum_of,
    when,
)
from ppl.compiler.emit.cpu.drivers import KEEP_WORDS_ALIVE, without_parameter_copies
from ppl.compiler.emit.cpu.sparse_training import SPARSE_STATE, SparseTrainingEmitter
from ppl.compiler.emit.cpu.training import LARGEST_GRADIENT
from ppl.compiler.emit.emitter import ModuleItems
from ppl.compiler.emit.products import PREFETCHED_ROW, clamp_index, prefetch, row_view
from ppl.compiler.emit.scalar import ONE, ZERO, to_float, to_int
from ppl.compiler.emit.unit import TranslationUnit
from ppl.compiler.lower.request import Request
from ppl.compiler.lower.sizes import Poly, axis_size, identifier
from ppl.compiler.lower.sparse_gradients import PEAK, SparseTable, SparseTerm, TermArrays, sum_of_squares
from ppl.compiler.lower.views import row_axis
from ppl.compiler.schedule.stages import Opaque, Stage
from ppl.ir import ops
from ppl.ir.node import Node, make, rebuild, remake, topological
from ppl.ir.rewrites.simplify import simplify
from ppl.ir.types import Axis
from ppl.records import dataclass
from ppl.tuning import CACHE_LINE, COLUMN_ENTRIES, COLUMN_PART, COLUMN_TABLE_WIDTH, TABLE_ROWS_AT_ONCE


class Summand(NamedTuple):
    """coefs[r, k] · table[rows[r, k]], summed over the `each` entries k of data row r; no `coefs` stands for ones."""

    table: str
    rows: str
    coefs: str | None
    each: int


class Rows(NamedTuple):
    """Rows that several additions may share: a sum of table rows for every data row, added up before tables move."""

    summands: tuple[Summand, ...]

    @property
    def plain(self) -> bool:
        """Whether they are table rows as they are."""
        return len(self.summands) == 1 and self.summands[0].coefs is None and self.summands[0].each == 1


@dataclass(frozen=True)
class Columns:
    """How tables are cut into `parts` of nearly equal width, and what `rows` of terms are, by name."""

    parts: int
    tables: tuple[SparseTable, ...]
    rows: dict[str, Rows]

    def piece(self, table: SparseTable, part: int) -> tuple[int, int]:
        """First and last but one column of a part."""
        return table.width * part // self.parts, table.width * (part + 1) // self.parts

    def padded(self, table: SparseTable) -> int:
        """Entries from one row of a part to the next."""
        most = max(last - first for first, last in (self.piece(table, p) for p in range(self.parts)))
        return -(-most // CACHE_LINE) * CACHE_LINE

    def start(self, name: str) -> int:
        """Where a table begins in a part."""
        at = 0
        for table in self.tables:
            if table.name == name:
                return at
            at += table.length * self.padded(table)
        raise KeyError(name)

    @property
    def area(self) -> int:
        """Entries of a part."""
        return sum(t.length * self.padded(t) for t in self.tables)

    def table(self, name: str) -> SparseTable:
        """The table of this name."""
        return next(t for t in self.tables if t.name == name)


R, K, OWN, Y = map(Name, ("r", "k", "own", "y"))


class Place(NamedTuple):
    """A table in a part: its first entry, the number of its rows, and entries from one row to the next."""

    start: int
    length: int
    width: int

    def at(self, index: Expression) -> Expression:
        """Where the row begins that `index` names."""
        row = clamp_index(to_int(index), self.length - 1) * self.width
        return as_expression(self.start) + row if self.start else row


class Dot(NamedTuple):
    """`each` products per data row of rows of a table with the common row."""

    place: Place
    each: int


class Weighted(NamedTuple):
    """`each` rows of a table per data row, with coefficients or without."""

    place: Place
    each: int
    coefs: bool


def entry(array: str, count: int, k: ExpressionLike, r: Expression = R) -> Expression:
    """Entry `k` of the `count` ones of data row `r`."""
    return Name(array).at(r if count == 1 else r * count + as_expression(k))


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
    body += [assign(Y, row_view("out", width)), assign(OWN, ZERO)]
    few = [(i, k, w) for i, w in enumerate(found) for k in range(w.each) if w.each <= TABLE_ROWS_AT_ONCE]
    batches = _batches(few)
    whole = len(batches) == 1 and len(few) == sum(w.each for w in found)
    body += [] if batches else [assign(Y.whole(), ZERO)]
    for number, batch in enumerate(batches):
        body += [x for i, k, w in batch for x in _weighted(i, k, w)]
        products = [Name(f"c_{i}_{k}") * _here(f"t_{i}_{k}") if w.coefs else _here(f"t_{i}_{k}") for i, k, w in batch]
        turn: list[Statement] = [
            assign("x", sum_of([*([_here("y")] if number else []), *products])),
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
        body.append(assign(Y, row_view("rows", width)))
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
    lines = prefetch(how, "columns", rows.place.at(entry(index, rows.each, K, PREFETCHED_ROW)), rows.place.width)
    return lines if rows.each == 1 else [loop("k", rows.each, lines)]


def _ahead(asked: Sequence[Statement]) -> Statement:
    return when(compare(PREFETCHED_ROW, "<", "n"), asked)


def _batches(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[i : i + TABLE_ROWS_AT_ONCE] for i in range(0, len(items), TABLE_ROWS_AT_ONCE)]


class Read(NamedTuple):
    """`table[rows]`, for one or several rows per data row."""

    table: str
    rows: Node


Part = tuple[Read, Node | None]
"""Rows of a table and their coefficients, None for ones."""


def by_columns(request: Request, tables: Sequence[SparseTable]) -> tuple[Request, Columns] | None:
    """A sparse `request` in which products of table rows are taken by columns; None if tables are read in another way.

    `tables` and `request` are those of `scatter.sparse_request`.
    """
    shapes = dict(request.params)
    wide = tuple(t for t in tables if len(shapes[t.name]) == 2 and t.width >= COLUMN_TABLE_WIDTH)
    if not 0 < sum(t.length * t.width for t in wide) <= COLUMN_ENTRIES:
        return None
    parts = max(2, -(-max(t.width for t in wide) // COLUMN_PART))
    cut = _Cut(request, {t.name: t.width for t in wide}, parts)
    named = dict(request.arrays)
    rest = [t for t in tables if t not in wide]
    for table in rest:
        cut.keep(n for term in table.terms for n in term if isinstance(n, str))
    moved = []
    for table in wide:
        terms = [cut.term(term, named) for term in table.terms]
        if any(t is None for t in terms):
            return None
        moved.append(table._replace(terms=tuple(t for t in terms if t is not None)))
    found = cut.request()
    return None if found is None else (found, Columns(parts, tuple(_ordered(moved)), cut.rows))


def _ordered(tables: Sequence[SparseTable]) -> list[SparseTable]:
    """Tables with the most additions first: those after them may move when their rows have been read."""
    return sorted(tables, key=lambda t: -sum(term.repeat for term in t.terms))


class _Cut:
    """The arrays and products of a request whose tables, of these `widths`, are cut into `parts`."""

    def __init__(self, request: Request, widths: dict[str, int], parts: int):
        self._request, self._widths, self._parts = request, widths, parts
        self._arrays, self._kept = TermArrays(), dict(request.arrays)
        self._outputs: dict[str, Node] = {}
        self._needed: set[str] = set()
        self._multiplied: set[str] = set()
        self.rows: dict[str, Rows] = {}

    def keep(self, names: Any) -> None:
        """Keep arrays as they are."""
        for name in names:
            self._outputs[name] = self._kept[name]
            self._needed.add(name)

    def _name(self, kind: str, node: Node) -> str:
        """The name of the array `node`, which is computed if it has none."""
        name = next((n for n, x in self._kept.items() if x is node), None)
        name = self._arrays.name(f"more_{kind}", node) if name is None else name
        self._outputs[name] = node
        return name

    def term(self, term: SparseTerm, named: dict[str, Node]) -> SparseTerm | None:
        """`term` if its rows are sums of table rows, else None."""
        rows, target = named[term.rows], named[term.target]
        shared = len(rows.type.shape) == 1 and math.prod(target.type.shape) == term.repeat
        parts = self._sum(rows, None, False) if shared and _by_rows(rows) else None
        if parts is None:
            return None
        if term.rows not in self.rows:
            self._found(term.rows, parts)
        for name in (term.target, term.coefs):
            if name is not None:
                self._outputs[name] = named[name]
        return term

    def _found(self, rows: str, parts: Sequence[Part]) -> None:
        """Name what the array `rows` consists of."""
        summands = []
        for read, coefs in parts:
            name = None if coefs is None else self._name("coefs", simplify([coefs])[0])
            index = self._name("index", read.rows)
            summands.append(Summand(read.table, index, name, math.prod(read.rows.type.shape)))
        self.rows[rows] = Rows(tuple(summands))

    def _read(self, node: Node) -> Read | None:
        """The table rows that `node` is."""
        if node.op != "take" or len(node.args[1].type.shape) > 1 or not _by_rows(node.args[1]):
            return None
        table, index = node.args
        while table.op == "expand" and table.type.shape == table.args[0].type.shape:
            table = table.args[0]
        return Read(table.attrs["name"], index) if table.op == "param" and table.attrs["name"] in self._widths else None

    def _sum(self, node: Node, factor: Node | None, negative: bool) -> list[Part] | None:
        """`node` times `factor`, a number per data row, or its negative, as table rows and their coefficients."""
        read, axes = self._read(node), node.type.axes
        if read is not None:
            one = ops.expand(ops.const(1.0), axes) if factor is None and negative else factor
            return None if read.rows.type.shape else [(read, ops.neg(one) if one is not None and negative else one)]
        if node.op in ("add", "sub"):
            second = negative ^ (node.op == "sub")
            sides = self._sum(node.args[0], factor, negative), self._sum(node.args[1], factor, second)
            return None if sides[0] is None or sides[1] is None else sides[0] + sides[1]
        if node.op == "neg":
            return self._sum(node.args[0], factor, not negative)
        if node.op == "mul":
            for x, other in (node.args, node.args[::-1]):
                number = _constant_along_rows(other)
                if number is not None:
                    return self._sum(x, _times(number, factor, axes), negative)
        return self._weighted(node, factor, negative) if node.op == "contract" else None

    def _weighted(self, node: Node, factor: Node | None, negative: bool) -> list[Part] | None:
        """As `_sum`, of a product of rows with numbers."""
        for x, lx, other, lo in _sides(node):
            read = self._read(x)
            if node.attrs["over"] or lx[-1:] != node.attrs["out"] or lo != lx[:-1]:
                continue
            coefs = _times(other, factor, node.type.axes)
            if read is not None and len(lo) == 1:
                return [(read, ops.neg(coefs) if negative else coefs)]
            if not lo:
                return self._sum(x, coefs, negative)
        return None

    def _dots(self, left: Read, right: Read) -> list[Node]:
        """The products of the columns of each part."""
        names = self._name("index", left.rows), self._name("index", right.rows)
        attrs = {"tables": (left.table, right.table), "names": names, "width": self._widths[left.table]}
        self._multiplied.update(names)
        return [make("column_dot", left.rows, right.rows, part=p, **attrs) for p in range(self._parts)]

    def _dot(self, node: Node) -> Node | None:
        """A product of table rows as a sum over parts; None if `node` is no such product."""
        if node.op != "contract" or node.attrs["over"]:
            return None
        for x, lx, other, lo in _sides(node):
            left, right = self._read(x), self._read(other)
            if left is None or right is None or lo != lx[-1:] or right.rows.type.shape or node.attrs["out"] != lx[:-1]:
                continue
            total, *more = self._dots(left, right)
            for part in more:
                total = ops.add(total, part)
            return total
        return None

    def request(self) -> Request | None:
        """The request, if no table is read in another way; indices of products are at hand without being outputs."""
        old = self._request
        scalars = tuple(s for s in old.scalars if s[0] != PEAK)
        groups = scalars, old.grads, old.aux, tuple(self._outputs.items())
        nodes = rebuild([n for group in groups for _, n in group], lambda n, args: self._dot(n) or remake(n, args))
        if any(n.op == "param" and n.attrs["name"] in self._widths for n in topological(nodes)):
            return None
        queue = iter(nodes)
        scalars, grads, aux, outputs = (tuple((name, next(queue)) for name, _ in group) for group in groups)
        arrays = tuple(x for x in outputs if x[0] not in self._multiplied - self._needed)
        peak = PEAK, sum_of_squares(n for _, n in arrays)
        return dataclasses.replace(old, scalars=(*scalars, peak), grads=grads, aux=aux, arrays=arrays)


def _by_rows(node: Node) -> bool:
    """Whether `node` has one entry per row of a data set, and no other named axes."""
    axes = node.type.axes
    return len(axes) == 1 and axes[0].size is None and row_axis(axes) == axes[0]


def _times(a: Node, b: Node | None, axes: tuple[Axis, ...]) -> Node:
    """The product over `axes`, of the event of `a`, with a number `b` per row."""
    whole = ops.expand(a, axes, a.type.shape)
    return whole if b is None else ops.mul(whole, ops.expand(b, axes, a.type.shape))


def _sides(node: Node) -> list[tuple[Node, str, Node, str]]:
    """Both orders of the operands of a product, with their labels."""
    (a, b), la, lb = node.args, node.attrs["a"], node.attrs["b"]
    return [(a, la, b, lb), (b, lb, a, la)]


def _constant_along_rows(node: Node) -> Node | None:
    """The number per data row that `node`, of shape (D,), repeats."""
    if node.op != "expand" or len(node.type.shape) != 1:
        return None
    inner = node.args[0]
    if inner.type.shape in ((), (1,)):
        return ops.reshape(inner, ())
    return None if inner.type.axes == node.type.axes else _constant_along_rows(inner)


ARRAYS = ("held", "columns")

HELD, PIECE, SQUARES = Name("held"), Name("piece"), Name("squares")


class ColumnEmitter(SparseTrainingEmitter):
    """Writes a program whose tables are cut into `columns`, and its training loop; `tables` are the others."""

    def __init__(self, unit: TranslationUnit, columns: Columns, tables: Sequence[SparseTable] = (),
                 dense: Sequence[tuple[int, int]] = (), cut: Sequence[bool] = (), rows: str = "",
                 n_scalars: int = 0):  # fmt: skip
        self.columns = columns
        self._dots = {s.name: found for s in unit.stages if (found := _dots_of(s))}
        nodes = [step.node for found in self._dots.values() for step in found]
        self._indices = {name: x for n in nodes for name, x in zip(n.attrs["names"], n.args, strict=True)}
        self._factors = {(n.attrs["tables"][1], n.attrs["names"][1]) for n in nodes}
        regions = [*(f"{stage}_products" for stage in self._dots), "sum_rows", "move_rows"]
        super().__init__(dataclasses.replace(unit, more=ARRAYS), tables, dense, cut, rows, n_scalars, regions)
        self.state = *SPARSE_STATE, *ARRAYS

    def drivers(self, unrolled: bool) -> ModuleItems:
        """Regions over columns, the drivers, and the loop over both."""
        parts = [f for name, found in self._dots.items() for f in self._dot_regions(name, found)]
        parts += [*self._sum_rows(), *self._move_rows()]
        updates = [self.update(table) for table in self.tables]
        updates += self.updates("update_rest") if self.tables or self.dense else []
        return [*parts, *self.runs().parallel(), *updates, self._step_on(), self.train()]

    def held_entries(self) -> Poly:
        """Entries of `held`."""
        return self._held_at("", self.columns.parts)

    @property
    def everything(self) -> list[SparseTable]:
        """All sparse tables."""
        return [*self.tables, *self.columns.tables]

    def axes_size(self, name: str) -> tuple[Poly, int]:
        """Rows of data of an array, and its entries per row."""
        node = self._indices.get(name)
        node = self.outputs[name].node if node is None else node
        return axis_size(node.type.axes[0]), node.type.event_size

    def entries(self, name: str) -> Poly:
        """Number of entries of an array; all that belong to tables by columns have one named axis."""
        if name not in self._indices:
            return super().entries(name)
        rows, each = self.axes_size(name)
        return rows * each

    def array(self, name: str) -> Expression:
        """An array that the step has written, or an index."""
        return super().array(name) if name in self.outputs else self._index(name)

    def _index(self, name: str) -> Expression:
        """An index as products read it: it may be an output as well, but that is written later."""
        array, start = self._stored(self._indices[name])
        return array.cut(start, as_expression(self.entries(name)))

    def before(self) -> Mapping[str, Sequence[Statement]]:
        """Products come before the stages that read them."""
        return {stage: [self._run(f"{stage}_products")] for stage in self._dots}

    def _run(self, name: str) -> Statement:
        return self.regions.enter(name, parallel=True, parts="threads")

    def _place(self, name: str) -> Place:
        table = self.columns.table(name)
        return Place(self.columns.start(name), table.length, self.columns.padded(table))

    def _dot_regions(self, stage: str, found: Sequence[Opaque]) -> list[Function]:
        """The region that takes the products before a stage, and its functions: one for all that share a factor."""
        functions: list[Function] = []
        parts: list[list[Statement]] = [[self._mine(p), assign(SQUARES, ZERO)] for p in range(self.columns.parts)]
        for number, ((table, right), products) in enumerate(_by_factor(found).items()):
            name = f"{stage}_dots_{number}"
            made = [Dot(self._place(left), steps[0].node.type.event_size) for (left, _), steps in products.items()]
            functions.append(dots(name, self._place(table), made))
            for p, lines in enumerate(parts):
                passed = [x for (_, index), steps in products.items()
                          for x in (self._index(index), self._from(steps[p].node))]  # fmt: skip
                lines.append(add_to(SQUARES, call(name, "mine", self.axes_size(right)[0], self._index(right), *passed)))
        first = stage == next(iter(self._dots))
        body = [self._share()]
        for p, lines in enumerate(parts):
            kept = Assign(HELD.at(self._own(p) + 1), SQUARES, "" if first else "+")
            body.append(when(compare("lo", "<=", p, "<", "hi"), [*lines, kept]))
        return [*functions, self.regions.region(f"{stage}_products", body, "Products of table rows, by columns.")]

    def _own(self, part: ExpressionLike) -> Expression:
        """Where a part has its squares in `held`: of sums, and of factors of products."""
        return Literal(CACHE_LINE) * (Literal(1) + part)

    def _share(self) -> Statement:
        """The parts that belong to a slab."""
        slab, parts = Name("slab"), self.columns.parts
        ends = slab * parts // "slabs", (slab + 1) * parts // "slabs"
        return Assign(name_tuple("lo", "hi"), Tuple(ends))

    def _mine(self, part: ExpressionLike) -> Statement:
        """The view of one part."""
        area = self.columns.area
        return assign("mine", Name("columns").cut(as_expression(part) * area, area))

    def _from(self, node: Node) -> Expression:
        """The stored rows of a node, and what comes behind."""
        array, start = self._stored(node)
        return array.after(start)

    def _stored(self, node: Node) -> tuple[Name, Expression]:
        """The array that holds the rows of a node, and where."""
        read = self.unit.builder.access(node)
        assert read.value.buffer is not None
        start = buffer_start(read.value)
        return Name(read.value.buffer.array), start + read.view.offset if read.view.offset else start

    def _summed(self) -> list[tuple[str, Rows]]:
        """The rows that are summed before tables move: all but factors of products from tables that move later."""
        order, found = [t.name for t in self.columns.tables], {}
        for at, table in enumerate(self.columns.tables):
            for part in table.terms:
                rows = self.columns.rows[part.rows]
                first = rows.summands[0]
                later = rows.plain and first.table not in order[: at + 1]
                if not later or (first.table, first.rows) not in self._factors:
                    found[part.rows] = rows
        return list(found.items())

    def _width(self, rows: Rows) -> int:
        return self._place(rows.summands[0].table).width

    def _held_at(self, name: str, part: str | int) -> Poly:
        """Where the sums called `name` of a part begin; those of all parts, if no sums are called so, end there."""
        total, before = Poly(), Poly()
        for other, rows in self._summed():
            before = total if other == name else before
            total = total + self._rows_of(rows.summands[0]) * self._width(rows)
        return Poly.of(CACHE_LINE * (1 + self.columns.parts)) + total * Poly.of(part) + before

    def _rows_of(self, summand: Summand) -> Poly:
        return self.axes_size(summand.rows)[0]

    def _sum_rows(self) -> list[Function]:
        """The region that adds up table rows, and its functions."""
        functions: list[Function] = []
        lines: list[Statement] = [self._mine(PIECE), assign(SQUARES, ZERO)]
        for i, (name, rows) in enumerate(self._summed()):
            weighted = [Weighted(self._place(s.table), s.each, s.coefs is not None) for s in rows.summands]
            functions.append(sums(f"sum_rows_{i}", weighted))
            arrays = [self.array(x) for s in rows.summands for x in (s.rows, s.coefs) if x is not None]
            at, given = self._held_rows(name, rows)
            summed = call(f"sum_rows_{i}", "mine", self._rows_of(rows.summands[0]), given, *arrays)
            lines += [at, add_to(SQUARES, summed)]
        lines.append(assign(HELD.at(self._own(PIECE)), SQUARES))
        doc = "Sums of table rows that additions share, by columns."
        return [*functions, self.regions.region("sum_rows", self._each_part(lines), doc)]

    def _held_rows(self, name: str, rows: Rows) -> tuple[Statement, Expression]:
        """Where the sums called `name` are held, in the part `piece`: what sets `at`, and the view from there."""
        size = self._rows_of(rows.summands[0]) * self._width(rows)
        return assign("at", self._held_at(name, PIECE.name)), HELD.cut("at", as_expression(size))

    def _each_part(self, body: Sequence[Statement]) -> list[Statement]:
        """`body` for every part of a slab."""
        return [self._share(), loop(PIECE.name, "hi", body, "lo")]

    def _move_rows(self) -> list[Function]:
        """The region that moves tables, and its functions."""
        functions: list[Function] = []
        lines = [self._mine(PIECE)]
        for table in self.columns.tables:
            groups = itertools.groupby(sorted(table.terms, key=lambda t: t.rows), key=lambda t: t.rows)
            for i, (rows, group) in enumerate(groups):
                function, moved = self._moves(table, f"move_{identifier(table.name)}_{i}", rows, list(group))
                functions.append(function)
                lines += moved
        body = self._each_part(lines)
        return [*functions, self.regions.region("move_rows", body, "The step on all tables, by columns.")]

    def _moves(
        self, table: SparseTable, name: str, rows: str, terms: Sequence[SparseTerm]
    ) -> tuple[Function, list[Statement]]:
        """The function that moves a table by the terms that share `rows`, and the statements that call it."""
        target, source = self._place(table.name), self.columns.rows[rows]
        first, held = source.summands[0], rows in [name for name, _ in self._summed()]
        made = [Weighted(target, t.repeat, t.coefs is not None) for t in terms]
        function = moves(name, target, None if held else self._place(first.table), made)
        at, given = self._held_rows(rows, source) if held else (None, self.array(first.rows))
        arrays = [self.array(x) for t in terms for x in (t.target, t.coefs) if x is not None]
        moved = do(name, "mine", self._rows_of(first), HELD.at(0), given, *arrays)
        return function, [moved] if at is None else [at, moved]

    def _step_on(self) -> Function:
        """The update: sums, then, if they are finite, the moves."""
        parts = [HELD.at(self._own(p) + i) for p in range(self.columns.parts) for i in range(2)]
        bounded = compare(sum_of([Literal(1.0), *parts]) * as_expression(self.all_additions()), "<", LARGEST_GRADIENT)
        refused = when(Unary("not", bounded), [KEEP_WORDS_ALIVE, Return(Literal(False))])
        lines = [
            without_parameter_copies(),
            *self.regions.packed(),
            assign(HELD.at(0), to_float(Name("rate") * "factor")),
            self._run("sum_rows"),
            refused,
            self._run("move_rows"),
            KEEP_WORDS_ALIVE,
        ]
        lines += [do("update_rest", *SPARSE_STATE, "threads")] if self.tables or self.dense else []
        arguments = [*self.state, *self._more(), "threads", "entry_points"]
        body = [*lines, Return(Literal(True))]
        return self.unit.function("update", arguments, body, "The step, unless it may overflow.")

    def _more(self) -> list[str]:
        """What drivers are passed besides the state."""
        return [a for a in self.unit.driver_arguments if a not in self.state]

    def update_passed(self, given: dict[str, ExpressionLike]) -> list[ExpressionLike]:
        """What the loop passes the update behind the state."""
        return [*(given[a] for a in self._more()), "threads", "entry_points"]


def _dots_of(stage: Stage) -> list[Opaque]:
    return [s for s in stage.steps if isinstance(s, Opaque) and s.node.op == "column_dot"]


def _by_factor(found: Sequence[Opaque]) -> dict[tuple[str, str], dict[tuple[str, str], list[Opaque]]]:
    """Products by the rows that they share, by the others, and by part: (table, name of the index) of each."""
    groups: dict[tuple[str, str], dict[tuple[str, str], list[Opaque]]] = {}
    for step in sorted(found, key=lambda s: s.node.attrs["part"]):
        (left, right), names = step.node.attrs["tables"], step.node.attrs["names"]
        groups.setdefault((right, names[1]), {}).setdefault((left, names[0]), []).append(step)
    return groups
