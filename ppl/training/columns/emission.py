"""Emission of training on tables that threads share by columns (`ppl.training.columns.request`).

A step is: rows of data as in other programs up to the products of table rows; these products, each part on one thread;
rows of data again, with products as sums over the parts; sums of table rows, each part on one thread; then, if all of
it is finite, each part's move. `columns` holds the parts one after another, `held` the rate, the squares of what each
part has summed, and the sums.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from ppl.compiler.emit.cpu.sparse_training import STATE, TrainEmitter
from ppl.compiler.emit.cpu.training import LARGEST
from ppl.compiler.lower.layout import Poly, axis_size, identifier
from ppl.compiler.lower.sparse import Table
from ppl.compiler.schedule.stages import Opaque, Stage
from ppl.ir.node import Node
from ppl.training.columns.loops import Dot, Place, Weighted, dots, moves, sums
from ppl.training.columns.parts import Columns, Rows, Summand

ARRAYS = ("held", "columns")
LINE = 16
"""Entries between what different threads write."""


@dataclass
class ColumnEmitter(TrainEmitter):
    """Writes a program whose tables are cut into `columns`, and its training loop; `tables` are the others."""

    columns: Columns = field(default_factory=lambda: Columns(1, (), {}))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.common += ARRAYS
        self._dots = {s.name: found for s in self.stages if (found := _dots_of(s))}
        nodes = [step.node for found in self._dots.values() for step in found]
        self._indices = {name: x for n in nodes for name, x in zip(n.attrs["names"], n.args, strict=True)}
        self._factors = {(n.attrs["tables"][1], n.attrs["names"][1]) for n in nodes}
        self.state = ", ".join([STATE, *ARRAYS])

    @property
    def more_regions(self) -> list[str]:  # type: ignore[override]
        """Products before each stage, sums, and moves."""
        return [*(f"{stage}_products" for stage in self._dots), "sum_rows", "move_rows"]

    def drivers(self, one: str) -> list[str]:
        """Regions over columns, the drivers, and the loop over both."""
        self.outputs = {o.name: o for s in self.stages for o in s.outputs if o.array in ("out", "iout")}
        parts = [text for name, found in self._dots.items() for text in self._products(name, found)]
        rest = [*map(self._update, self.tables), self._updates("update_rest")] if self.tables or self.dense else []
        return [*parts, *self._sum_rows(), *self._move_rows(), *self._parallel(), *rest, self._step_on(), self._train()]

    def held_entries(self) -> Poly:
        """Entries of `held`."""
        return self._held_at("", self.columns.parts)

    @property
    def everything(self) -> list[Table]:
        """All sparse tables."""
        return [*self.tables, *self.columns.tables]

    def given(self, out: str, rows: Sequence[str]) -> str:
        """As for other programs, with the arrays of parts."""
        return ", ".join([super().given(out, rows), *ARRAYS])

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

    def _array(self, name: str) -> str:
        return super()._array(name) if name in self.outputs else self._index(name)

    def _index(self, name: str) -> str:
        """An index as products read it: it may be an output as well, but that is written later."""
        array, start = self._stored(self._indices[name])
        return f"{array}[{start} : {start} + {self.entries(name)}]"

    def _kinds(self) -> dict[str, str]:
        return super()._kinds() | dict.fromkeys(ARRAYS, "F")

    def _driver_arguments(self) -> list[str]:
        return [*super()._driver_arguments(), *ARRAYS]

    def _before(self, stage: Stage) -> list[str]:
        return [self._run(f"{stage.name}_products")] if stage.name in self._dots else []

    def _run(self, name: str) -> str:
        return self.enter(name, parallel=True, parts="threads")

    def _place(self, name: str) -> Place:
        table = self.columns.table(name)
        return Place(self.columns.start(name), table.length, self.columns.padded(table))

    def _products(self, stage: str, found: Sequence[Opaque]) -> list[str]:
        """The region that takes the products before a stage, and its functions: one for all that share a factor."""
        functions: list[str] = []
        parts: list[list[str]] = []
        for p in range(self.columns.parts):
            parts.append([f"if lo <= {p} < hi:", f"    {self._mine(p)}", "    squares = F(0.0)"])
        for number, ((table, right), products) in enumerate(_by_factor(found).items()):
            made = [Dot(self._place(left), steps[0].node.type.event_size) for (left, _), steps in products.items()]
            functions.append(dots(f"{stage}_dots_{number}", self._place(table), made))
            for p, lines in enumerate(parts):
                passed = [f"{self._index(index)}, {self._from(steps[p].node)}"
                          for (_, index), steps in products.items()]  # fmt: skip
                call = f"(mine, {self.axes_size(right)[0]}, {self._index(right)}, {', '.join(passed)})"
                lines.append(f"    squares += {stage}_dots_{number}{call}")
        for p, lines in enumerate(parts):
            lines.append(f"    held[{self._own(p)} + 1] {'=' if stage == next(iter(self._dots)) else '+='} squares")
        body = [self._share(), *(line for lines in parts for line in lines)]
        return [*functions, self.region(f"{stage}_products", body, "Products of table rows, by columns.")]

    def _own(self, part: int | str) -> str:
        """Where a part has its squares in `held`: of sums, and of factors of products."""
        return f"{LINE} * (1 + {part})"

    def _share(self) -> str:
        parts = self.columns.parts
        return f"lo, hi = slab * {parts} // slabs, (slab + 1) * {parts} // slabs"

    def _mine(self, part: int | str) -> str:
        area = self.columns.area
        return f"mine = columns[{part} * {area} : {part} * {area} + {area}]"

    def _from(self, node: Node) -> str:
        """The stored rows of a node, and what comes behind."""
        array, start = self._stored(node)
        return f"{array}[{start} :]"

    def _stored(self, node: Node) -> tuple[str, str]:
        """The array that holds the rows of a node, and where."""
        read = self.builder.access(node)
        buffer = read.value.buffer
        assert buffer is not None
        return buffer.array, f"{buffer.offset} + {read.view.offset}" if read.view.offset else buffer.offset

    def _summed(self) -> list[tuple[str, Rows]]:
        """The rows that are summed before tables move: all but factors of products from tables that move later."""
        order, found = [t.name for t in self.columns.tables], {}
        for at, table in enumerate(self.columns.tables):
            for term in table.terms:
                rows = self.columns.rows[term.rows]
                first = rows.summands[0]
                later = rows.plain and first.table not in order[: at + 1]
                if not later or (first.table, first.rows) not in self._factors:
                    found[term.rows] = rows
        return list(found.items())

    def _width(self, rows: Rows) -> int:
        return self._place(rows.summands[0].table).width

    def _held_at(self, name: str, part: str | int) -> Poly:
        """Where the sums called `name` of a part begin; those of all parts, if no sums are called so, end there."""
        total, before = Poly(), Poly()
        for other, rows in self._summed():
            before = total if other == name else before
            total = total + self._rows_of(rows.summands[0]) * self._width(rows)
        return Poly.of(LINE * (1 + self.columns.parts)) + total * Poly.of(part) + before

    def _rows_of(self, summand: Summand) -> Poly:
        return self.axes_size(summand.rows)[0]

    def _sum_rows(self) -> list[str]:
        """The region that adds up table rows, and its functions."""
        functions, lines = [], []
        for i, (name, rows) in enumerate(self._summed()):
            functions.append(sums(f"sum_rows_{i}", [Weighted(self._place(s.table), s.each, s.coefs is not None)
                                                    for s in rows.summands]))  # fmt: skip
            count = self._rows_of(rows.summands[0])
            at, size = self._held_at(name, "piece"), count * self._width(rows)
            arrays = [self._array(x) for s in rows.summands for x in (s.rows, s.coefs) if x is not None]
            lines += [f"at = {at}", f"squares += sum_rows_{i}(mine, {count}, held[at : at + {size}], "
                                    f"{', '.join(arrays)})"]  # fmt: skip
        lines = [self._mine("piece"), "squares = F(0.0)", *lines, f"held[{self._own('piece')}] = squares"]
        body = [self._share(), "for piece in range(lo, hi):", *("    " + line for line in lines)]
        return [*functions, self.region("sum_rows", body, "Sums of table rows that additions share, by columns.")]

    def _move_rows(self) -> list[str]:
        """The region that moves tables, and its functions."""
        functions, lines, held = [], [self._mine("piece")], [name for name, _ in self._summed()]
        for table in self.columns.tables:
            groups = itertools.groupby(sorted(table.terms, key=lambda t: t.rows), key=lambda t: t.rows)
            for i, (rows, group) in enumerate(groups):
                terms, name, source = list(group), f"move_{identifier(table.name)}_{i}", self.columns.rows[rows]
                target, first = self._place(table.name), source.summands[0]
                made = [Weighted(target, t.repeat, t.coefs is not None) for t in terms]
                functions.append(moves(name, target, None if rows in held else self._place(first.table), made))
                count = self._rows_of(first)
                if rows in held:
                    lines += [f"at = {self._held_at(rows, 'piece')}"]
                    given = f"held[at : at + {count * self._width(source)}]"
                else:
                    given = self._array(first.rows)
                arrays = [self._array(x) for t in terms for x in (t.target, t.coefs) if x is not None]
                lines.append(f"{name}(mine, {count}, held[0], {given}, {', '.join(arrays)})")
        body = [self._share(), "for piece in range(lo, hi):", *("    " + line for line in lines)]
        return [*functions, self.region("move_rows", body, "The step on all tables, by columns.")]

    def _step_on(self) -> str:
        """The update: sums, then, if they are finite, the moves."""
        total = " + ".join(f"held[{self._own(p)} + {i}]" for p in range(self.columns.parts) for i in range(2))
        lines = ["copies = params[:0]", *self.packed(), "held[0] = F(rate * factor)", self._run("sum_rows"),
                 f"if not (1.0 + {total}) * ({self.all_additions()}) < {LARGEST}:",
                 "    table[0] = 0  # which keeps the table until here", "    return False",
                 self._run("move_rows"), "table[0] = 0  # which keeps the table until here"]  # fmt: skip
        lines += [f"update_rest({STATE}, threads)"] if self.tables or self.dense else []
        arguments = [*self.state.split(", "), *self._more(), "threads", "entries"]
        return self._function("update", arguments, [*lines, "return True"], "The step, unless it may overflow.")

    def _more(self) -> list[str]:
        """What drivers are passed besides the state."""
        return [a for a in self._driver_arguments() if a not in self.state.split(", ")]

    def update_passed(self, given: str) -> list[str]:
        """What the loop passes the update behind the state."""
        values = dict(zip(self._driver_arguments(), given.split(", "), strict=True))
        return [*(values[a] for a in self._more()), "threads", "entries"]


def _dots_of(stage: Stage) -> list[Opaque]:
    return [s for s in stage.steps if isinstance(s, Opaque) and s.node.op == "column_dot"]


def _by_factor(found: Sequence[Opaque]) -> dict[tuple[str, str], dict[tuple[str, str], list[Opaque]]]:
    """Products by the rows that they share, by the others, and by part: (table, name of the index) of each."""
    groups: dict[tuple[str, str], dict[tuple[str, str], list[Opaque]]] = {}
    for step in sorted(found, key=lambda s: s.node.attrs["part"]):
        (left, right), names = step.node.attrs["tables"], step.node.attrs["names"]
        groups.setdefault((right, names[1]), {}).setdefault((left, names[0]), []).append(step)
    return groups
