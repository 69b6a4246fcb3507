"""Training in place on tables that threads share by columns."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ppl.compiler.lower.request import Request
from ppl.runtime.pool import aligned
from ppl.training.columns.emission import ColumnEmitter
from ppl.training.columns.parts import Columns
from ppl.training.columns.request import by_columns
from ppl.training.live import Live
from ppl.training.loops import SparseTrainer


class ColumnTrainer(SparseTrainer):
    """The training loop of a program that reads rows of tables only through inner products; false for any other.

    The tables are copied into parts by columns when a state first trains, and back when someone looks at it.
    """

    rules: ClassVar[tuple[str, ...]] = ("SGD",)
    """Optimizers whose step on a row needs nothing but the row's gradient."""

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

    def _chosen(self, threads: int, steps: int) -> int:
        """Threads wait for one another's tables only where some are shared by rows."""
        return super()._chosen(threads, steps) if self._emitter.tables else threads

    def _extra(self, live: Live, v: np.ndarray, sizes: dict[str, int], threads: int) -> tuple[Any, ...]:
        if live.parts is None:
            live.parts = self._split(live.flat)
        live.join = functools.partial(self._join, live)
        return *super()._extra(live, v, sizes, threads), live.parts

    def _lists(self, sizes: dict[str, int], threads: int) -> tuple[np.ndarray, ...]:
        """As for other tables, with what parts hold within a step."""
        assert isinstance(self._emitter, ColumnEmitter)
        held = aligned(self._emitter.held_entries().evaluate(sizes), self.executable.float)
        return *super()._lists(sizes, threads), held

    def _split(self, flat: np.ndarray) -> np.ndarray:
        assert self.columns is not None
        out = aligned(self.columns.area * self.columns.parts, self.executable.float)
        for whole, part in self._pieces(flat, out):
            part[:] = whole
        return out

    def _join(self, live: Live) -> None:
        assert live.parts is not None
        for whole, part in self._pieces(live.flat, live.parts):
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
