"""Memory that the ranks of one machine share, through which they add up vectors without sending them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ppl.lazy import rank_sums

LINE = 64
"""Areas begin at multiples of so many bytes."""
ROOM = 4
"""Sums take place in memory only where the machine has so many times as much left of it as they need."""
FOLDER = "/dev/shm"
"""Where systems that have it keep memory that processes share."""


class CommonMemory:
    """A window of memory with two areas for each rank: its vector, and the sum over ranks of its share of the entries.

    Parameters
    ----------
    comm : a communicator of mpi4py whose processes all run on one machine.
    nbytes : the size of a vector. All ranks give the same.
    wait : called with requests of MPI; returns when they are complete.
    """

    def __init__(self, comm: Any, nbytes: int, wait: Callable[[Any], None]):
        from mpi4py import MPI  # the communicator is one of it

        self.comm, self.nbytes, self._wait = comm, -(-nbytes // LINE) * LINE, wait
        self.rank, size = comm.Get_rank(), comm.Get_size()
        self._window = MPI.Win.Allocate_shared(2 * self.nbytes, 1, comm=comm)
        self._window.Lock_all()
        self._areas = [np.frombuffer(self._window.Shared_query(r)[0], np.uint8) for r in range(size)]

    def total(self, vector: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Σ_r weights[r] vector_r, added up in the order of ranks. Collective."""
        parts = [area[: vector.nbytes].view(vector.dtype) for area in self._areas]
        sums = [area[self.nbytes : self.nbytes + vector.nbytes].view(vector.dtype) for area in self._areas]
        size = len(parts)
        ends = [vector.size * r // size for r in range(size + 1)]
        shares = [slice(a, b) for a, b in itertools.pairwise(ends)]
        own = shares[self.rank]
        parts[self.rank][:] = vector
        self._meet()
        rank_sums.weighted_into(sums[self.rank][own], [part[own] for part in parts], weights)
        self._meet()
        return np.concatenate([x[share] for x, share in zip(sums, shares, strict=True)])

    def free(self) -> None:
        """Give the memory back. Collective."""
        self._areas = []
        self._window.Unlock_all()
        self._window.Free()

    def _meet(self) -> None:
        """Wait until all ranks are here, and see what they have written."""
        self._window.Sync()
        self._wait(self.comm.Ibarrier())
        self._window.Sync()


def on_one_machine(comm: Any) -> bool:
    """Whether all processes of a communicator can share memory. Collective."""
    if not callable(getattr(comm, "Split_type", None)):
        return False
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
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
