"""A communicator among threads of one process, with the methods of mpi4py's that programs use.

Sends are copied when all have arrived; a rank that does not come within `SECONDS` breaks the barrier for all.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

SECONDS = 120.0


class Done:
    """A request that is complete."""

    def Test(self) -> bool:
        return True


class Board:
    """What the ranks of a communicator share."""

    def __init__(self, size: int):
        self.size, self.slots = size, [None] * size
        self.barrier = threading.Barrier(size)
        self.calls: list[str] = []
        self.duplicates: dict[int, Board] = {}
        self.lock = threading.Lock()

    def duplicate(self, number: int) -> Board:
        with self.lock:
            return self.duplicates.setdefault(number, Board(self.size))


class FakeComm:
    """Rank `rank` of a board."""

    def __init__(self, board: Board, rank: int):
        self.board, self.rank, self.made = board, rank, 0

    def Get_rank(self) -> int:
        return self.rank

    def Get_size(self) -> int:
        return self.board.size

    def Dup(self) -> FakeComm:
        self.made += 1
        return FakeComm(self.board.duplicate(self.made), self.rank)

    def Free(self) -> None:
        pass

    def _all(self, name: str, value: Any) -> list[Any]:
        board = self.board
        board.slots[self.rank] = (name, value)
        board.barrier.wait(SECONDS)
        found = list(board.slots)
        names = {n for n, _ in found}
        assert len(names) == 1, f"ranks are in different calls: {names}"
        if self.rank == 0:
            board.calls.append(name)
        found = [copy.deepcopy(v) for _, v in found]
        board.barrier.wait(SECONDS)
        return found

    def allgather(self, value: Any) -> list[Any]:
        return self._all("allgather", value)

    def bcast(self, value: Any, root: int) -> Any:
        return self._all("bcast", value if self.rank == root else None)[root]

    def Iallgather(self, send: np.ndarray, receive: np.ndarray) -> Done:
        receive[...] = np.concatenate([x.ravel() for x in self._all("Iallgather", send)]).reshape(receive.shape)
        return Done()

    def Iallgatherv(self, send: np.ndarray, receive: Any) -> Done:
        out, (counts, starts) = receive
        for x, count, start in zip(self._all("Iallgatherv", send), counts, starts, strict=True):
            assert x.size == count
            out[start : start + count] = x
        return Done()

    def Ialltoallv(self, send: Any, receive: Any) -> Done:
        out, (counts, starts) = receive
        flat = out.reshape(-1)
        for (x, (sizes, places)), count, start in zip(self._all("Ialltoallv", send), counts, starts, strict=True):
            assert sizes[self.rank] == count
            flat[start : start + count] = x[places[self.rank] : places[self.rank] + count]
        return Done()


def on_ranks(size: int, function: Callable[[FakeComm], Any]) -> list[Any]:
    """`function(comm)` on so many ranks: what each returns, or the exception that it raised."""
    board = Board(size)

    def run(rank: int) -> Any:
        try:
            return function(FakeComm(board, rank))
        except BaseException as error:
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size)))


def checked(results: list[Any]) -> list[Any]:
    """The results, where none is an exception."""
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
