"""Training loops that several processes run on shared memory: write them.

All run the loop, with a communicator (`party`) in place of threads: each takes its share of the slabs of a region,
the first rank does alone what is done once for all
rows, and all wait at a barrier behind either."""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit.code import (
    Assign,
    ExpressionLike,
    Function,
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
from ppl.compiler.emit.cpu.drivers import KEEP_WORDS_ALIVE, DriverWriter, RegionWriter
from ppl.compiler.emit.cpu.emitter import CpuEmitter
from ppl.compiler.emit.cpu.training import TrainingLoop
from ppl.compiler.emit.emitter import ModuleItems
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
from ppl.compiler.emit.symbols import CPU_SYMBOLS, ImportTable
from ppl.compiler.emit.unit import TranslationUnit
from ppl.compiler.schedule.slabs import SLABS

BARRIER, PROCESSES = do("barrier", "communicator"), Name("communicator").at(1)


RANK_SYMBOLS: ImportTable = {
    **CPU_SYMBOLS,
    "ppl.kernels.cpu.ranks": ("barrier", "run_own_slabs", "update_shared_parameters"),
}
"""Where kernels are."""


class RankRegionWriter(RegionWriter):
    """Regions of which every process takes a share."""

    def enter(self, name: str, parallel: bool, parts: ExpressionLike = SLABS) -> Statement:
        """See `Regions`."""
        if not parallel:
            return super().enter(name, parallel, parts)
        return do(
            "run_own_slabs", "communicator", "entry_points", to_int(self.entry_points.index(name)), "words", parts
        )


class RankDriverWriter(DriverWriter):
    """The driver of a process among several."""

    def joint(self) -> list[Function]:
        """All stages, of which number 0 runs the unplated ones."""
        arguments = [*self.unit.driver_arguments, "communicator", "entry_points", "copies"]
        driver = self.unit.function("joint", arguments, self.sequence(True), "The program, on all processes.")
        return [*self._merge_region(), driver]

    def sequence(self, parallel: bool) -> list[Statement]:
        """See `Drivers`. All meet first: one may still read the results of the step before."""
        unit, blas = self.unit, self.unit.multiplies()
        lines: list[Statement] = [*self.regions.packed(), BARRIER]
        lines += [do("enter_single")] if blas else []
        alone: list[Statement] = []
        for stage in unit.stages:
            if stage.row is None:
                alone.append(do(stage.name, *unit.common))
                continue
            lines += [*_on_first_rank(alone), self._in_chunks(stage, True)]
            alone = [*combine_stage_sums(unit, stage, ALL_ENTRIES, accumulators_to_copy(unit))]
        shared = threads_share_sums(unit)
        lines += _on_first_rank(
            [*alone, *([] if shared else merge_into_gradient(unit, ONE_THREAD, accumulators_to_copy(unit)))]
        )
        lines += [self.regions.enter("merge", True, PROCESSES)] if shared else []
        lines += [do("leave_single")] if blas else []
        if unit.n_aux:
            lines.append(loop("j", unit.n_aux, [write_aux(unit, "j")]))
        return [*lines, KEEP_WORDS_ALIVE, Return(Name("w").at(len(unit.plates)) if unit.has_scalars else ZERO)]


class RankTrainingLoop(TrainingLoop):
    """The training loop of a process among several."""

    update = "update_shared_parameters"

    def joint(self) -> list[Function | Assign]:
        """The loop of steps, and what it reaches by address."""
        rows = self._rows()
        gathers, regions = self._gathers("joint")
        step = do("joint", *self.given(Name("w").before(0), rows).values(), "communicator", "entry_points", "copies")
        train = self._train([step], "communicator", gathers, ("communicator",))
        trained = [*self.regions.entry_points, *(region.name for region in regions)]
        return [*regions, assign("TRAINED", List(tuple(map(Name, trained)))), train]

    def _entered(self, a: str, number: int) -> list[Statement]:
        return [do("run_own_slabs", "communicator", "entry_points", to_int(number), "words", PROCESSES)]


class RankTrainingEmitter(CpuEmitter):
    """Writes a program and its training loop for several processes."""

    symbols = RANK_SYMBOLS

    def __init__(self, unit: TranslationUnit):
        super().__init__(unit)
        self.regions = RankRegionWriter(unit, ["merge"] if threads_share_sums(unit) else [])

    def drivers(self, unrolled: bool) -> ModuleItems:
        """The step of all processes, and the loop."""
        runs = RankDriverWriter(self.unit, self.regions)
        return [*runs.joint(), *RankTrainingLoop(self.unit, self.regions).joint()]


def _on_first_rank(statements: Sequence[Statement]) -> list[Statement]:
    """What number 0 does for all, who meet behind it."""
    return [when(compare(Name("communicator").at(0), "==", 0), list(statements)), BARRIER] if statements else []
