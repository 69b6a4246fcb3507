"""The user's communicator, as programs use it: agreement on errors, messages, shared memory, sums in a fixed order.

Every method that says so is collective: all ranks call it, in the same order. A rank that fails says so in the next
message instead of leaving, so that no rank waits for one that is gone. Waiting lets other processes have the core.
Ranks of one machine add up long vectors in memory that they share."""

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
from ppl.lazy import cpu_threads, mpi, rank_sums
from ppl.tuning import GATHERED_BYTES

ALIGNMENT = 64
"""Areas begin at multiples of so many bytes."""

FREE_MEMORY_FACTOR = 4
"""Memory is shared only where the machine has so many times as much left of it as is asked for."""

SHARED_MEMORY_FOLDER = "/dev/shm"
"""Where systems that have it keep memory that processes share."""


class SharedMemory:
    """An area of memory for each rank, which all ranks read and write.

    Parameters
    ----------
    comm : a communicator of mpi4py whose processes all run on one machine.
    nbytes : the size of this rank's area.
    wait : called with requests of MPI; returns when they are complete.
    """

    def __init__(self, comm: Any, nbytes: int, wait: Callable[[Any], None]):
        self.comm, self._wait = comm, wait
        self._window = mpi.Win.Allocate_shared(aligned_size(nbytes), 1, comm=comm)
        self._window.Lock_all()
        shared: list[Any] = [self._window.Shared_query(r)[0] for r in range(comm.Get_size())]
        self.areas = [np.frombuffer(memoryview(x) if len(x) else b"", np.uint8) for x in shared]

    def barrier(self) -> None:
        """Wait until all ranks are here, and see what they have written. Collective."""
        self._window.Sync()
        self._wait(self.comm.Ibarrier())
        self._window.Sync()

    def synchronize(self) -> None:
        """See what the others have written before they sent a message that has been received."""
        self._window.Sync()

    def free(self) -> None:
        """Give the memory back. Collective."""
        self.areas = []
        self._window.Unlock_all()
        self._window.Free()


