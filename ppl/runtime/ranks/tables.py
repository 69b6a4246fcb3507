"""Tables of which a step reads few rows: ranks exchange the sums of the rows that they have touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ppl.compiler.lower.request import Request, Result, offsets_of
from ppl.compiler.lower.sparse import Table, sparse_request
from ppl.lazy import table_sums
from ppl.runtime.executable import Executable
from ppl.runtime.ranks.comm import Ranks
from ppl.runtime.ranks.shared import Shared


class Touched(NamedTuple):
    """Rows of a table, sorted, and the gradient in them, (rows, width)."""

    rows: np.ndarray
    sums: np.ndarray


class SharedTables(Shared):
    """A gradient that is sparse in `tables`; the rest of it is that of `Shared`. Falsy where there are no such tables.

    `dense` says which parts of the flat vector are not tables.
    """

    tables: tuple[Table, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tables)

    def _partial(self, request: Request, particles: int, int32: tuple[str, ...]) -> Executable:
        found, tables = sparse_request(request, self.compiled.target.rewrites)
        if not tables or self.division.sums or not self.rows:
            return super()._partial(request, particles, int32)
        self.tables = tables
        starts, _ = offsets_of(request.params)
        named = {t.name for t in tables}
        self.dense = [
            slice(starts[n], starts[n] + int(np.prod(s, dtype=np.int64))) for n, s in request.params if n not in named
        ]
        return self._compiled(replace(found, whole=True), "tables")

    @property
    def entries(self) -> int:
        """Numbers of what a rank finds besides scalars and rows of tables."""
        aux = self.executable.n_aux * bool(self.executable.request.aux)
        return sum(part.stop - part.start for part in self.dense) + aux

    def packed(self, result: Result, share: float) -> np.ndarray:
        """The gradient outside tables, and the new auxiliary variables."""
        aux = result.aux if self.executable.request.aux else result.aux[:0]
        return np.concatenate([*(result.grad[part] for part in self.dense), aux])

    def touched(self, result: Result | None, table: Table, dtype: np.dtype) -> Touched:
        """What this rank adds to a table."""
        if result is None:
            return Touched(np.zeros(0, np.int64), np.zeros((0, table.width), dtype))
        arrays = result.arrays
        index = [np.ravel(arrays[term.target]) for term in table.terms]
        rows, places = table_sums.touched(np.concatenate(index), table.length)
        sums, at = np.zeros((len(rows), table.width), dtype), 0
        for term, named in zip(table.terms, index, strict=True):
            coefs = np.ravel(arrays[term.coefs]) if term.coefs else np.zeros(0, dtype)
            part = np.ascontiguousarray(places.reshape(-1)[at : at + named.size])
            table_sums.add_rows(sums, part, coefs, arrays[term.rows].reshape(-1, table.width), term.repeat)
            at += named.size
        return Touched(rows.astype(np.int64), sums)

    def together(self, ranks: Ranks, result: Result | None, weights: np.ndarray, dtype: np.dtype) -> Sequence[Touched]:
        """What all ranks add to every table, added up in the order of ranks. Collective."""
        own = [self.touched(result, table, dtype) for table in self.tables]
        weight = dtype.type(weights[ranks.rank])
        counts = ranks.exchange(np.array([len(t.rows) for t in own], float)).astype(int)
        found = []
        for i, (table, mine) in enumerate(zip(self.tables, own, strict=True)):
            each = counts[:, i].tolist()
            rows = ranks.lists(mine.rows, each)
            sums = ranks.lists((mine.sums * weight).reshape(-1), [n * table.width for n in each])
            names, places = np.unique(rows, return_inverse=True)
            total = np.zeros((len(names), table.width), dtype)
            added = sums.reshape(-1, table.width)
            table_sums.add_rows(total, np.ascontiguousarray(places.reshape(-1)), np.zeros(0, dtype), added, 1)
            found.append(Touched(names, total))
        return found
