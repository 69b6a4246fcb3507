"""Training in place on tables that threads share by columns, and the choice of a training loop."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.compiler.lower.request import Request
from ppl.runtime.pool import aligned
from ppl.training.columns.emission import ColumnEmitter
from ppl.training.columns.parts import Columns
from ppl.training.columns.request import by_columns
from ppl.training.live import Live
from ppl.training.loops import SparseTrainer, Trainer

if TYPE_CHECKING:
    from ppl.runtime.compiled import Compiled

BY_COLUMNS = ("SGD",)
"""Rules for which tables are shared by columns."""


class ColumnTrainer(SparseTrainer):
    """The training loop of a program that reads rows of tables only through inner products; false for any other.

    The tables are copied into parts by columns when a state first trains, and back when someone looks at it.
    """

    columns: Columns | None = None

    def _prepare(self, request: Request) -> None:
        found = by_columns(request, self.tables)
        if found is not None:
            request, self.columns = found
            inside = {t.name for t in self.columns.tables}
            rest = [t for t in self.tables if t.name not in inside]
            self._compile(request, functools.partial(ColumnEmitter, columns=self.columns), rest)

    def __bool__(self) -> bool:
        return self.columns is not None

    def _threads(self, threads: int, steps: int) -> AbstractContextManager[None]:
        """Threads wait for one another's tables only where some are shared by rows."""
        return super()._threads(threads, steps) if self._emitter.tables else contextlib.nullcontext()

    def _extra(self, live: Live, v: np.ndarray, sizes: dict[str, int], threads: int) -> tuple[Any, ...]:
        if live.columns is None:
            live.columns = self._split(live.flat)
        live.join = functools.partial(self._join, live)
        return *super()._extra(live, v, sizes, threads), live.columns

    def _scratch(self, sizes: dict[str, int], threads: int) -> tuple[np.ndarray, ...]:
        """As for other tables, with what parts hold within a step."""
        if (threads, *sizes.values()) not in self._lists:
            assert isinstance(self._emitter, ColumnEmitter)
            held = aligned(self._emitter.held_entries().evaluate(sizes), self.executable.float)
            self._lists[threads, *sizes.values()] = *super()._scratch(sizes, threads), held
        return self._lists[threads, *sizes.values()]

    def _split(self, flat: np.ndarray) -> np.ndarray:
        assert self.columns is not None
        out = aligned(self.columns.area * self.columns.parts, self.executable.float)
        for whole, part in self._pieces(flat, out):
            part[:] = whole
        return out

    def _join(self, live: Live) -> None:
        assert live.columns is not None
        for whole, part in self._pieces(live.flat, live.columns):
            whole[:] = part

    def _pieces(self, flat: np.ndarray, columns: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The columns of every table and part in a flat vector, and where the part has them."""
        cut = self.columns
        assert cut is not None
        for table in cut.tables:
            size, width = table.length * table.width, cut.padded(table)
            whole = flat[table.offset : table.offset + size].reshape(table.length, table.width)
            for p in range(cut.parts):
                first, last = cut.piece(table, p)
                at = p * cut.area + cut.start(table.name)
                part = columns[at : at + table.length * width].reshape(table.length, width)
                yield whole[:, first:last], part[:, : last - first]


def trainer_of(compiled: Compiled, sparse: bool, rule: str = "") -> Trainer | None:
    """The training loop in place; for `sparse` rules that which moves only the rows of tables that data name."""
    key = sparse, rule if sparse and rule in BY_COLUMNS else ""
    if key not in compiled.trainers:
        compiled.trainers[key] = _new_trainer(compiled, *key)
    return compiled.trainers[key]


def _new_trainer(compiled: Compiled, sparse: bool, rule: str) -> Trainer | None:
    """The loop for a program on the CPU: one that keeps gradients sparse in tables if they are and may be, else any."""
    if compiled.settings.target != "cpu" or not compiled.layout.shapes:
        return None
    if sparse and compiled.binder.plates:
        if rule in BY_COLUMNS and (cut := ColumnTrainer(compiled)):
            return cut
        if found := SparseTrainer(compiled):
            return found
    trainer = Trainer(compiled)
    return trainer if trainer.executable.trains else None
