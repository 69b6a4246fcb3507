"""`batches=` on several processes: a step is on the batches of all ranks, the rows of rank 0 first."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ppl.errors import DataError
from ppl.training.batches import Batch, outer_plate
from ppl.training.streams.stream import Stream

PASSED, OVER, FAILED, ABSENT = -1.0, -2.0, -3.0, -4.0
"""What comes next, where it is no batch: the end of a pass, of the stream, an exception; of `accumulate` batches, one
behind the end of a pass."""


class RankStream(Stream):
    """A `Stream` of every rank's own part of each batch.

    Noise and scales go by the rows of all ranks. So a rank has to know how many rows the others have before it computes
    its part, and reads one step ahead: `ask` says what comes, which ranks tell each other with the step before, and
    `told` hears of it. It is the rows of each batch of the step, and a checksum of what has no rows.

    Parameters
    ----------
    rank : the number of this rank.
    rest : arguments of `Stream`, and its errors.
    """

    reads_ahead = True

    def __init__(self, rank: int, *rest: Any):
        super().__init__(*rest)
        plate = outer_plate(self.compiled)
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
            found = next(self._local, OVER)
        except Exception as error:
            self._error = error
            said[0] = FAILED
            return said
        if found is None or found is OVER:
            said[0] = PASSED if found is None else OVER
            return said
        assert isinstance(found, Batch)
        self._coming = found
        sizes = found.joined if self.has_rows else (0,) * len(found.joined)
        said[:] = *sizes, *[ABSENT] * (self.accumulate - len(sizes)), self._mark(found)
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

    def _mark(self, batch: Batch) -> int:
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
            if (first == FAILED).any():
                yield Batch((), np.zeros(0, np.int64), None, 0, False, False)
            elif (first == OVER).all():
                return
            elif (first == PASSED).all():
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
