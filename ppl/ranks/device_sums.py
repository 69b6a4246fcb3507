"""Sums over ranks of vectors that lie on devices, through an MPI that reads the memory of devices (CUDA-aware)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ppl.errors import OptionError
from ppl.lazy import cuda_launch, cuda_rank_sums
from ppl.ranks.communicator import Communicator, partition_entries

CUDA_AWARE_VARIABLE = "PPL_CUDA_AWARE_MPI"

PROCESS_MAPS = Path("/proc/self/maps")


def mpi_reads_device_memory() -> bool:
    """Whether MPI can be given the memory of devices.

    ``PPL_CUDA_AWARE_MPI=0`` or ``1`` says so; else the MPI library that is loaded is asked (`MPIX_Query_cuda_support`,
    which Open MPI, MPICH and MVAPICH have). What cannot be found out is no.
    """
    told = os.environ.get(CUDA_AWARE_VARIABLE, "")
    if told not in ("", "0", "1"):
        raise OptionError(f"{CUDA_AWARE_VARIABLE} is 0 or 1, not '{told}'")
    return told == "1" or (not told and any(map(_library_is_cuda_aware, _mpi_libraries())))


def _mpi_libraries() -> Iterator[str | None]:
    """What may have the functions of MPI: all that is linked to this process, and the libraries that it has loaded."""
    yield None
    with suppress(OSError):
        paths = (line.split(maxsplit=5)[5:] for line in PROCESS_MAPS.read_text(encoding="utf-8").splitlines())
        yield from sorted({p[0] for p in paths if p and Path(p[0]).name.startswith("libmpi")})


def _library_is_cuda_aware(library: str | None) -> bool:
    try:
        ask: Any = ctypes.CDLL(library).MPIX_Query_cuda_support
    except (OSError, TypeError, AttributeError):
        return False
    return bool(ask())


class DeviceSums:
    """Adds up vectors of `size` entries of a dtype on the device `number`, each rank a share of the entries."""

    def __init__(self, ranks: Communicator, number: int, size: int, dtype: Any):
        self.ranks, self.number = ranks, number
        shares = partition_entries(size, ranks.size)
        self._counts, self._starts = [s.stop - s.start for s in shares], [s.start for s in shares]
        own = self._counts[ranks.rank]
        with cuda_launch.on(number):
            self.vector = cuda_launch.empty(size, dtype)
            """Where this rank's vector is to be written."""
            self._parts, self._share = (cuda_launch.empty(n, dtype) for n in (own * ranks.size, own))
            self._total = cuda_launch.empty(size, dtype)

    def total(self, weights: np.ndarray) -> np.ndarray:
        """Σ_r weights[r] vector_r, added up in the order of ranks, on the host of every rank. Collective.

        Ranks of weight 0 are left out, whatever their vectors hold.
        """
        ranks, own = self.ranks, self._counts[self.ranks.rank]
        with cuda_launch.on(self.number):
            cuda_rank_sums.finish()
            given = [self.vector, (self._counts, self._starts)]
            taken = [self._parts, ([own] * ranks.size, [own * r for r in range(ranks.size)])]
            ranks.wait(ranks.comm.Ialltoallv(given, taken))
            if own:
                there = cuda_launch.moved(np.asarray(weights, self.vector.dtype))
                cuda_rank_sums.weighted_sum_into(self._share, self._parts, there)
                cuda_rank_sums.finish()
            found = [self._total, (self._counts, self._starts)]
            ranks.wait(ranks.comm.Iallgatherv(self._share, found))
            return np.asarray(cuda_launch.fetched(self._total))
