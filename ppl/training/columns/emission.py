"""Emission of training on tables that threads share by columns (`ppl.training.columns.request`).

A step is: rows of data as in other programs up to the products of table rows; these products, each part on one thread;
rows of data again, with products as sums over the parts; sums of table rows, each part on one thread; then, if all of
it is finite, each part's move. `columns` holds the parts one after another, `held` the rate, the squares of what each
part has summed, and the sums.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from ppl.compiler.emit.checks import begin
from ppl.compiler.emit.code import (
    Assign,
    Expression,
    Function,
    Given,
    Literal,
    Name,
    Return,
    Statement,
    Tuple,
    Unary,
    add_to,
    assign,
    call,
    compare,
    do,
    loop,
    names,
    term,
    total,
    when,
)
from ppl.compiler.emit.cpu.drivers import no_copies
from ppl.compiler.emit.cpu.regions import RELEASE
from ppl.compiler.emit.cpu.sparse_training import STATE, TrainEmitter
from ppl.compiler.emit.cpu.training import LARGEST
from ppl.compiler.emit.emitter import Items
from ppl.compiler.emit.scalar import ZERO, to_float
from ppl.compiler.emit.unit import Unit
from ppl.compiler.lower.identifiers import identifier
from ppl.compiler.lower.sparse import Table, Term
from ppl.compiler.lower.views import Poly, axis_size
from ppl.compiler.schedule.stages import Opaque, Stage
from ppl.ir.node import Node
from ppl.training.columns.loops import Dot, Place, Weighted, dots, moves, sums
from ppl.training.columns.parts import Columns, Rows, Summand
from ppl.tuning import CACHE_LINE

ARRAYS = ("held", "columns")
HELD, PIECE, SQUARES = Name("held"), Name("piece"), Name("squares")


class ColumnEmitter(TrainEmitter):
    """Writes a program whose tables are cut into `columns`, and its training loop; `tables` are the others."""

    def __init__(self, unit: Unit, columns: Columns, tables: Sequence[Table] = (),
                 dense: Sequence[tuple[int, int]] = (), cut: Sequence[bool] = (), rows: str = "",
                 n_scalars: int = 0):  # fmt: skip
        self.columns = columns
        self._dots = {s.name: found for s in unit.stages if (found := _dots_of(s))}
        nodes = [step.node for found in self._dots.values() for step in found]
        self._indices = {name: x for n in nodes for name, x in zip(n.attrs["names"], n.args, strict=True)}
        self._factors = {(n.attrs["tables"][1], n.attrs["names"][1]) for n in nodes}
        regions = [*(f"{stage}_products" for stage in self._dots), "sum_rows", "move_rows"]
        super().__init__(dataclasses.replace(unit, more=ARRAYS), tables, dense, cut, rows, n_scalars, regions)
        self.state = *STATE, *ARRAYS

    def drivers(self, unrolled: bool) -> Items:
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
    def everything(self) -> list[Table]:
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
        return array.cut(start, term(self.entries(name)))

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

    def _own(self, part: Given) -> Expression:
        """Where a part has its squares in `held`: of sums, and of factors of products."""
        return Literal(CACHE_LINE) * (Literal(1) + part)

    def _share(self) -> Statement:
        """The parts that belong to a slab."""
        slab, parts = Name("slab"), self.columns.parts
        ends = slab * parts // "slabs", (slab + 1) * parts // "slabs"
        return Assign(names("lo", "hi"), Tuple(ends))

    def _mine(self, part: Given) -> Statement:
        """The view of one part."""
        area = self.columns.area
        return assign("mine", Name("columns").cut(term(part) * area, area))

    def _from(self, node: Node) -> Expression:
        """The stored rows of a node, and what comes behind."""
        array, start = self._stored(node)
        return array.after(start)

    def _stored(self, node: Node) -> tuple[Name, Expression]:
        """The array that holds the rows of a node, and where."""
        read = self.unit.builder.access(node)
        assert read.value.buffer is not None
        start = begin(read.value)
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
        return assign("at", self._held_at(name, PIECE.name)), HELD.cut("at", term(size))

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

    def _moves(self, table: Table, name: str, rows: str, terms: Sequence[Term]) -> tuple[Function, list[Statement]]:
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
        bounded = compare(total([Literal(1.0), *parts]) * term(self.all_additions()), "<", LARGEST)
        refused = when(Unary("not", bounded), [RELEASE, Return(Literal(False))])
        lines = [no_copies(), *self.regions.packed(), assign(HELD.at(0), to_float(Name("rate") * "factor")),
                 self._run("sum_rows"), refused, self._run("move_rows"), RELEASE]  # fmt: skip
        lines += [do("update_rest", *STATE, "threads")] if self.tables or self.dense else []
        arguments = [*self.state, *self._more(), "threads", "entry_points"]
        body = [*lines, Return(Literal(True))]
        return self.unit.function("update", arguments, body, "The step, unless it may overflow.")

    def _more(self) -> list[str]:
        """What drivers are passed besides the state."""
        return [a for a in self.unit.driver_arguments if a not in self.state]

    def update_passed(self, given: dict[str, Given]) -> list[Given]:
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
