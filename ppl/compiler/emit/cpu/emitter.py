"""The CPU emitter: a schedule as a module of functions for Numba.

One function per fused kernel; one per stage, `rows_i(words, slab, slabs, lane)` for a row region, which calls kernels
and products in order, tile by tile, and `rows_i_products` for the products it owns; a serial driver `serial`, and
`parallel`, which shares slabs among threads."""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit.code import Function, Statement
from ppl.compiler.emit.cpu.c_entry import CEntryPoint
from ppl.compiler.emit.cpu.drivers import DriverWriter, RegionWriter, products_region
from ppl.compiler.emit.cpu.training import TrainingLoop
from ppl.compiler.emit.emitter import Emitter, ModuleItems
from ppl.compiler.emit.slab_reductions import threads_share_sums
from ppl.compiler.emit.stages import StageWriter
from ppl.compiler.emit.symbols import CPU_SYMBOLS
from ppl.compiler.emit.unit import TranslationUnit
from ppl.compiler.schedule.stages import Stage


class CpuEmitter(Emitter):
    """Writes one program for the CPU."""

    place, symbols = "the CPU", CPU_SYMBOLS

    def __init__(self, unit: TranslationUnit):
        self.regions = RegionWriter(unit, ["merge"] if threads_share_sums(unit) else [])
        super().__init__(unit)

    def writer(self) -> StageWriter:
        """What writes stages."""
        return StageWriter(self.unit, self.regions.stage, self._products, "shared")

    def _products(self, stage: Stage, body: Sequence[Statement], doc: str) -> Function:
        return self.regions.region(products_region(stage), body, doc, of=stage)

    def runs(self) -> DriverWriter:
        """What writes drivers."""
        return DriverWriter(self.unit, self.regions)

    def drivers(self, unrolled: bool) -> ModuleItems:
        """The functions that run all stages."""
        runs = self.runs()
        parallel = runs.parallel()
        driver = "both" if unrolled else "parallel" if parallel else "serial"
        embedded = CEntryPoint(self.unit, "both" if unrolled else "serial").functions()
        return [*runs.serial(), *embedded, *parallel, *self._training(driver)]

    def alone(self, unrolled: Sequence[Statement]) -> ModuleItems:
        """The functions of a program that has the unrolled form only."""
        if self.unit.sampling and self.unit.sizes["grad"]:  # users' code has one place for outputs
            return [self.straight(unrolled), *CEntryPoint(self.unit, "straight").functions()]
        return [*CEntryPoint(self.unit, "one", unrolled).functions(), *self._training("one")]

    def _training(self, driver: str) -> ModuleItems:
        return TrainingLoop(self.unit, self.regions).dense(driver) if self.unit.trained else []
