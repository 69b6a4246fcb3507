"""Emission of training on sparse gradients: the update of touched table rows, and a loop of many steps.

`update_of_NAME` takes the rows of one table that its slab owns, row by row: the additions to a row, in the order of the
data, then the optimizer's step on that row. So a row's bits do not depend on the number of threads. Rows without
additions are not looked at, which is what SGD, AdaGrad and LazyAdam do with a gradient of zero."""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit.code import (
    Expression,
    ExpressionLike,
    Function,
    Literal,
    Name,
    Return,
    Slice,
    Statement,
    Tuple,
    While,
    add_to,
    as_expression,
    assign,
    call,
    compare,
    do,
    loop,
    name_tuple,
    when,
)
from ppl.compiler.emit.cpu import training
from ppl.compiler.emit.cpu.emitter import CpuEmitter
from ppl.compiler.emit.cpu.training import (
    LARGEST_GRADIENT,
    TrainingLoop,
    dense_update,
    no_chosen_rows,
    replace_arguments,
)
from ppl.compiler.emit.emitter import ModuleItems
from ppl.compiler.emit.products import clamp_index, prefetch
from ppl.compiler.emit.scalar import ONE, to_float, to_int
from ppl.compiler.emit.unit import TranslationUnit
from ppl.compiler.lower.request import Output
from ppl.compiler.lower.sizes import Poly, entry_count, identifier
from ppl.compiler.lower.sparse_gradients import SparseTable, SparseTerm

SPARSE_STATE = (*training.STATE, "out", "v", "heads", "following", "touched", "acc")
"""What updates are passed: what dense ones are, and arrays, lists and scratch."""


