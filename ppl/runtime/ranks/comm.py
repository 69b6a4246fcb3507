"""The communicator that a user gives, as programs use it: agreement on errors, small messages, sums of vectors.

Every method that says so is collective: all ranks call it, in the same order. A rank that fails says so in the next
message instead of leaving, so that no rank waits for one that is gone. Waiting lets other processes have the core.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from ppl.errors import OptionError, RankError, in_words
from ppl.lazy import cpu_threads, rank_sums
from ppl.runtime.ranks.memory import Adder, Window, has_room, on_one_machine, padded
from ppl.tuning import GATHERED_BYTES

T = TypeVar("T")
NEEDED = ("Get_rank", "Get_size", "Dup", "Free", "allgather", "bcast", "Iallgather", "Ialltoallv", "Iallgatherv")
_yield = getattr(os, "sched_yield", lambda: None)


class Ranks:
    """A communicator of mpi4py, duplicated so that messages of programs and of users do not meet.

    Parameters
    ----------
    comm : `mpi4py.MPI.Comm`, or an object with those of its methods that `NEEDED` lists.

    Raises
    ------
    OptionError
        `comm` is no communicator.
    """

    def __init__(self, comm: Any):
        missing = [name for name in NEEDED if not callable(getattr(comm, name, None))]
        if missing:
            raise OptionError(f"comm= is a communicator of mpi4py, such as MPI.COMM_WORLD, not {type(comm).__name__}")
        self.comm = comm.Dup()
        self.rank, self.size = int(self.comm.Get_rank()), int(self.comm.Get_size())
        self._windows: list[Window] = []
        self._adder: Adder | None = None
        self._together: bool | None = None
        if self.size > 1:
            cpu_threads.share_cores(_neighbours())

    def __enter__(self) -> Ranks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            for window in self._windows:
                window.free()
        with suppress(Exception):
            self.comm.Free()

    def together(self, function: Callable[..., T], *arguments: Any) -> T:
        """`function(*arguments)` on every rank; where it fails on one, all raise. Collective."""
        error, found = None, None
        try:
            found = function(*arguments)
        except BaseException as raised:
            error = raised
        self.agree(error)
        return found  # type: ignore[return-value]

    def on_first(self, function: Callable[..., T], *arguments: Any) -> T:
        """What `function(*arguments)` gives on rank 0, on every rank. Collective."""
        found = self.together(function, *arguments) if self.rank == 0 else self.together(lambda: None)
        return self.comm.bcast(found, 0)

    def agree(self, error: BaseException | None) -> None:
        """Raise where a rank has an `error`: there the error itself, elsewhere a RankError. Collective."""
        told = self.comm.allgather(None if error is None else in_words(error))
        self.stop_for(error, told)

    def stop_for(self, error: BaseException | None, told: Sequence[str | None]) -> None:
        """`agree`, where all ranks have been `told` already what went wrong on which."""
        failed = [i for i, text in enumerate(told) if text is not None]
        if not failed:
            return
        if error is None or failed[0] != self.rank:
            hush()
        if error is not None:
            if failed[0] != self.rank:
                error.__ppl_quiet__ = True  # type: ignore[attr-defined]
            raise error
        raise RankError(f"rank {failed[0]} stopped: {told[failed[0]]}", failed[0])

    def exchange(self, numbers: np.ndarray) -> np.ndarray:
        """One row of `numbers` (float64, as many on all ranks) from every rank. Collective."""
        found = np.empty((self.size, numbers.size))
        self.wait(self.comm.Iallgather(numbers, found))
        return found

    def lists(self, vector: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        """The vectors of all ranks one after the other, `counts` entries of each. Collective."""
        found = np.empty(sum(counts), vector.dtype)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).tolist()
        self.wait(self.comm.Iallgatherv(np.ascontiguousarray(vector), [found, (list(counts), starts)]))
        return found

    def total(self, vector: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Σ_r weights[r] vector_r, added up in the order of ranks, with the same bits on all. Collective.

        Ranks of weight 0 are left out, whatever their vectors hold.
        """
        if self.size == 1:
            return vector
        vector = np.ascontiguousarray(vector)
        if vector.nbytes * self.size <= GATHERED_BYTES:
            parts = np.empty((self.size, vector.size), vector.dtype)
            self.wait(self.comm.Iallgather(vector, parts))
            return rank_sums.weighted(parts, weights)
        adder = self._adder_for(vector.nbytes)
        return self._by_shares(vector, weights) if adder is None else adder.total(vector, weights)

    def on_one_machine(self) -> bool:
        """Whether all ranks can share memory. Collective."""
        if self._together is None:
            self._together = on_one_machine(self.comm)
        return self._together

    def window(self, nbytes: int, in_all: int) -> Window | None:
        """Memory of all ranks, or None where they cannot share so much: `nbytes` here, and `in_all`. Collective."""
        if not (self.on_one_machine() and self.exchange(np.array([has_room(in_all)], float)).all()):
            return None
        self._windows.append(Window(self.comm, nbytes, self.wait))
        return self._windows[-1]

    def _adder_for(self, nbytes: int) -> Adder | None:
        """What adds up vectors of so many bytes in memory, or None. Collective."""
        if self._adder is None or self._adder.nbytes < nbytes:
            if self._together is False:
                return None
            size = padded(nbytes)
            window = self.window(2 * size, 2 * size * self.size)
            if window is None:
                self._together = False
                return None
            self._adder = Adder(window, size, self.rank)
        return self._adder

    def _by_shares(self, vector: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Every rank adds up a share of the entries, and all gather the shares."""
        ends = [vector.size * r // self.size for r in range(self.size + 1)]
        counts = [b - a for a, b in itertools.pairwise(ends)]
        own = counts[self.rank]
        parts = np.empty((self.size, own), vector.dtype)
        given = [vector, (counts, ends[:-1])]
        self.wait(self.comm.Ialltoallv(given, [parts, ([own] * self.size, [own * r for r in range(self.size)])]))
        share = rank_sums.weighted(parts, weights)
        found = np.empty_like(vector)
        self.wait(self.comm.Iallgatherv(share, [found, (counts, ends[:-1])]))
        return found

    def wait(self, request: Any) -> None:
        """Wait for a request, and let other processes have the core meanwhile."""
        while not request.Test():
            _yield()


def _neighbours() -> int:
    """Processes on this machine, where the launcher says how many it has started here."""
    told = (os.environ.get(name, "") for name in ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE"))
    return next((int(text) for text in told if text.isdecimal()), 1)


def hush() -> None:
    """Let uncaught errors that another rank tells of end this process without a message of its own."""
    before = sys.excepthook
    if getattr(before, "__ppl_quiet__", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not getattr(error, "__ppl_quiet__", False):
            before(kind, error, trace)

    hook.__ppl_quiet__ = True  # type: ignore[attr-defined]
    sys.excepthook = hook
