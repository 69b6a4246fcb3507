"""Training in place by the ranks of one machine, on memory that they share: many steps in one call on every rank.

A `JointTrainer` is a rank's part of it. All ranks have all rows; they train as the threads of one process do, so that
results are, bit for bit, those of one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ppl.checked import CHECKED
from ppl.compiler.emit.assemble import assemble
from ppl.compiler.emit.cpu.joint import JointEmitter
from ppl.compiler.emit.cpu.training import RULES
from ppl.lazy import cpu_threads, meeting
from ppl.runtime.binding import Bound
from ppl.runtime.executable import Executable
from ppl.runtime.ranks.memory import padded
from ppl.training.live import Block, Live, Steps
from ppl.training.loops import Trainer
from ppl.tuning import THREADS_WITH_COPIES, UPDATED_BY_ALL

if TYPE_CHECKING:
    from ppl.runtime.compiled import Compiled


class Shelf:
    """Vectors one behind the other in an area of memory; without one, `at` says how large it has to be."""

    def __init__(self, area: np.ndarray | None = None):
        self.area, self.at = area, 0

    def take(self, count: int, dtype: Any) -> np.ndarray:
        """The next vector of so many entries; without memory, an empty one."""
        start, nbytes = self.at, count * np.dtype(dtype).itemsize
        self.at += padded(nbytes)
        return np.zeros(0, dtype) if self.area is None else self.area[start : start + nbytes].view(dtype)


class Work(NamedTuple):
    """What steps of one number of rows are computed in: workspace, minibatch, slabs and sizes of the call."""

    w: np.ndarray
    v: np.ndarray
    batch: list[np.ndarray]
    slabs: int
    sizes: dict[str, int]


class JointTrainer(Trainer):
    """The training loop of a program on one of several ranks.

    Parameters
    ----------
    compiled, executable : the program, and what `joint_executable` has made of it.
    whole : all rows.
    minibatches : the numbers of rows that steps have; none where each takes all rows.
    number, size : of this rank, and of all.
    """

    listed = "TRAINED"

    def __init__(self, compiled: Compiled, executable: Executable, whole: Bound, minibatches: Sequence[int],
                 number: int, size: int):  # fmt: skip
        self.compiled, self.executable = compiled, executable
        self._read()
        self.whole, self.minibatches, self.number, self.size = whole, tuple(minibatches), number, size
        self.data = self._data(whole)
        many = self.executable.n_params >= UPDATED_BY_ALL
        self._copied = self.executable.n_params if many and 1 < size <= THREADS_WITH_COPIES else 0
        shelf = Shelf()
        self._lay(shelf)
        self.nbytes = shelf.at
        """Shared memory that it needs."""

    def enter(self, area: np.ndarray) -> None:
        """Take shared memory, of which all ranks see the same, filled with zeros; all write the same to it."""
        self._lay(Shelf(area))
        spins = meeting.spins(self.size)
        self.party = np.array([self.number, self.size, self._lines.ctypes.data, 0, spins], np.int64)
        for work in self.works.values():
            self.executable._buffers(work.sizes, work.slabs, self.size, (work.w, work.v))

    def _lay(self, shelf: Shelf) -> None:
        """Take the parts of shared memory from a shelf."""
        self._lines = shelf.take(self.size * meeting.LINE // 8, np.int64)
        stride = padded(self._copied * self.executable.float().nbytes) // self.executable.float().nbytes
        self.copies = shelf.take((self.size - 1) * stride, self.executable.float)
        self._own = self.copies[(self.number - 1) * stride :][: self._copied] if self.number else self.copies[:0]
        self.works = {rows: self._work(shelf, rows) for rows in self.minibatches or (0,)}

    def _work(self, shelf: Shelf, rows: int) -> Work:
        """Memory for steps on so many rows; 0 stands for all."""
        exe = self.executable
        steps = Steps(self.whole, np.zeros(rows, np.int64) if rows else None, rows, self.whole.total)
        sizes = exe._sizes(self._rows_of(steps), self.compiled.settings.particles, 1)
        slabs = exe._slabs(sizes)
        full = exe.laid_out(sizes, slabs)
        w, v = (shelf.take(exe.extent(x, full, slabs, self.size), t) for x, t in (("w", exe.float), ("v", np.int64)))
        batch = list(self.data)
        if rows:
            batch = [shelf.take(x.size // len(a) * rows, x.dtype) if cut else x
                     for x, a, cut in zip(self.data, self.whole.arrays, self.cut, strict=True)]  # fmt: skip
        return Work(w, v, batch, slabs, sizes)

    def refresh(self, flat: np.ndarray) -> None:
        """Copy the parameters for this rank, which have been written outside of `run`."""
        if self._own.size:
            self._own[:] = flat

    def run(self, live: Live, steps: Steps, rates: Sequence[float], hypers: np.ndarray) -> int:
        """See `Trainer`; all ranks call it with the same numbers, or with none."""
        exe, work = self.executable, self.works[steps.size]
        w, v = work.w, work.v
        for plate, (scale, total) in self._scaled(steps, self._rows_of(steps)).items():
            w[exe.plates.index(plate)], v[exe.memory.header.index(f"total_{plate}")] = scale, total
        results = np.zeros((len(rates), len(self.names)))
        live.block = Block(live.step, self.names, results, steps.total)
        order = np.zeros(0, np.int64) if steps.rows is None else np.ascontiguousarray(steps.rows, np.int64)
        first, second = live.vectors
        return int(exe.module.train(
            live.flat, first, second, self._gradient(live), RULES[live.rule.name], np.asarray(rates, np.float64),
            np.array([*live.rule.numbers, 0.0]), 1.0 / steps.total, *self._extra(live, v, work.sizes, self.size),
            w, live.aux, live.aux.copy(), hypers, np.uint64(live.seed & 0xFFFFFFFFFFFFFFFF), live.counter, results,
            order, steps.size, self.size, exe.entry_points(1, self.listed), np.zeros((0, len(self.data)), np.int64),
            *self.data, *work.batch,
        ))  # fmt: skip

    def _gradient(self, live: Live) -> np.ndarray:
        return self.gradient

    gradient: np.ndarray
    """The memory of the gradient, which all ranks share."""

    def _extra(self, live: Live, v: np.ndarray, sizes: dict[str, int], threads: int) -> tuple[Any, ...]:
        return *super()._extra(live, v, sizes, threads), self.party

    def _copies(self, live: Live, threads: int) -> np.ndarray:
        return self.copies


def joint_executable(compiled: Compiled) -> Executable | None:
    """The program with a training loop for ranks that share memory; None of programs that have none."""
    found = compiled.shared_out.get("joint", ())
    if found == ():
        with compiled.lock:
            found = compiled.shared_out["joint"] = _joint_executable(compiled)
    return found


def _joint_executable(compiled: Compiled) -> Executable | None:
    alone, settings = compiled.executable("gradient"), compiled.settings
    if CHECKED or not (meeting.possible() and alone.trains and alone.regions) or compiled.target.printer != "cpu":
        return None
    particles = compiled.static_particles("gradient", settings.particles)
    request = compiled.request("gradient", (), particles)
    fields, made = assemble(request, settings.dtype, compiled.target, JointEmitter)
    if made.unit.may_raise():
        return None
    return Executable(request, settings.dtype, title=f"{compiled.title} (training on ranks)", **fields)


def one_thread() -> bool:
    """Whether this rank has a single thread."""
    return bool(cpu_threads.num_threads() == 1)
