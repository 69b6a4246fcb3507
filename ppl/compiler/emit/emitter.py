"""Emitters: write a schedule as a module, whose functions are stages, and drivers around them.

What a target adds is how row regions are framed, what runs the stages, and where kernels are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from ppl.compiler.emit.code import Assign, Function, Module, Name, Statement, Tuple, call
from ppl.compiler.emit.scalar import INF
from ppl.compiler.emit.stages import StageWriter
from ppl.compiler.emit.symbols import ImportTable, import_records, locate_user_functions
from ppl.compiler.emit.unit import TranslationUnit

ModuleItems = list[Function | Assign]


class Emitter(ABC):
    """Writes one program; `place` names the target, and `symbols` says where its kernels are."""

    place: str
    symbols: ImportTable

    def __init__(self, unit: TranslationUnit):
        self.unit = unit
        self.stages = self.writer()
        self.injected: dict[str, Any] = {}
        """Users' functions that the module cannot import, once it has been written."""

    @abstractmethod
    def writer(self) -> StageWriter:
        """What writes stages."""

    @abstractmethod
    def drivers(self, unrolled: bool) -> ModuleItems:
        """The functions that run all stages; with the `unrolled` form where there is one."""

    @abstractmethod
    def alone(self, unrolled: Sequence[Statement]) -> ModuleItems:
        """The functions of a program that has the unrolled form only."""

    @property
    def kernels(self) -> int:
        """Number of kernels."""
        return self.stages.kernels

    def module(self, unrolled: Sequence[Statement] = (), general: bool = True) -> Module:
        """The whole module; `unrolled` is the form for one particle, which may be the only one there is."""
        if not general:
            self.stages.kernels = 1
            return self._module(self.alone(unrolled))
        one = [self.straight(unrolled)] if unrolled else []
        return self._module([*self.stages.functions(), *one, *self.drivers(bool(unrolled))])

    def straight(self, unrolled: Sequence[Statement]) -> Function:
        """The unrolled form as a driver."""
        doc = "The whole program for one particle, unrolled."
        return self.unit.function("one", self.unit.driver_arguments, unrolled, doc)

    def _module(self, items: Sequence[Function | Assign]) -> Module:
        unit = self.unit
        known, versions, self.injected = locate_user_functions(unit.builder.functions)
        doc = f"Program emitted by ppl for {self.place} in {unit.dtype}. "
        doc += "Do not edit: the file's name is a hash of its content."
        return Module(
            doc, (*module_constants(unit.dtype), *versions, *items), (*import_records(self.symbols, unit.bits), *known)
        )


def module_constants(dtype: str) -> list[Assign]:
    """The types and constants of a module."""
    np = Name("np")
    types = Tuple((np.dot(dtype), np.dot("int64"), np.dot("uint64")))
    special = Tuple(tuple(call("F", np.dot(x)) for x in ("inf", "nan")))
    return [Assign(Tuple((Name("F"), Name("I"), Name("U"))), types), Assign(Tuple((INF, Name("NAN"))), special)]