class SparseTrainingEmitter(CpuEmitter):
    """Writes a program with sparse gradients and its training loop.

    `dense` are (offset, size) of the other parameters, `cut` which data arguments are minibatches, along plate `rows`;
    a step has `n_scalars` scalar results.
    """

    def __init__(self, unit: TranslationUnit, tables: Sequence[SparseTable] = (), dense: Sequence[tuple[int, int]] = (),
                 cut: Sequence[bool] = (), rows: str = "", n_scalars: int = 0):  # fmt: skip
        super().__init__(unit)
        self.tables, self.dense, self.cut, self.rows, self.n_scalars = tables, dense, cut, rows, n_scalars
        self.outputs: dict[str, Output] = {
            o.name: o for s in unit.stages for o in s.outputs if o.array in ("out", "iout")
        }

    def drivers(self, unrolled: bool) -> ModuleItems:
        """The step on several threads, the updates, and the loop over both."""
        runs = self.runs()
        updates = [self.update(table) for table in self.tables]
        return [*runs.serial(), *runs.parallel(), *updates, *self.updates(), self.train()]

    def entries(self, name: str) -> Poly:
        """Number of entries of an array."""
        return entry_count(self.outputs[name].node.type)

    def additions(self, table: SparseTable) -> Poly:
        """Number of additions to a table."""
        total = Poly()
        for part in table.terms:
            total = total + self.entries(part.target)
        return total

    def array(self, name: str) -> Expression:
        """An array that the step has written."""
        out = self.outputs[name]
        return Name(out.array).cut(out.offset, as_expression(self.entries(name)))

    def update(self, table: SparseTable) -> Function:
        """The update of one table."""
        lines: list[Statement] = [assign("found", 0)]
        starts, start = [], Poly()
        for i, part in enumerate(table.terms):
            starts.append(start)
            start = start + self.entries(part.target)
            lines.append(assign(f"rows_{i}", self.array(part.rows)))
            lines += [assign(f"coefs_{i}", self.array(part.coefs))] if part.coefs else []
        at_once = [x for i in range(len(table.terms)) for x in self._descent(table, i)]
        lines.append(when(compare("rule", "==", 0), [*at_once, Return()]))
        for part, at in reversed(list(zip(table.terms, starts, strict=True))):
            given = self.array(part.target), to_int(at), "head", "following", "touched", "found", "slab", "slabs"
            lines.append(assign("found", call("link", *given)))
        lines.append(loop("t", "found", _update_touched_row(table, starts)))
        doc = f"Step on the touched rows of '{table.name}' that belong to `slab`."
        arguments = ["head" if x == "heads" else x for x in SPARSE_STATE]
        return self.unit.function(f"update_of_{identifier(table.name)}", [*arguments, "slab", "slabs"], lines, doc)

    def _descent(self, table: SparseTable, i: int) -> list[Statement]:
        """A step of SGD by the additions of term `i`, in the order of the data."""
        part, width, last = table.terms[i], table.width, table.length - 1
        find = as_expression(table.offset) + clamp_index(Name("targets").at("e"), last) * width
        e, following = Name("e"), Name("following")
        rate = to_float(Name("rate") * "factor")
        ahead = call("min", Name("t") + "AHEAD", Name("count") - 1)
        step = add_to(Name("p").at("j"), Name("move") * Name("part").at("j"), "-")
        place = (e if part.repeat == 1 else e // part.repeat) * width
        body = [assign(e, to_int(following.at(ahead))), *prefetch("to_write", "params", find, width),
                assign(e, to_int(following.at("t"))),
                assign("at", find), assign("p", Name("params").cut("at", width)),
                assign("part", Name(f"rows_{i}").cut(place, width)),
                assign("move", rate * Name(f"coefs_{i}").at("e") if part.coefs else rate),
                loop("j", width, [step])]  # fmt: skip
        owned = call("owned", "targets", "following", to_int(last), "slab", "slabs")
        return [assign("targets", self.array(part.target)), assign("count", owned), loop("t", "count", body)]

    def updates(self) -> list[Function]:
        """The optimizer's step, and the share of it that one slab takes."""
        lines: list[Statement] = []
        start = 0
        for table in self.tables:
            own: dict[str, ExpressionLike] = {x: Name(x).at("slab") for x in ("following", "touched", "acc")}
            own["heads"] = Name("heads").at("slab", Slice(as_expression(start), as_expression(start + table.length)))
            lines.append(
                do(
                    f"update_of_{identifier(table.name)}",
                    *replace_arguments(SPARSE_STATE, own),
                    to_int("slab"),
                    "slabs",
                )
            )
            start += table.length
        lines += [dense_update(at, size) for at, size in self.dense]
        share = self.unit.bare("update_share", ["slab", "slabs", "lane", *SPARSE_STATE], [*lines, Return()],
                               "The optimizer's step on the rows of one slab.")  # fmt: skip
        shared = do("on_threads", share.name, name_tuple(*SPARSE_STATE), "slabs", "slabs")
        whole = self.unit.bare("update", [*SPARSE_STATE, "slabs"], [shared, Return(Literal(True))],
                               "The optimizer's step, each slab on its own rows.")  # fmt: skip
        return [share, whole]

    def all_additions(self) -> Poly:
        """Number of additions to all tables."""
        total = Poly()
        for table in self.tables:
            total = total + self.additions(table)
        return total

    def train(self) -> Function:
        """The loop of many steps."""
        unit, loops = self.unit, TrainingLoop(self.unit, self.regions)
        bound = (Literal(1.0) + Name("w").at(len(unit.plates) + self.n_scalars - 1)) * as_expression(
            self.all_additions()
        )
        dense = [Name("grad").between(at, at + size) for at, size in self.dense]
        finite = [compare(bound, "<", LARGEST_GRADIENT), *(call("bounded", x, LARGEST_GRADIENT) for x in dense)]
        gathers = [do("gather_rows", f"batch_{a}", a, "chosen") for a, cut in zip(unit.arrays, self.cut, strict=True)
                   if cut]  # fmt: skip
        rows = ["chosen" if p == self.rows else no_chosen_rows() for p in unit.plates]
        given = loops.given("out", rows)
        step = [do("parallel", *given.values(), "threads", "entry_points", Name("params").before(0))]
        return loops.loop(SPARSE_STATE, step, ["threads"], self.n_scalars - 1, finite, gathers)


def _update_touched_row(table: SparseTable, starts: Sequence[Poly]) -> list[Statement]:
    """The statements that add up the additions to a touched row, and take its step."""
    width, entry, head, at = table.width, Name("entry"), Name("head"), Name("at")
    additions: tuple[Statement, ...] = ()
    for i, (part, start) in reversed(list(enumerate(zip(table.terms, starts, strict=True)))):
        added = _add_term(i, part, start, width)
        last = i + 1 == len(table.terms)
        additions = added if last else (when(compare(entry, "<", starts[i + 1]), added, additions),)
    more = [*additions, assign("fresh", Literal(False)), assign(entry, to_int(Name("following").at(entry)))]
    vectors = [Name("params").cut(at, width), Name("acc").before(width), Name("first").cut(at, width)]
    return [assign("row", to_int(Name("touched").at("t"))), assign(entry, to_int(head.at("row"))),
            assign(head.at("row"), -1), assign("fresh", Literal(True)),
            While(compare(entry, ">=", 0), tuple(more)),
            assign(at, as_expression(table.offset) + Name("row") * width),
            assign(name_tuple("p", "g", "s"), Tuple(tuple(vectors))),
            do("row_step", "p", "g", "s", "second", "at", "rule", "rate", "numbers", "count", "factor")]  # fmt: skip


def _add_term(i: int, part: SparseTerm, start: Poly, width: int) -> tuple[Statement, ...]:
    """The statements that add one addition of term `i` to what was summed."""
    number = Name("entry") if start.constant == 0 else Name("entry") - start
    place = (number // part.repeat if part.repeat > 1 else number) * width
    acc, value = Name("acc").at("j"), Name("coef") * Name("part").at("j")
    return (
        assign("at", place),
        assign("part", Name(f"rows_{i}").cut("at", width)),
        assign("coef", Name(f"coefs_{i}").at(number) if part.coefs else ONE),
        when(Name("fresh"), [loop("j", width, [assign(acc, value)])], [loop("j", width, [add_to(acc, value)])]),
    )
