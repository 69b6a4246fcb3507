"""Emission of training loops that several processes run on memory that they share.

All run the loop, with a party (`ppl.kernels.cpu.parallel.meeting`) in place of threads: each takes its share of the
slabs of a region, number 0 does alone what is done once for all rows, and all meet behind either.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit.code import (
    Assign,
    Function,
    Given,
    List,
    Name,
    Return,
    Statement,
    assign,
    compare,
    do,
    loop,
    when,
)
from ppl.compiler.emit.cpu.drivers import Drivers
from ppl.compiler.emit.cpu.module import CpuEmitter
from ppl.compiler.emit.cpu.regions import RELEASE, Regions
from ppl.compiler.emit.cpu.training import Training
from ppl.compiler.emit.emitter import Items
from ppl.compiler.emit.scalar import ZERO, to_int
from ppl.compiler.emit.sums import ALL, ALONE, combined, copied, is_shared, merged, written_aux
from ppl.compiler.emit.symbols import CPU, Places
from ppl.compiler.emit.unit import SLABS, Unit

MEET, PROCESSES = do("meet", "party"), Name("party").at(1)


SYMBOLS: Places = {
    **CPU,
    "ppl.kernels.cpu.parallel.meeting": ("meet", "run_share"),
    "ppl.kernels.cpu.training.jointly": ("update_jointly",),
}
"""Where kernels are."""


class JointRegions(Regions):
    """Regions of which every process takes a share."""

    def enter(self, name: str, parallel: bool, parts: Given = SLABS) -> Statement:
        """See `Regions`."""
        if not parallel:
            return super().enter(name, parallel, parts)
        return do("run_share", "party", "entry_points", to_int(self.entry_points.index(name)), "words", parts)


class JointDrivers(Drivers):
    """The driver of a process among several."""

    def joint(self) -> list[Function]:
        """All stages, of which number 0 runs the unplated ones."""
        arguments = [*self.unit.driver_arguments, "party", "entry_points", "copies"]
        driver = self.unit.function("joint", arguments, self.sequence(True), "The program, on all processes.")
        return [*self._merge_region(), driver]

    def sequence(self, parallel: bool) -> list[Statement]:
        """See `Drivers`. All meet first: one may still read the results of the step before."""
        unit, blas = self.unit, self.unit.multiplies()
        lines: list[Statement] = [*self.regions.packed(), MEET]
        lines += [do("enter_single")] if blas else []
        alone: list[Statement] = []
        for stage in unit.stages:
            if stage.row is None:
                alone.append(do(stage.name, *unit.common))
                continue
            lines += [*_by_one(alone), self._in_chunks(stage, True)]
            alone = [*combined(unit, stage, ALL, copied(unit))]
        shared = is_shared(unit)
        lines += _by_one([*alone, *([] if shared else merged(unit, ALONE, copied(unit)))])
        lines += [self.regions.enter("merge", True, PROCESSES)] if shared else []
        lines += [do("leave_single")] if blas else []
        if unit.n_aux:
            lines.append(loop("j", unit.n_aux, [written_aux(unit, "j")]))
        return [*lines, RELEASE, Return(Name("w").at(len(unit.plates)) if unit.has_scalars else ZERO)]


class JointTraining(Training):
    """The training loop of a process among several."""

    update = "update_jointly"

    def joint(self) -> list[Function | Assign]:
        """The loop of steps, and what it reaches by address."""
        rows = self._rows()
        gathers, regions = self._gathers("joint")
        step = do("joint", *self.given(Name("w").before(0), rows).values(), "party", "entry_points", "copies")
        train = self._train([step], "party", gathers, ("party",))
        trained = [*self.regions.entry_points, *(region.name for region in regions)]
        return [*regions, assign("TRAINED", List(tuple(map(Name, trained)))), train]

    def _entered(self, a: str, number: int) -> list[Statement]:
        return [do("run_share", "party", "entry_points", to_int(number), "words", PROCESSES)]


class JointEmitter(CpuEmitter):
    """Writes a program and its training loop for several processes."""

    symbols = SYMBOLS

    def __init__(self, unit: Unit):
        super().__init__(unit)
        self.regions = JointRegions(unit, ["merge"] if is_shared(unit) else [])

    def drivers(self, unrolled: bool) -> Items:
        """The step of all processes, and the loop."""
        runs = JointDrivers(self.unit, self.regions, {})
        return [*runs.joint(), *JointTraining(self.unit, self.regions).joint()]


def _by_one(statements: Sequence[Statement]) -> list[Statement]:
    """What number 0 does for all, who meet behind it."""
    return [when(compare(Name("party").at(0), "==", 0), list(statements)), MEET] if statements else []
