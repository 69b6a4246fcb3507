"""Memory that the ranks of one machine share, through which they add up vectors without sending them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ppl.lazy import mpi, rank_sums

LINE = 64
"""Areas begin at multiples of so many bytes."""
ROOM = 4
"""Memory is shared only where the machine has so many times as much left of it as is asked for."""
FOLDER = "/dev/shm"
"""Where systems that have it keep memory that processes share."""


class Window:
    """An area of memory for each rank, which all ranks read and write.

    Parameters
    ----------
    comm : a communicator of mpi4py whose processes all run on one machine.
    nbytes : the size of this rank's area.
    wait : called with requests of MPI; returns when they are complete.
    """

    def __init__(self, comm: Any, nbytes: int, wait: Callable[[Any], None]):
        self.comm, self._wait = comm, wait
        self._window = mpi.Win.Allocate_shared(padded(nbytes), 1, comm=comm)
        self._window.Lock_all()
        shared: list[Any] = [self._window.Shared_query(r)[0] for r in range(comm.Get_size())]
        self.areas = [np.frombuffer(memoryview(x) if len(x) else b"", np.uint8) for x in shared]

    def meet(self) -> None:
        """Wait until all ranks are here, and see what they have written. Collective."""
        self._window.Sync()
        self._wait(self.comm.Ibarrier())
        self._window.Sync()

    def see(self) -> None:
        """See what the others have written before they sent a message that has been received."""
        self._window.Sync()

    def free(self) -> None:
        """Give the memory back. Collective."""
        self.areas = []
        self._window.Unlock_all()
        self._window.Free()


class Adder:
    """Adds up vectors of up to `nbytes` bytes in a window, where each rank has its vector and the sum of its share."""

    def __init__(self, window: Window, nbytes: int, rank: int):
        self.window, self.nbytes, self.rank = window, nbytes, rank

    def total(self, vector: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Σ_r weights[r] vector_r, added up in the order of ranks. Collective."""
        areas, dtype, n = self.window.areas, vector.dtype, vector.nbytes
        parts = [area[:n].view(dtype) for area in areas]
        sums = [area[self.nbytes : self.nbytes + n].view(dtype) for area in areas]
        shares = shares_of(vector.size, len(areas))
        own = shares[self.rank]
        parts[self.rank][:] = vector
        self.window.meet()
        rank_sums.weighted_into(sums[self.rank][own], [part[own] for part in parts], weights)
        self.window.meet()
        return np.concatenate([x[share] for x, share in zip(sums, shares, strict=True)])


def padded(nbytes: int) -> int:
    """Bytes up to where the next area can begin."""
    return -(-nbytes // LINE) * LINE


def shares_of(size: int, ranks: int) -> list[slice]:
    """The entries of a vector that each rank adds up."""
    ends = (size * r // ranks for r in range(ranks + 1))
    return [slice(a, b) for a, b in itertools.pairwise(ends)]


def on_one_machine(comm: Any) -> bool:
    """Whether all processes of a communicator can share memory. Collective."""
    if not callable(getattr(comm, "Split_type", None)):
        return False
    node = comm.Split_type(mpi.COMM_TYPE_SHARED)
    try:
        return bool(node.Get_size() == comm.Get_size())
    finally:
        node.Free()


def has_room(nbytes: int) -> bool:
    """Whether this machine can spare so many bytes of shared memory: a system that cannot would end the process."""
    try:
        found = os.statvfs(FOLDER)
    except (OSError, AttributeError):
        return False
    return found.f_bavail * found.f_frsize >= ROOM * nbytes