class SharedMemorySum:
    """Adds up vectors of up to `nbytes` bytes in a window, where each rank has its vector and the sum of its share."""

    def __init__(self, window: SharedMemory, nbytes: int, rank: int):
        self.window, self.nbytes, self.rank = window, nbytes, rank

    def total(self, vector: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Σ_r weights[r] vector_r, added up in the order of ranks. Collective."""
        areas, dtype, n = self.window.areas, vector.dtype, vector.nbytes
        parts = [area[:n].view(dtype) for area in areas]
        sums = [area[self.nbytes : self.nbytes + n].view(dtype) for area in areas]
        shares = partition_entries(vector.size, len(areas))
        own = shares[self.rank]
        parts[self.rank][:] = vector
        self.window.barrier()
        rank_sums.weighted_sum_into(sums[self.rank][own], [part[own] for part in parts], weights)
        self.window.barrier()
        return np.concatenate([x[share] for x, share in zip(sums, shares, strict=True)])


def aligned_size(nbytes: int) -> int:
    """Bytes up to where the next area can begin."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def partition_entries(size: int, ranks: int) -> list[slice]:
    """The entries of a vector that each rank adds up."""
    ends = (size * r // ranks for r in range(ranks + 1))
    return [slice(a, b) for a, b in itertools.pairwise(ends)]


def share_a_machine(comm: Any) -> bool:
    """Whether all processes of a communicator can share memory. Collective."""
    if not callable(getattr(comm, "Split_type", None)):
        return False
    node = comm.Split_type(mpi.COMM_TYPE_SHARED)
    try:
        return bool(node.Get_size() == comm.Get_size())
    finally:
        node.Free()


def has_shared_memory_for(nbytes: int) -> bool:
    """Whether this machine can spare so many bytes of shared memory: a system that cannot would end the process."""
    try:
        found = os.statvfs(SHARED_MEMORY_FOLDER)
    except (OSError, AttributeError):
        return False
    return found.f_bavail * found.f_frsize >= FREE_MEMORY_FACTOR * nbytes


T = TypeVar("T")

REQUIRED_METHODS = (
    "Get_rank",
    "Get_size",
    "Dup",
    "Free",
    "allgather",
    "bcast",
    "Iallgather",
    "Ialltoallv",
    "Iallgatherv",
)

_yield_core = getattr(os, "sched_yield", lambda: None)


def require_communicator(comm: Any) -> None:
    """Raise an OptionError if `comm` lacks a method of `REQUIRED_METHODS`."""
    if not all(callable(getattr(comm, name, None)) for name in REQUIRED_METHODS):
        raise OptionError(f"on() takes a communicator of mpi4py, such as MPI.COMM_WORLD, not {type(comm).__name__}")


class Communicator:
    """A communicator of mpi4py, duplicated so that messages of programs and of users do not meet.

    Parameters
    ----------
    comm : `mpi4py.MPI.Comm`, or an object with those of its methods that `REQUIRED_METHODS` lists.

    Raises
    ------
    OptionError
        `comm` is no communicator.
    """

    def __init__(self, comm: Any):
        require_communicator(comm)
        self.comm = comm.Dup()
        self.rank, self.size = int(self.comm.Get_rank()), int(self.comm.Get_size())
        self._windows: list[SharedMemory] = []
        self._adder: SharedMemorySum | None = None
        self._together: bool | None = None
        if self.size > 1:
            cpu_threads.share_cores(_processes_on_machine())

    def __enter__(self) -> Communicator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            for window in self._windows:
                window.free()
        with suppress(Exception):
            self.comm.Free()

    def run_on_all(self, function: Callable[..., T], *arguments: Any) -> T:
        """`function(*arguments)` on every rank; where it fails on one, all raise. Collective."""
        error, found = None, None
        try:
            found = function(*arguments)
        except BaseException as raised:
            error = raised
        self.raise_if_any_failed(error)
        return found  # type: ignore[return-value]

    def run_on_root(self, function: Callable[..., T], *arguments: Any) -> T:
        """What `function(*arguments)` gives on rank 0, on every rank. Collective."""
        found = self.run_on_all(function, *arguments) if self.rank == 0 else self.run_on_all(lambda: None)
        return self.comm.bcast(found, 0)

    def raise_if_any_failed(self, error: BaseException | None) -> None:
        """Raise where a rank has an `error`: there the error itself, elsewhere a RankError. Collective."""
        told = self.comm.allgather(None if error is None else in_words(error))
        self.raise_reported(error, told)

    def raise_reported(self, error: BaseException | None, told: Sequence[str | None]) -> None:
        """`agree`, where all ranks have been `told` already what went wrong on which."""
        failed = [i for i, text in enumerate(told) if text is not None]
        if not failed:
            return
        if error is None or failed[0] != self.rank:
            mute_reported_errors()
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

    def gather_vectors(self, vector: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        """The vectors of all ranks one after the other, `counts` entries of each. Collective."""
        found = np.empty(sum(counts), vector.dtype)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).tolist()
        self.wait(self.comm.Iallgatherv(np.ascontiguousarray(vector), [found, (list(counts), starts)]))
        return found

    def weighted_sum(self, vector: np.ndarray, weights: np.ndarray) -> np.ndarray:
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
            self._together = share_a_machine(self.comm)
        return self._together

    def window(self, nbytes: int, in_all: int) -> SharedMemory | None:
        """Memory of all ranks, or None where they cannot share so much: `nbytes` here, and `in_all`. Collective."""
        if not (self.on_one_machine() and self.exchange(np.array([has_shared_memory_for(in_all)], float)).all()):
            return None
        self._windows.append(SharedMemory(self.comm, nbytes, self.wait))
        return self._windows[-1]

    def _adder_for(self, nbytes: int) -> SharedMemorySum | None:
        """What adds up vectors of so many bytes in memory, or None. Collective."""
        if self._adder is None or self._adder.nbytes < nbytes:
            if self._together is False:
                return None
            size = aligned_size(nbytes)
            window = self.window(2 * size, 2 * size * self.size)
            if window is None:
                self._together = False
                return None
            self._adder = SharedMemorySum(window, size, self.rank)
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
            _yield_core()


def _processes_on_machine() -> int:
    """Processes on this machine, where the launcher says how many it has started here."""
    told = (os.environ.get(name, "") for name in ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE"))
    return next((int(text) for text in told if text.isdecimal()), 1)


def mute_reported_errors() -> None:
    """Let uncaught errors that another rank tells of end this process without a message of its own."""
    before = sys.excepthook
    if getattr(before, "__ppl_quiet__", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not getattr(error, "__ppl_quiet__", False):
            before(kind, error, trace)

    hook.__ppl_quiet__ = True  # type: ignore[attr-defined]
    sys.excepthook = hook
