"""Minibatches of rows that several processes hold: global, in an order that every rank works out from the seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ppl.errors import DataError, OptionError
from ppl.lang.arguments import as_array
from ppl.runtime.binding import check_plates
from ppl.runtime.ranks.comm import Ranks
from ppl.runtime.ranks.portion import Portion
from ppl.runtime.storage.mapped import is_mapped
from ppl.training.batches import Batch, Rows, _large, _validated, cut_arguments, outer_plate, permutation, row_count


class RankRows(Rows):
    """`Rows` of which every rank takes its part of each minibatch; `data` are those that this rank holds. Collective.

    A batch has the data of this rank, perhaps none, and its `size` is that of all ranks. Errors are those of `Rows` and
    of `Portion`.
    """

    reads_ahead = False
    nothing = np.zeros(0)
    """What ranks tell each other of the next batch."""

    def __init__(
        self,
        ranks: Ranks,
        program: Any,
        data: Sequence[Any],
        batch_size: int | None,
        total_rows: Any,
        replicated: bool | None,
    ):
        compiled, self.data = ranks.together(self._arrays, program, data, batch_size, total_rows)
        plate, self.binder = outer_plate(compiled), compiled.binder
        self.portion = ranks.together(Portion, ranks, self.data, self.cut, replicated, self._mapped)
        ranks.together(self._count, plate, batch_size, total_rows)

    def _count(self, plate: Any, batch_size: int | None, total_rows: Any) -> None:
        """Work out rows, and rows of a minibatch."""
        self.total_rows, self.seed = dict(total_rows) if isinstance(total_rows, Mapping) else total_rows, 0
        self.plate, self.has_rows = None if plate is None else plate.name, plate is not None
        self.count = self.portion.total if self.has_rows else 1
        own = total_rows.get(self.plate) if isinstance(total_rows, Mapping) else total_rows
        self.total = self.count if own is None else int(own)
        if self.count == 0:
            raise DataError(f"plate '{self.plate}' has no rows on any rank")
        if self.total < self.count:
            raise OptionError(f"total_rows={self.total}: the ranks are given {self.count} rows of them")
        self.batch_size = self.count if batch_size is None else min(int(batch_size), self.count)

    def _arrays(self, program: Any, data: Sequence[Any], batch_size: Any, total_rows: Any) -> tuple[Any, Any]:
        """The program for these arguments, and the arguments, checked."""
        arrays = [as_array(d, n) for d, n in zip(data, program.argument_names, strict=True)]
        compiled = program.prepare(*arrays)
        self.cut = cut_arguments(compiled)
        needs = "needs a data argument that an outermost ppl.plate opens"
        for name, value in (("batch_size", batch_size), ("total_rows", total_rows)):
            if value is not None and outer_plate(compiled) is None:
                raise OptionError(f"{name}= {needs}")
        check_plates("total_rows=", total_rows, {a.name for a in compiled.binder.plates})
        mapped = [is_mapped(d) for d, c in zip(arrays, self.cut, strict=True) if c]
        self._mapped = bool(mapped) and all(mapped)
        self.checks = any(mapped) and _large(arrays, compiled.binder)
        if self.checks or row_count(compiled, arrays) == 0:
            return compiled, tuple(arrays)
        return compiled, _validated(compiled.binder, arrays, self.cut)[0]

    @property
    def whole_here(self) -> bool:
        """Whether every rank has all rows in memory."""
        return self.portion.replicated and not self._mapped

    def ask(self) -> np.ndarray:
        """Nothing: every rank works out all batches from the seed."""
        return self.nothing

    def told(self, coming: np.ndarray) -> None:
        """Nothing is to be heard of other ranks."""

    def total_of(self, rows: int) -> int:
        """The rows of the data set, whatever part of them a step has seen."""
        return self.total if self.has_rows else 1

    def batches(self, step: int) -> Iterator[Batch]:
        """Batches from global step `step` on, without end."""
        per_epoch, size = self.steps_per_epoch, self.batch_size
        while True:
            epoch, first = divmod(step, per_epoch)
            if per_epoch == 1:
                yield self._whole()
                step += 1
                continue
            order = permutation(self.seed, epoch, self.count)
            for i in range(first, per_epoch):
                rows = order[i * size : (i + 1) * size]
                yield self._batch(rows, i == per_epoch - 1)
            step += per_epoch - first

    def _whole(self) -> Batch:
        """The step on all rows, in order."""
        if not self.has_rows:
            return Batch(self.data, None, None, 1, False, True)
        part, first = self.portion.whole()
        data = tuple(d[part] if cut else d for d, cut in zip(self.data, self.cut, strict=True))
        return Batch(
            data, np.arange(first, first + part.stop - part.start), self._totals(), self.count, self.checks, True
        )

    def _batch(self, rows: np.ndarray, last: bool) -> Batch:
        own = self.portion.taken(rows)
        at = own if self.portion.replicated else own - self.portion.first
        data = tuple(d[at] if cut else d for d, cut in zip(self.data, self.cut, strict=True))
        return Batch(data, own, self._totals(), len(rows), self.checks, last)
