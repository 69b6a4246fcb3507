"""A watch over the CUDA simulator: memory that two threads touch, one of them writing, and nothing orders them.

Every thread has a vector clock, which `together` merges over a block and `team_together` over a team; sums over teams
are shuffles, which order nothing. A read must come after one of the writes of what it reads, a write after all that
touched the entry. Threads may write the same value. Blocks of a launch are never ordered.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from numba.cuda.simulator import kernel as simulator
from numba.cuda.simulator.cudadrv.devicearray import FakeWithinKernelCUDAArray

from ppl.kernels.cuda import teams


class Race(AssertionError):
    """Two threads, or two blocks, that touch one entry."""


class Watch:
    """What the threads of one block have touched."""

    def __init__(self, count: int):
        self.clocks = [[int(i == j) for j in range(count)] for i in range(count)]
        self.writes: dict[int, tuple[Any, dict[int, int]]] = {}
        self.reads: dict[int, dict[int, int]] = {}
        self.quiet = [False] * count
        self.lock = threading.Lock()

    def join(self, width: int) -> None:
        """Order what the threads of every team of `width` have done before what they do next."""
        for first in range(0, len(self.clocks), width):
            team = range(first, min(first + width, len(self.clocks)))
            merged = [max(column) for column in zip(*(self.clocks[t] for t in team), strict=True)]
            for t in team:
                self.clocks[t] = [*merged]
                self.clocks[t][t] += 1

    def read(self, t: int, entry: int) -> None:
        """Thread `t` reads."""
        value, writers = self.writes.get(entry, (None, {}))
        if writers and not any(u == t or clock <= self.clocks[t][u] for u, clock in writers.items()):
            raise Race(f"thread {t} reads what threads {sorted(writers)} write ({value})")
        self.reads.setdefault(entry, {})[t] = self.clocks[t][t]

    def write(self, t: int, entry: int, value: Any) -> None:
        """Thread `t` writes."""
        before, writers = self.writes.get(entry, (None, {}))
        same = before == value or (before != before and value != value)
        late = [u for u, clock in writers.items() if u != t and clock > self.clocks[t][u]]
        if late and not same:
            raise Race(f"thread {t} writes {value} where threads {late} write {before}")
        readers = [u for u, clock in self.reads.get(entry, {}).items() if u != t and clock > self.clocks[t][u]]
        if readers and not (writers and same):
            raise Race(f"thread {t} writes what threads {readers} read")
        kept = writers if late else {}
        self.writes[entry] = value, {**kept, t: self.clocks[t][t]}
        if not late:
            self.reads.pop(entry, None)


def _place(array: Any, index: Any) -> int | None:
    """The address of an entry, None of a view."""
    plain = array._item._ary
    if isinstance(index, slice | tuple) or plain.ndim != 1:
        return None
    return int(plain.__array_interface__["data"][0] + int(index) * plain.itemsize)


def _touched(array: Any, index: Any, wrote: bool, value: Any = None) -> None:
    thread, entry = threading.current_thread(), _place(array, index)
    watch = getattr(getattr(thread, "_manager", None), "watch", None)
    if watch is None or entry is None:
        return
    t = thread.threadIdx.x  # type: ignore[attr-defined]
    if not sys._getframe(2).f_locals.get("live", True):  # a team without an entry: what it reads goes nowhere
        if wrote:
            raise Race(f"thread {t} writes {value} for no entry")
        return
    with watch.lock:
        if watch.quiet[t]:
            return
        if wrote:
            watch.write(t, entry, value)
        else:
            watch.read(t, entry)
        launch = simulator._kernel_context.__dict__.setdefault("touched", {})
        block, written = launch.get(entry, (thread.blockIdx.x, False))  # type: ignore[attr-defined]
        if block != thread.blockIdx.x and (wrote or written):  # type: ignore[attr-defined]
            raise Race(f"blocks {block} and {thread.blockIdx.x} touch one entry")  # type: ignore[attr-defined]
        launch[entry] = block, wrote or written


def watch() -> None:
    """Watch all programs that are imported from here on."""
    get, put = FakeWithinKernelCUDAArray.__getitem__, FakeWithinKernelCUDAArray.__setitem__

    def read(self: Any, index: Any) -> Any:
        _touched(self, index, False)
        return get(self, index)

    def write(self: Any, index: Any, value: Any) -> None:
        _touched(self, index, True, value)
        put(self, index, value)

    FakeWithinKernelCUDAArray.__getitem__, FakeWithinKernelCUDAArray.__setitem__ = read, write
    begin = simulator.BlockManager.__init__

    def watched(self: Any, *arguments: Any) -> None:
        begin(self, *arguments)
        count = int(self.block_state.size)
        self.watch, self.width = Watch(count), count
        self.action = lambda: self.watch.join(self.width) if not any(self.watch.quiet) else None

    simulator.BlockManager.__init__ = watched

    def waits(width: int) -> None:
        manager = threading.current_thread()._manager  # type: ignore[attr-defined]
        manager.team_barrier(width)

    def team_barrier(self: Any, width: int) -> None:
        with self.watch.lock:
            self.width = width
        self.barrier.wait()
        with self.watch.lock:
            self.width = len(self.watch.clocks)

    simulator.BlockManager.team_barrier = team_barrier
    teams.team_together = waits

    def shuffled(function: Any) -> Any:
        def call(x: Any, width: int) -> Any:
            thread = threading.current_thread()
            thread._manager.watch.quiet[thread.threadIdx.x] = True  # type: ignore[attr-defined]
            found = function(x, width)
            unordered()
            return found

        return call

    for name in dir(teams):
        if name.startswith(("sum_", "amax_")):
            setattr(teams, name, shuffled(getattr(teams, name)))


def unordered(*arguments: Any) -> None:
    """What stands for waiting where a test wants threads that nothing orders: they wait, and see nothing."""
    thread = threading.current_thread()
    manager, t = thread._manager, thread.threadIdx.x  # type: ignore[attr-defined]
    manager.watch.quiet[t] = True
    manager.barrier.wait()
    manager.watch.quiet[t] = False
    manager.barrier_done.wait()
