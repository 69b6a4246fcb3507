"""The CPU emitter: a schedule as a module of functions for Numba.

One function per fused kernel; one per stage, `rows_i(table, slab, slabs, lane)` for a row region, which calls kernels
and products in order, tile by tile, and `rows_i_products` for the products it owns; a serial driver `serial`, and
`parallel`, which shares slabs among threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ppl.compiler.emit.code import Assign, Function, Module, Name, Statement, Tuple, call
from ppl.compiler.emit.cpu.drivers import Drivers
from ppl.compiler.emit.cpu.regions import Regions, products_of
from ppl.compiler.emit.cpu.training import Training
from ppl.compiler.emit.scalar import INF
from ppl.compiler.emit.stages import Stages
from ppl.compiler.emit.sums import is_shared
from ppl.compiler.emit.symbols import CPU, Table, externals, imports
from ppl.compiler.emit.unit import Unit
from ppl.compiler.schedule.stages import Stage

Items = list[Function | Assign]


class Emitter:
    """Writes one program: its stages, and drivers around them."""

    symbols: Table = CPU
    place = "the CPU"

    def __init__(self, unit: Unit, more_regions: Sequence[str] = ()):
        self.unit = unit
        self.regions = Regions(unit, [*(["merge"] if is_shared(unit) else []), *more_regions])
        self.stages = self.writer()
        self.injected: dict[str, Any] = {}
        """Users' functions that the module cannot import, once it has been written."""

    def writer(self) -> Stages:
        """What writes stages."""
        return Stages(self.unit, self.regions.stage, self._products, "shared")

    def _products(self, stage: Stage, body: Sequence[Statement], doc: str) -> Function:
        return self.regions.region(products_of(stage), body, doc)

    @property
    def kernels(self) -> int:
        """Number of kernels."""
        return self.stages.kernels

    def module(self, unrolled: Sequence[Statement] = (), general: bool = True) -> Module:
        """The whole module; `unrolled` is the form for one particle, which may be the only one there is."""
        doc = "The whole program for one particle, unrolled."
        one = [self.unit.function("one", self.unit.driver_arguments, unrolled, doc)] if unrolled else []
        if not general:
            self.stages.kernels = 1
            return self._module([*one, *self.single()])
        return self._module([*self.stages.functions(), *one, *self.drivers(bool(unrolled))])

    def _module(self, items: Sequence[Function | Assign]) -> Module:
        unit = self.unit
        known, versions, self.injected = externals(unit.builder.functions)
        doc = f"Program emitted by ppl for {self.place} in {unit.dtype}. "
        doc += "Do not edit: the file's name is a hash of its content."
        return Module(doc, (*constants(unit.dtype), *versions, *items), (*imports(self.symbols, unit.bits), *known))

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
        return [*runs.serial(), runs.entry("both" if unrolled else "serial"), *parallel, *self._training(driver)]

    def single(self) -> Items:
        """What stands behind the unrolled form if there is no other."""
        return [self.runs().entry("one"), *self._training("one")]

    def _training(self, driver: str) -> Items:
        return Training(self.unit, self.regions).dense(driver) if self.unit.trained else []


def constants(dtype: str) -> list[Assign]:
    """The types and constants of a module."""
    np = Name("np")
    types = Tuple((np.dot(dtype), np.dot("int64"), np.dot("uint64")))
    special = Tuple(tuple(call("F", np.dot(x)) for x in ("inf", "nan")))
    return [Assign(Tuple((Name("F"), Name("I"), Name("U"))), types), Assign(Tuple((INF, Name("NAN"))), special)]
