"""Drivers of CPU programs: run all stages in order, on one thread or with row regions that threads share.

A region is a function of argument words, compiled once, which Python's driver `parallel` reaches by address (see
`kernels/cpu/threads/regions.py`); the serial
driver, which users' own compiled code contains, calls it as a function. BLAS runs on one thread meanwhile, and gets
its threads back behind them. Where external
functions or the checked build may raise an exception, a driver is two functions: all stages, and a call of that
through `ppl.kernels.cpu.products.blas`, so that an
exception in a user's own compiled code does the same."""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit.code import (
    Assign,
    Call,
    ExpressionLike,
    Function,
    List,
    Literal,
    Name,
    Return,
    Statement,
    Tuple,
    as_expression,
    assign,
    call,
    do,
    loop,
    name_tuple,
    names_in,
)
from ppl.compiler.emit.scalar import ZERO, to_int
from ppl.compiler.emit.slab_reductions import (
    ALL_ENTRIES,
    ONE_THREAD,
    accumulators_to_copy,
    combine_stage_sums,
    merge_into_gradient,
    threads_share_sums,
    write_aux,
)
from ppl.compiler.emit.unit import NUMPY_TYPES, TranslationUnit
from ppl.compiler.lower.sizes import axis_size
from ppl.compiler.schedule.slabs import SLABS, partitioned_product_parts
from ppl.compiler.schedule.stages import Stage

KEEP_WORDS_ALIVE = Assign(Name("words").at(0), Literal(0), note="which keeps the words until here")
"""The last statement that uses the argument words."""

REGION_ARGUMENTS = ("words", "slab", "slabs", "lane")
"""What a region is passed."""


class RegionWriter:
    """The regions of a unit; `others` are those that are no stages, behind them in the list of entry points."""

    def __init__(self, unit: TranslationUnit, others: Sequence[str] = ()):
        self.unit = unit
        self.passed = [*unit.common, "copies"]
        names_of = [[s.name, products_region(s)] if s.partitioned else [s.name] for s in unit.regions]
        self.entry_points = [*(name for group in names_of for name in group), *others]

    def enter(self, name: str, parallel: bool, parts: ExpressionLike = SLABS) -> Statement:
        """The calls of the region `name` for all its `parts`, which are the slabs of rows unless it says otherwise."""
        if parallel:
            return do("run_slabs", "entry_points", to_int(self.entry_points.index(name)), "words", parts, "threads")
        return loop("slab", parts, [do(name, call("address", "words"), "slab", parts, to_int(0))])

    def packed(self) -> list[Statement]:
        """The statements that make the argument words; what slabs read instead of `params` comes last."""
        kinds = self.unit.kind_of()
        size = sum(1 if self.unit.is_number(name) else 2 for name in self.passed)
        types = Tuple(tuple(NUMPY_TYPES[kinds[name]] for name in self.passed))
        made = assign("words", call(Name("np").dot("empty"), size + 1, "I"))
        return [made, do("fill_words", "words", name_tuple(*self.passed), types)]

    def region(
        self, name: str, body: Sequence[Statement], doc: str, own: ExpressionLike = "slab", of: Stage | None = None
    ) -> Function:
        """A region's function; addresses are those in slab `own`, but sums that are not made by the stage `of` which it
        is are read in the first slab.
        """
        lines = [*self.unit.definitions(body, own, makers=None if of is None else [of]), *body]
        return self.unit.bare(name, REGION_ARGUMENTS, [*self._unpacked(lines), *lines, Return(to_int(0))], doc)

    def stage(self, stage: Stage, body: Sequence[Statement], doc: str) -> Function:
        """The region of a stage, whose `body` is for rows lo to hi."""
        assert stage.row is not None
        rows, slab = axis_size(stage.row), Name("slab")
        if not stage.partitioned:
            ends = [_row_range(*(_slab_start(rows, s) for s in (slab, slab + 1)))]
            return self.region(stage.name, [*ends, *body], doc, of=stage)
        first = Name(f"first_{stage.name}")
        ends = [assign("rows", call("min", f"chunk_{stage.name}", as_expression(rows) - first)),
                _row_range(*(first + _slab_start("rows", s) for s in (slab, slab + 1)))]  # fmt: skip
        return self.region(stage.name, [*ends, *body], doc, of=stage)

    def _unpacked(self, body: Sequence[Statement]) -> list[Statement]:
        """The statements that read what `body` needs from the argument words."""
        needed = names_in(*body).used
        needed |= {"copies"} if "params" in needed else set()
        kinds, at = self.unit.kind_of(), 0
        lines: list[Statement] = []
        for name in self.passed:
            number, kind = self.unit.is_number(name), NUMPY_TYPES[kinds[name]]
            read = call(kind, argument_number(at)) if number else argument_array(at, kind)
            lines += [assign(name, read)] if name in needed else []
            at += 1 if number else 2
        return lines + ([assign("params", call("own_copy", "params", "copies", "lane"))] if "params" in needed else [])


