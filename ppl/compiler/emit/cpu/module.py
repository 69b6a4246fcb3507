"""The CPU emitter: a schedule as a module of functions for Numba.

One function per fused kernel; one per stage, `rows_i(words, slab, slabs, lane)` for a row region, which calls kernels
and products in order, tile by tile, and `rows_i_products` for the products it owns; a serial driver `serial`, and
`parallel`, which shares slabs among threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ppl.compiler.emit.code import Function, Statement
from ppl.compiler.emit.cpu.drivers import Drivers
from ppl.compiler.emit.cpu.from_c import FromC
from ppl.compiler.emit.cpu.regions import Regions, products_of
from ppl.compiler.emit.cpu.training import Training
from ppl.compiler.emit.emitter import Emitter, Items
from ppl.compiler.emit.stages import Stages
from ppl.compiler.emit.sums import is_shared
from ppl.compiler.emit.symbols import CPU
from ppl.compiler.emit.unit import Unit
from ppl.compiler.schedule.stages import Stage


class CpuEmitter(Emitter):
    """Writes one program for the CPU; `more_regions` are those that are no stages."""

    place, symbols = "the CPU", CPU

    def __init__(self, unit: Unit, more_regions: Sequence[str] = ()):
        self.regions = Regions(unit, [*(["merge"] if is_shared(unit) else []), *more_regions])
        super().__init__(unit)

    def writer(self) -> Stages:
        """What writes stages."""
        return Stages(self.unit, self.regions.stage, self._products, "shared")

    def _products(self, stage: Stage, body: Sequence[Statement], doc: str) -> Function:
        return self.regions.region(products_of(stage), body, doc, of=stage)

    def before(self) -> Mapping[str, Sequence[Statement]]:
        """What the parallel driver does before unplated stages, by their names."""
        return {}

    def runs(self) -> Drivers:
        """What writes drivers."""
        return Drivers(self.unit, self.regions, self.before())

    def drivers(self, unrolled: bool) -> Items:
        """The functions that run all stages."""
        runs = self.runs()
        parallel = runs.parallel()
        driver = "both" if unrolled else "parallel" if parallel else "serial"
        embedded = FromC(self.unit, "both" if unrolled else "serial").functions()
        return [*runs.serial(), *embedded, *parallel, *self._training(driver)]

    def alone(self, unrolled: Sequence[Statement]) -> Items:
        """The functions of a program that has the unrolled form only."""
        if self.unit.sampling and self.unit.sizes["grad"]:  # users' code has one place for outputs
            return [self.straight(unrolled), *FromC(self.unit, "straight").functions()]
        return [*FromC(self.unit, "one", unrolled).functions(), *self._training("one")]

    def _training(self, driver: str) -> Items:
        return Training(self.unit, self.regions).dense(driver) if self.unit.trained else []
