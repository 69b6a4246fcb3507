"""Which rows of the data set a rank is given, and which of them it takes: its own, or a share of rows that all hold."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ppl.errors import DataError, OptionError
from ppl.runtime.ranks.comm import Ranks
from ppl.runtime.storage.mapped import is_mapped

HASHED_BYTES = 1 << 24
"""Bytes of an array that are compared between ranks at most."""


class Portion:
    """Rows that ranks hold. Collective.

    Parameters
    ----------
    ranks : the communicator.
    data : this rank's arrays, in the order of the program's arguments.
    cut : which of them have rows; the others must be equal on all ranks.
    mapped : whether the rows lie in files that are mapped into memory; None looks at `data`.
    replicated : whether every rank is given all rows; None means that memory-mapped arrays are, and others are not.

    Attributes
    ----------
    replicated : the answer.
    held : rows that this rank holds.
    first, total : the number of its first row in the data set, and the rows of that.

    Raises
    ------
    DataError
        Ranks contradict each other; or all hold the same rows, and nobody has said what that means.
    """

    def __init__(
        self,
        ranks: Ranks,
        data: Sequence[np.ndarray],
        cut: Sequence[bool],
        replicated: bool | None,
        mapped: bool | None = None,
    ):
        opened = [x for x, c in zip(data, cut, strict=True) if c]
        self.ranks, self.cut = ranks, tuple(cut)
        self.held = len(opened[0]) if opened else 0
        mapped = bool(opened) and all(is_mapped(x) for x in opened) if mapped is None else mapped
        prints = [_fingerprint(x) for x in opened], [_fingerprint(x) for x, c in zip(data, cut, strict=True) if not c]
        told = ranks.comm.allgather((replicated, mapped, self.held, *prints))
        self._check(told, bool(opened))
        self.replicated = all(m for _, m, *_ in told) if told[0][0] is None else bool(told[0][0])
        counts = [count for _, _, count, *_ in told]
        self.first = 0 if self.replicated else sum(counts[: ranks.rank])
        self.total = counts[0] if self.replicated else sum(counts)

    def _check(self, told: Sequence[Any], opened: bool) -> None:
        answers, mapped, counts, rows, others = zip(*told, strict=True)
        if len(set(answers)) > 1:
            raise OptionError(f"ranks were given different replicated=: {list(answers)}")
        if any(o != others[0] for o in others):
            raise DataError("arguments without rows must be equal on all ranks, and are not")
        whole = answers[0] or (answers[0] is None and all(mapped))
        if whole and any(r != rows[0] for r in rows):
            said = "replicated=True:" if answers[0] else "memory-mapped arrays are taken for all rows, but"
            hint = "" if answers[0] else ": pass replicated=False if the rows of each count"
            raise DataError(f"{said} ranks hold different rows{hint}")
        same = [r for r, count in zip(rows, counts, strict=True) if count]
        if answers[0] is None and not whole and opened and len(same) > 1 and all(r == same[0] for r in same):
            raise DataError(
                f"all ranks were given the same {max(counts)} rows: pass replicated=True if that is the whole data "
                "set, replicated=False if the rows of each count, or give every rank its own part"
            )

    def taken(self, rows: np.ndarray) -> np.ndarray:
        """Those of the dataset rows `rows` that this rank takes, in their order: an equal part, or those it holds."""
        if self.replicated:
            return rows[self._part(len(rows))]
        return rows[(rows >= self.first) & (rows < self.first + self.held)]

    def whole(self) -> tuple[slice, int]:
        """Which of the rows that this rank holds it takes of all, and the number of the first of them."""
        if not self.replicated:
            return slice(0, self.held), self.first
        part = self._part(self.total)
        return part, part.start

    def _part(self, rows: int) -> slice:
        rank, size = self.ranks.rank, self.ranks.size
        return slice(rows * rank // size, rows * (rank + 1) // size)


def _fingerprint(x: np.ndarray) -> tuple[Any, ...]:
    """Shape, type and a checksum of an array; of a large one, of some of its rows."""
    rows = x
    if x.nbytes > HASHED_BYTES and len(x):
        count = max(1, min(len(x), HASHED_BYTES * len(x) // x.nbytes))
        rows = x[np.arange(count) * len(x) // count]
    return x.shape, x.dtype.str, zlib.crc32(np.ascontiguousarray(rows).data)
