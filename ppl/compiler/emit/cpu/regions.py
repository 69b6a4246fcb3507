"""Emission of row regions: functions of argument words, and how drivers run them slab by slab.

A region is compiled once, and reached by address from Python's driver `parallel` (see
`kernels/cpu/parallel/regions.py`); the serial driver, which users' own compiled code contains, calls it as a function.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit.code import (
    Assign,
    Call,
    Function,
    Given,
    Literal,
    Name,
    Return,
    Statement,
    Tuple,
    assign,
    call,
    do,
    loop,
    names,
    names_in,
    term,
)
from ppl.compiler.emit.scalar import to_int
from ppl.compiler.emit.unit import CONVERT, SLABS, Unit
from ppl.compiler.lower.views import axis_size
from ppl.compiler.schedule.stages import Stage

RELEASE = Assign(Name("words").at(0), Literal(0), note="which keeps the words until here")
"""The last statement that uses the argument words."""

PASSED = ("words", "slab", "slabs", "lane")
"""What a region is passed."""


class Regions:
    """The regions of a unit; `others` are those that are no stages, behind them in the list of entry points."""

    def __init__(self, unit: Unit, others: Sequence[str] = ()):
        self.unit = unit
        self.passed = [*unit.common, "copies"]
        names_of = [[s.name, products_of(s)] if s.owned else [s.name] for s in unit.regions]
        self.entry_points = [*(name for group in names_of for name in group), *others]

    def enter(self, name: str, parallel: bool, parts: Given = SLABS) -> Statement:
        """The calls of the region `name` for all its `parts`, which are the slabs of rows unless it says otherwise."""
        if parallel:
            return do("run_slabs", "entry_points", to_int(self.entry_points.index(name)), "words", parts, "threads")
        return loop("slab", parts, [do(name, call("address", "words"), "slab", parts, to_int(0))])

    def packed(self) -> list[Statement]:
        """The statements that make the argument words; what slabs read instead of `params` comes last."""
        kinds = self.unit.kind_of()
        size = sum(1 if self.unit.is_number(name) else 2 for name in self.passed)
        types = Tuple(tuple(CONVERT[kinds[name]] for name in self.passed))
        made = assign("words", call(Name("np").dot("empty"), size + 1, "I"))
        return [made, do("fill_words", "words", names(*self.passed), types)]

    def region(
        self, name: str, body: Sequence[Statement], doc: str, own: Given = "slab", of: Stage | None = None
    ) -> Function:
        """A region's function; addresses are those in slab `own`, but sums that are not made by the stage `of` which it
        is are read in the first slab.
        """
        lines = [*self.unit.definitions(body, own, makers=None if of is None else [of]), *body]
        return self.unit.bare(name, PASSED, [*self._unpacked(lines), *lines, Return(to_int(0))], doc)

    def stage(self, stage: Stage, body: Sequence[Statement], doc: str) -> Function:
        """The region of a stage, whose `body` is for rows lo to hi."""
        assert stage.row is not None
        rows, slab = axis_size(stage.row), Name("slab")
        if not stage.owned:
            ends = [_between(*(_start(rows, s) for s in (slab, slab + 1)))]
            return self.region(stage.name, [*ends, *body], doc, of=stage)
        first = Name(f"first_{stage.name}")
        ends = [assign("rows", call("min", f"chunk_{stage.name}", term(rows) - first)),
                _between(*(first + _start("rows", s) for s in (slab, slab + 1)))]  # fmt: skip
        return self.region(stage.name, [*ends, *body], doc, of=stage)

    def _unpacked(self, body: Sequence[Statement]) -> list[Statement]:
        """The statements that read what `body` needs from the argument words."""
        needed = names_in(*body).used
        needed |= {"copies"} if "params" in needed else set()
        kinds, at = self.unit.kind_of(), 0
        lines: list[Statement] = []
        for name in self.passed:
            number, kind = self.unit.is_number(name), CONVERT[kinds[name]]
            read = call(kind, word_at(at)) if number else array_at(at, kind)
            lines += [assign(name, read)] if name in needed else []
            at += 1 if number else 2
        return lines + ([assign("params", call("own_copy", "params", "copies", "lane"))] if "params" in needed else [])


def word_at(at: int) -> Call:
    """A number among the argument words."""
    return call("word_at", "words", to_int(at))


def array_at(at: int, kind: Given) -> Call:
    """An array among the argument words."""
    return call("array_at", "words", to_int(at), kind)


def _start(rows: Given, slab: Given) -> Call:
    return call("slab_start", rows, slab, "slabs")


def _between(*ends: Given) -> Assign:
    return Assign(names("lo", "hi"), Tuple(tuple(map(term, ends))))


def products_of(stage: Stage) -> str:
    """Name of the region of the products that `stage` owns."""
    return f"{stage.name}_products"
