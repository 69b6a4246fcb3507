"""Records of steps in bounded memory: means over windows of equal length, which doubles when there are too many.

What is kept after n records is a function of the records alone, not of how they came in: a run that was interrupted and
one that was not keep the same bits.
"""

from __future__ import annotations

import numpy as np


class Thinned:
    """At most `limit` records and a window that is not full yet.

    Parameters
    ----------
    limit : even, at least 2.
    columns : entries of a record; the first is a number that rises (the step), of which a window keeps the last.
    """

    def __init__(self, limit: int, columns: int):
        self.limit, self.stride = limit, 1
        self._kept = np.empty((limit, columns))
        self._count = 0
        self._tail = np.empty((0, columns))

    def add(self, records: np.ndarray) -> None:
        """Take records, one a row."""
        tail = np.concatenate([self._tail, records])
        while (take := min(len(tail) // self.stride, self.limit - self._count)) > 0:
            used = take * self.stride
            self._kept[self._count : self._count + take] = _means(tail[:used], self.stride)
            self._count, tail = self._count + take, tail[used:]
            if self._count == self.limit:
                self._kept[: self.limit // 2] = _means(self._kept, 2)
                self._count, self.stride = self.limit // 2, 2 * self.stride
        self._tail = tail.copy()

    @property
    def records(self) -> np.ndarray:
        """The means so far; the last of them may be of a shorter window."""
        last = [_means(self._tail, len(self._tail))] if len(self._tail) else []
        return np.concatenate([self._kept[: self._count], *last])

    @property
    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Means of full windows, and the records of the one that is not full."""
        return self._kept[: self._count].copy(), self._tail.copy()

    def restore(self, kept: np.ndarray, tail: np.ndarray, stride: int) -> None:
        """Go on from the `parts` and `stride` of another."""
        self._count, self.stride, self._tail = len(kept), stride, tail.copy()
        self._kept[: len(kept)] = kept


def _means(records: np.ndarray, stride: int) -> np.ndarray:
    """Means over windows of `stride` records, and of their first column the last entry."""
    windows = records.reshape(-1, stride, records.shape[1])
    means = np.ascontiguousarray(windows.transpose(0, 2, 1)).sum(axis=-1) / stride
    means[:, 0] = windows[:, -1, 0]
    return means
