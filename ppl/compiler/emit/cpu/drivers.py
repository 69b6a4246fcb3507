"""The drivers of programs: all stages in order, on one thread or with regions that threads share.

BLAS runs on one thread meanwhile, and gets its threads back behind them. Where external functions or the checked build
may raise an exception, a driver is two functions: all stages, and a call of that through
`ppl.kernels.cpu.parallel.single`, so that an exception in a user's own compiled code does the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ppl.compiler.emit.code import (
    Assign,
    Function,
    List,
    Name,
    Return,
    Statement,
    assign,
    call,
    do,
    loop,
    names,
)
from ppl.compiler.emit.cpu.regions import RELEASE, Regions, products_of
from ppl.compiler.emit.scalar import ZERO, to_int
from ppl.compiler.emit.sums import ALL, ALONE, combined, copied, is_shared, merged, written_aux
from ppl.compiler.emit.unit import SLABS, Unit
from ppl.compiler.lower.views import axis_size
from ppl.compiler.schedule.slabs import product_parts
from ppl.compiler.schedule.stages import Stage


class Drivers:
    """Writes the drivers of a unit; `before` has what the parallel one does before unplated stages, by their names."""

    def __init__(self, unit: Unit, regions: Regions, before: Mapping[str, Sequence[Statement]]):
        self.unit, self.regions, self.before = unit, regions, before

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
        if not is_shared(self.unit):
            return []
        doc = "Add up the gradients of all slabs: a share of every parameter."
        return [self.regions.region("merge", merged(self.unit, (SLABS, "slab", "slabs")), doc, 0)]

    def _driver(self, name: str, arguments: Sequence[str], parallel: bool, doc: str) -> list[Function]:
        """The function `name`, which runs all stages."""
        unit, body = self.unit, self.sequence(parallel)
        if not (unit.multiplies() and unit.may_raise()):
            return [unit.function(name, arguments, body, doc)]
        inner = unit.function(f"{name}_single", arguments, body, f"{doc[:-1]}, when BLAS runs on one.")
        outer = Return(call("single", inner.name, names(*arguments)))
        return [inner, unit.bare(name, arguments, [outer], doc)]

    def sequence(self, parallel: bool) -> list[Statement]:
        """The body of a driver."""
        unit, regions = self.unit, bool(self.unit.regions)
        blas = unit.multiplies() and not unit.may_raise()
        lines: list[Statement] = [] if parallel or not regions else [no_copies()]
        lines += self.regions.packed() if regions else []
        lines += [do("enter_single")] if blas else []
        for stage in unit.stages:
            if stage.row is None:
                lines += [*self.before.get(stage.name, ()), do(stage.name, *unit.common)]
            else:
                lines += [self._in_chunks(stage, parallel), *combined(unit, stage, ALL, copied(unit))]
        lines += [do("leave_single")] if blas else []
        lines += self.merge(parallel)
        if unit.n_aux:
            lines.append(loop("j", unit.n_aux, [written_aux(unit, "j")]))
        lines += [RELEASE] if regions else []
        return [*lines, Return(Name("w").at(len(unit.plates)) if unit.has_scalars else ZERO)]

    def merge(self, parallel: bool) -> list[Statement]:
        """The sums into the gradient."""
        if parallel and is_shared(self.unit):
            return [self.regions.enter("merge", parallel, "threads")]
        return merged(self.unit, ALONE, copied(self.unit))

    def _in_chunks(self, stage: Stage, parallel: bool) -> Statement:
        """The calls of a region, and of the products that it owns after every chunk of rows."""
        assert stage.row is not None
        if not stage.owned:
            return self.regions.enter(stage.name, parallel)
        at, rows = self.unit.memory.header.index(f"first_{stage.name}"), axis_size(stage.row)
        most = product_parts(self.unit.builder.target.sharing, max(step.shared for step in stage.owned))
        parts = call("min", SLABS, to_int(most))
        body = [assign(Name("v").at(at), "first"), self.regions.enter(stage.name, parallel),
                self.regions.enter(products_of(stage), parallel, parts)]  # fmt: skip
        return loop("first", call("max", rows, 1), body, 0, f"chunk_{stage.name}")


def no_copies() -> Assign:
    """No thread reads a copy of the parameters."""
    return assign("copies", Name("params").before(0))