def argument_number(at: int) -> Call:
    """A number among the argument words."""
    return call("word_at", "words", to_int(at))


def argument_array(at: int, kind: ExpressionLike) -> Call:
    """An array among the argument words."""
    return call("array_at", "words", to_int(at), kind)


def _slab_start(rows: ExpressionLike, slab: ExpressionLike) -> Call:
    return call("slab_start", rows, slab, "slabs")


def _row_range(*ends: ExpressionLike) -> Assign:
    return Assign(name_tuple("lo", "hi"), Tuple(tuple(map(as_expression, ends))))


def products_region(stage: Stage) -> str:
    """Name of the region of the products that `stage` owns."""
    return f"{stage.name}_products"


class DriverWriter:
    """Writes the drivers of a unit."""

    def __init__(self, unit: TranslationUnit, regions: RegionWriter):
        self.unit, self.regions = unit, regions

    def serial(self) -> list[Function]:
        """The driver that users' own compiled code contains."""
        return self._driver("serial", self.unit.driver_arguments, False, "The program on one thread.")

    def parallel(self) -> list[Function | Assign]:
        """The driver that Python calls if there are regions, and what it reaches by address."""
        unit = self.unit
        if not unit.regions:
            return []
        arguments = [*unit.driver_arguments, "threads", "entry_points", "copies"]
        driver = self._driver("parallel", arguments, True, "The program on `threads` threads.")
        listed = List(tuple(map(Name, self.regions.entry_points)))
        return [*self._merge_region(), *driver, assign("ENTRY_POINTS", listed)]

    def _merge_region(self) -> list[Function]:
        if not threads_share_sums(self.unit):
            return []
        doc = "Add up the gradients of all slabs: a share of every parameter."
        return [self.regions.region("merge", merge_into_gradient(self.unit, (SLABS, "slab", "slabs")), doc, 0)]

    def _driver(self, name: str, arguments: Sequence[str], parallel: bool, doc: str) -> list[Function]:
        """The function `name`, which runs all stages."""
        unit, body = self.unit, self.sequence(parallel)
        if not (unit.multiplies() and unit.may_raise()):
            return [unit.function(name, arguments, body, doc)]
        inner = unit.function(f"{name}_single", arguments, body, f"{doc[:-1]}, when BLAS runs on one.")
        outer = Return(call("single", inner.name, name_tuple(*arguments)))
        return [inner, unit.bare(name, arguments, [outer], doc)]

    def sequence(self, parallel: bool) -> list[Statement]:
        """The body of a driver."""
        unit, regions = self.unit, bool(self.unit.regions)
        blas = unit.multiplies() and not unit.may_raise()
        lines: list[Statement] = [] if parallel or not regions else [without_parameter_copies()]
        lines += self.regions.packed() if regions else []
        lines += [do("enter_single")] if blas else []
        for stage in unit.stages:
            if stage.row is None:
                lines.append(do(stage.name, *unit.common))
            else:
                lines += [
                    self._in_chunks(stage, parallel),
                    *combine_stage_sums(unit, stage, ALL_ENTRIES, accumulators_to_copy(unit)),
                ]
        lines += [do("leave_single")] if blas else []
        lines += self.merge(parallel)
        if unit.n_aux:
            lines.append(loop("j", unit.n_aux, [write_aux(unit, "j")]))
        lines += [KEEP_WORDS_ALIVE] if regions else []
        return [*lines, Return(Name("w").at(len(unit.plates)) if unit.has_scalars else ZERO)]

    def merge(self, parallel: bool) -> list[Statement]:
        """The sums into the gradient."""
        if parallel and threads_share_sums(self.unit):
            return [self.regions.enter("merge", parallel, "threads")]
        return merge_into_gradient(self.unit, ONE_THREAD, accumulators_to_copy(self.unit))

    def _in_chunks(self, stage: Stage, parallel: bool) -> Statement:
        """The calls of a region, and of the products that it owns after every chunk of rows."""
        assert stage.row is not None
        if not stage.partitioned:
            return self.regions.enter(stage.name, parallel)
        at, rows = self.unit.memory.header.index(f"first_{stage.name}"), axis_size(stage.row)
        most = partitioned_product_parts(
            self.unit.builder.target.sharing, max(step.shared for step in stage.partitioned)
        )
        parts = call("min", SLABS, to_int(most))
        body = [assign(Name("v").at(at), "first"), self.regions.enter(stage.name, parallel),
                self.regions.enter(products_region(stage), parallel, parts)]  # fmt: skip
        return loop("first", call("max", rows, 1), body, 0, f"chunk_{stage.name}")


def without_parameter_copies() -> Assign:
    """No thread reads a copy of the parameters."""
    return assign("copies", Name("params").before(0))
