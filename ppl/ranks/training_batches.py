"""Each rank's part of the batches of `ppl.fit`: of arrays, in an order that all work out from the seed, and of streams.

Of a stream, a step is on the batches of all ranks, the rows of rank 0 first."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ppl.errors import DataError, OptionError
from ppl.lang.arguments import as_array
from ppl.ranks.calls import RankRowRange
from ppl.ranks.communicator import Communicator
from ppl.runtime.array_files import is_memory_mapped
from ppl.runtime.binding import require_known_plates
from ppl.training.batches import (
    ArrayBatches,
    Batch,
    arguments_with_rows,
    epoch_permutation,
    outermost_data_plate,
    row_count,
    too_large_to_convert,
    validate_arrays,
)
from ppl.training.streams import StreamBatches


class RankArrayBatches(ArrayBatches):
    """`Rows` of which every rank takes its part of each minibatch; `data` are those that this rank holds. Collective.

    A batch has the data of this rank, perhaps none, and its `size` is that of all ranks. Errors are those of `Rows` and
    of `RankRowRange`.
    """

    reads_ahead = False
    nothing = np.zeros(0)
    """What ranks tell each other of the next batch."""

    def __init__(
        self,
        ranks: Communicator,
        program: Any,
        data: Sequence[Any],
        batch_size: int | None,
        total_rows: Any,
        replicated: bool | None,
    ):
        compiled, self.data = ranks.run_on_all(self._arrays, program, data, batch_size, total_rows)
        plate, self.binder = outermost_data_plate(compiled), compiled.binder
        self.portion = ranks.run_on_all(RankRowRange, ranks, self.data, self.cut, replicated, self._mapped)
        ranks.run_on_all(self._count, plate, batch_size, total_rows)

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
        self.cut = arguments_with_rows(compiled)
        needs = "needs a data argument that an outermost ppl.plate opens"
        for name, value in (("batch_size", batch_size), ("total_rows", total_rows)):
            if value is not None and outermost_data_plate(compiled) is None:
                raise OptionError(f"{name}= {needs}")
        require_known_plates("total_rows=", total_rows, {a.name for a in compiled.binder.plates})
        mapped = [is_memory_mapped(d) for d, c in zip(arrays, self.cut, strict=True) if c]
        self._mapped = bool(mapped) and all(mapped)
        self.checks = any(mapped) and too_large_to_convert(arrays, compiled.binder)
        if self.checks or row_count(compiled, arrays) == 0:
            return compiled, tuple(arrays)
        return compiled, validate_arrays(compiled.binder, arrays, self.cut)[0]

    @property
    def all_rows_local(self) -> bool:
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
            order = epoch_permutation(self.seed, epoch, self.count)
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


PASS_END, STREAM_END, READ_FAILED, NO_BATCH = -1.0, -2.0, -3.0, -4.0
"""What comes next, where it is no batch: the end of a pass, of the stream, an exception; of `accumulate` batches, one
behind the end of a pass."""


class RankStreamBatches(StreamBatches):
    """A `StreamBatches` of every rank's own part of each batch.

    Noise and scales go by the rows of all ranks. So a rank has to know how many rows the others have before it computes
    its part, and reads one step ahead: `ask` says what comes, which ranks tell each other with the step before, and
    `told` hears of it. It is the rows of each batch of the step, and a checksum of what has no rows.

    Parameters
    ----------
    rank : the number of this rank.
    rest : arguments of `StreamBatches`, and its errors.
    """

    reads_ahead = True

    def __init__(self, rank: int, *rest: Any):
        super().__init__(*rest)
        plate = outermost_data_plate(self.compiled)
        self.rank, self.data = rank, self.first
        self.plate, self.has_rows = None if plate is None else plate.name, plate is not None
        self._coming: Batch | None = None
        self._error: Exception | None = None
        self.nothing = np.zeros(self.accumulate + 1)
        self._told = np.zeros((0, self.accumulate + 1))

    def batches(self, skip: int) -> Iterator[Batch | None]:
        """This rank's parts of the batches that all have told of; None after every pass."""
        self._local = super().batches(skip)
        return self._numbered()

    def ask(self) -> np.ndarray:
        """Read the next step's batches: their rows here, and a checksum of what has no rows, equal on all ranks."""
        self._coming = self._error = None
        said = self.nothing.copy()
        try:
            found = next(self._local, STREAM_END)
        except Exception as error:
            self._error = error
            said[0] = READ_FAILED
            return said
        if found is None or found is STREAM_END:
            said[0] = PASS_END if found is None else STREAM_END
            return said
        assert isinstance(found, Batch)
        self._coming = found
        sizes = found.joined if self.has_rows else (0,) * len(found.joined)
        said[:] = *sizes, *[NO_BATCH] * (self.accumulate - len(sizes)), self._checksum(found)
        return said

    def told(self, coming: np.ndarray) -> None:
        """Hear what `ask` has found on every rank, in one row for each."""
        self._told = coming

    def total_of(self, rows: int) -> int:
        """The rows of the data set, of which a step has seen so many."""
        if not self.has_rows:
            return 1
        given = self.total_rows
        own = given.get(self.plate) if isinstance(given, Mapping) else given
        return rows if own is None else int(own)

    def _checksum(self, batch: Batch) -> int:
        found = 0
        for x in (x for x, cut in zip(batch.data, self.cut, strict=True) if not cut):
            found = zlib.crc32(np.ascontiguousarray(x).data, zlib.crc32(repr((x.shape, x.dtype.str)).encode(), found))
        return found

    def _numbered(self) -> Iterator[Batch | None]:
        """This rank's batches with the numbers that their rows have among those of all ranks."""
        while True:
            if self._error is not None:
                raise self._error
            sizes, marks = self._told[:, :-1], self._told[:, -1]
            first = sizes[:, 0]
            if (first == READ_FAILED).any():
                yield Batch((), np.zeros(0, np.int64), None, 0, False, False)
            elif (first == STREAM_END).all():
                return
            elif (first == PASS_END).all():
                yield None
            else:
                self._require_together(sizes, marks)
                assert self._coming is not None
                yield self._part(self._coming, np.maximum(sizes, 0).astype(np.int64))

    def _part(self, batch: Batch, sizes: np.ndarray) -> Batch:
        """This rank's batch with the numbers of its rows; `sizes` are rows by rank and batch of the step."""
        total = int(sizes.sum())
        if not self.has_rows:
            return batch._replace(rows=None, size=1, bound=None)
        given, before = self.total_rows, sizes[: self.rank].sum(0) + np.concatenate([[0], sizes.sum(0).cumsum()[:-1]])
        totals = {self.plate: total} | dict(given) if isinstance(given, Mapping) else self.total_of(total)
        rows = [np.arange(first, first + own) for first, own in zip(before, sizes[self.rank], strict=True)]
        return batch._replace(rows=np.concatenate(rows), total_rows=totals, size=total, bound=None)

    def _require_together(self, sizes: np.ndarray, marks: np.ndarray) -> None:
        there = (sizes >= 0).sum(1)
        ended = np.flatnonzero(there < there.max()).tolist()
        where = f"batches=: after step {self.place[1]} of pass {self.place[0]}"
        if ended:
            raise DataError(
                f"{where} ranks {ended} have no more batches, and the others have: all have as many in a pass"
            )
        if self.has_rows and not (sizes > 0).any():
            raise DataError(f"{where} no rank has rows")
        if len(set(marks)) > 1:
            raise DataError(f"{where} arguments without rows are not equal on all ranks")
