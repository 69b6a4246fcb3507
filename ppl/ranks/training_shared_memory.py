"""Training by ranks of one machine that share memory: they train one state, as threads of one process do.

Parameters, the optimizer's vectors and every rank's gradient lie in shared memory. With a gradient per message
(`SharedMemoryRun`) each rank adds up and steps on its part of the entries. Where all ranks have all rows they take
blocks of many steps in one compiled call (`SharedMemoryTrainer`, `SharedMemoryBlockRun`), to the bits of one
process. Steps that are not finite are left to `RankRun`."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ppl.checked import CHECKED
from ppl.compiler.emit.cpu.training import LARGEST_GRADIENT, LARGEST_STEP, OPTIMIZER_RULES
from ppl.compiler.pipeline import emit_request
from ppl.errors import RankError, ScheduleError
from ppl.lazy import cpu_threads, meeting, optimizers, parallel_optimizers, rank_sums
from ppl.ranks.communicator import Communicator, SharedMemory, aligned_size, mute_reported_errors, partition_entries
from ppl.ranks.emission import RankTrainingEmitter
from ppl.ranks.partitioned import PartitionedProgram
from ppl.ranks.training_batches import RankArrayBatches, RankStreamBatches
from ppl.ranks.training_loop import FIXED_ENTRIES, IN_PLACE_ENTRY, RATE_ENTRY, STEP, RankRun, StepShare
from ppl.runtime.binding import BoundData
from ppl.runtime.executable import Executable
from ppl.runtime.state import State
from ppl.training.batches import Batch, needs_no_conversion
from ppl.training.mutable_state import (
    LARGEST_COMPILED_RATE,
    BlockData,
    EpochBlocks,
    MutableState,
    adapt_block_length,
    rates_and_hypers,
    update_rule_of,
)
from ppl.training.optim.schedules import rate_at
from ppl.training.trainers import Trainer
from ppl.tuning import BLOCK_STEPS, CONVERTED_BYTES, GATHERED_BYTES, THREADS_WITH_COPIES, UPDATED_BY_ALL

if TYPE_CHECKING:
    from ppl.runtime.compiled import Compiled

STATE_VECTORS = 3
"""Parameters, and at most two vectors of an optimizer."""


class StepTakenInPlace:
    """Stands for the sum of a step that has been taken in place: its new auxiliary variables."""

    def __init__(self, aux: np.ndarray):
        self.aux = aux


class SharedMemoryRun(RankRun):
    """A `RankRun` whose ranks share their memory.

    `state` is a copy, which users may keep; `_current_state` is a view of what all ranks write to.

    Parameters
    ----------
    window : an area for each rank: its gradient, and in the first one the vectors of the state.
    rest : arguments of `RankRun`.
    """

    _live: MutableState

    def __init__(self, window: SharedMemory, ranks: Communicator, shared: PartitionedProgram, *rest: Any):
        self.window, size = window, shared.executable.n_params
        dtype = np.dtype(shared.executable.dtype)
        step = aligned_size(size * dtype.itemsize)
        self._gradients = [area[: size * dtype.itemsize].view(dtype) for area in window.areas]
        starts = (step * (1 + i) for i in range(STATE_VECTORS))
        self._vectors = [window.areas[0][a : a + size * dtype.itemsize].view(dtype) for a in starts]
        self._share = partition_entries(size, ranks.size)[ranks.rank]
        self.gradient = self._gradients[ranks.rank]
        self._sum = np.empty(self._share.stop - self._share.start, dtype)
        super().__init__(ranks, shared, *rest)

    @property
    def state(self) -> State:
        """The state as it is now."""
        now = self._current_state
        opt = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in (now._opt or {}).items()}
        return State.unchecked(now._flat.copy(), now._aux.copy(), now._layouts, now._step, now._seed, opt,
                          self.shared.compiled.estimators)  # fmt: skip

    @state.setter
    def state(self, new: State) -> None:
        """All ranks have the same new state; the first one writes it, once no rank reads the old one. Collective."""
        rule = update_rule_of(self.transform)
        assert rule is not None
        live = MutableState(new, rule, self.shared.compiled.estimators)
        self.window.barrier()
        if self.ranks.rank == 0:
            for place, vector in zip(self._vectors, (live.flat, *live.slots), strict=False):
                place[:] = vector
        self.window.barrier()
        live.flat, live.slots = self._vectors[0], self._vectors[1 : 1 + len(live.slots)]
        self._live = live

    @property
    def _current_state(self) -> State:
        return self._live.state

    @property
    def step(self) -> int:
        """Steps taken."""
        return self._live.step

    def _own_share(self, batch: Batch) -> StepShare:
        try:
            rate = self._rate()
        except ScheduleError as error:
            self._stop(str(error))
        part = super()._own_share(batch)
        return part._replace(plain=self._is_plain(part, rate, self.source.total_of(batch.size)), rate=rate)

    def _is_plain(self, part: StepShare, rate: float, total: int) -> bool:
        """Whether nothing keeps the step from being taken in place, as far as this rank knows."""
        found = part.result
        if rate > LARGEST_COMPILED_RATE or found is None:
            return rate <= LARGEST_COMPILED_RATE
        limit = min(LARGEST_GRADIENT, LARGEST_STEP / max(rate / total, 1e-30))
        return math.isfinite(found.scalars["loss"]) and bool(optimizers.bounded(found.grad, limit))

    def _rate(self) -> float:
        """The learning rate of the next step."""
        return float(rate_at(self.transform.lr, self.step, type(self.transform).__name__))

    def _raise_failures(self, heads: np.ndarray, error: BaseException | None) -> None:
        """See `RankRun`. Ranks see the parameters of all, so it is the rates that show another optimizer."""
        super()._raise_failures(heads, error)
        if (heads[:, 0] == STEP).all() and len(set(heads[:, RATE_ENTRY])) > 1:
            self._left = True
            mute_reported_errors()
            rates = ", ".join(f"{rate:.6g}" for rate in heads[:, RATE_ENTRY])
            raise RankError(
                f"ranks were given different optimizers: step {self.step} has the learning rates {rates}", 0
            )

    def _reduce(self, batch: Batch, part: StepShare, heads: np.ndarray) -> tuple[Any, ...]:
        """See `RankRun`; where all ranks find that it can be done, the step is taken here."""
        rows, weights, scalars = self._weighted_scalars(heads)
        if heads[:, IN_PLACE_ENTRY].all():
            total, aux = self.source.total_of(rows), self._adapted(part, weights, rows)
            if optimizers.all_finite(aux):
                self._update(weights, float(heads[0, RATE_ENTRY]), 1.0 / total)
                return StepTakenInPlace(aux), scalars, rows
        return super()._reduce(batch, part, heads)

    def _adapted(self, part: StepShare, weights: np.ndarray, rows: int) -> np.ndarray:
        """The new auxiliary variables. Collective."""
        entries = self.shared.entries - self.gradient_size
        if not entries:
            return self._live.aux
        dtype = self._sum.dtype
        own = np.zeros(entries, dtype) if part.result is None else self.shared.rest(
            part.result, weights[self.ranks.rank]
        )  # fmt: skip
        rest = self.ranks.weighted_sum(own, weights)
        found = self.shared.adapted(rest, self._moment(), rows, self.source.total_of(rows))
        if self.shared.last is not None:
            self.window.barrier()  # it has read the parameters
        return found

    @property
    def gradient_size(self) -> int:
        """Entries of a gradient."""
        return self.shared.executable.n_params

    def _update(self, weights: np.ndarray, rate: float, factor: float) -> None:
        """The optimizer's step on this rank's share. Collective."""
        live, own = self._live, self._share
        count = int(live.counter[0] - live.counter[1]) + 1
        rank_sums.weighted_sum_into(self._sum, [g[own] for g in self._gradients], weights)
        first, second = (x[own] if x.size else x for x in live.vectors)
        numbers = np.array([*live.rule.numbers, 0.0])
        parallel_optimizers.in_place(
            live.flat[own], first, second, self._sum, OPTIMIZER_RULES[live.rule.name], rate, numbers, count, factor
        )
        self.window.barrier()

    def _finish(self, batch: Batch, part: StepShare, *rest: Any) -> None:
        found, scalars, rows, bar = rest
        if not isinstance(found, StepTakenInPlace):
            super()._finish(batch, part, *rest)
            return
        live, total = self._live, self.source.total_of(rows)
        live.aux = found.aux
        live.counter[0] += 1
        named = zip(self.shared.scalars, scalars.tolist(), strict=True)
        self._record_step(live.step, {name: value / total for name, value in named}, batch, bar)


def worth_shared_memory(ranks: Communicator, shared: PartitionedProgram, transform: Any) -> bool:
    """Whether ranks that can share memory should train in it."""
    executable = shared.executable
    nbytes = executable.n_params * np.dtype(executable.dtype).itemsize
    return update_rule_of(transform) is not None and nbytes * ranks.size > GATHERED_BYTES


def open_shared_window(ranks: Communicator, shared: PartitionedProgram, more: int = 0) -> SharedMemory | None:
    """Memory of all ranks for a `SharedMemoryRun`, with `more` in the first area, or None without it. Collective."""
    executable = shared.executable
    size = aligned_size(executable.n_params * np.dtype(executable.dtype).itemsize)
    own = size if ranks.rank else size * (1 + STATE_VECTORS) + more
    return ranks.window(own, size * (ranks.size + STATE_VECTORS) + more)


class BumpAllocator:
    """Vectors one behind the other in an area of memory; without one, `at` says how large it has to be."""

    def __init__(self, area: np.ndarray | None = None):
        self.area, self.at = area, 0

    def take(self, count: int, dtype: Any) -> np.ndarray:
        """The next vector of so many entries; without memory, an empty one."""
        start, nbytes = self.at, count * np.dtype(dtype).itemsize
        self.at += aligned_size(nbytes)
        return np.zeros(0, dtype) if self.area is None else self.area[start : start + nbytes].view(dtype)


class StepWorkspace(NamedTuple):
    """What steps of one number of rows are computed in: workspace, minibatch, slabs and sizes of the call."""

    w: np.ndarray
    v: np.ndarray
    batch: list[np.ndarray]
    slabs: int
    sizes: dict[str, int]


class SharedMemoryTrainer(Trainer):
    """The training loop of a program on one of several ranks.

    Parameters
    ----------
    compiled, executable : the program, and what `shared_memory_executable` has made of it.
    whole : all rows.
    minibatches : the numbers of rows that steps have; none where each takes all rows.
    number, size : of this rank, and of all.
    """

    entry_point_list = "TRAINED"

    def __init__(self, compiled: Compiled, executable: Executable, whole: BoundData, minibatches: Sequence[int],
                 number: int, size: int):  # fmt: skip
        self.compiled, self.executable = compiled, executable
        self._read()
        self.whole, self.minibatches, self.number, self.size = whole, tuple(minibatches), number, size
        self.data = self._data(whole)
        many = self.executable.n_params >= UPDATED_BY_ALL
        self._copied = self.executable.n_params if many and 1 < size <= THREADS_WITH_COPIES else 0
        shelf = BumpAllocator()
        self._lay(shelf)
        self.nbytes = shelf.at
        """Shared memory that it needs."""

    def enter(self, area: np.ndarray) -> None:
        """Take shared memory, of which all ranks see the same, filled with zeros; all write the same to it."""
        self._lay(BumpAllocator(area))
        spins = meeting.spins(self.size)
        self.communicator = np.array([self.number, self.size, self._lines.ctypes.data, 0, spins], np.int64)
        for work in self.works.values():
            self.executable._buffers(work.sizes, work.slabs, self.size, (work.w, work.v))

    def _lay(self, shelf: BumpAllocator) -> None:
        """Take the parts of shared memory from a shelf."""
        self._lines = shelf.take(self.size * meeting.LINE // 8, np.int64)
        stride = aligned_size(self._copied * self.executable.float().nbytes) // self.executable.float().nbytes
        self.copies = shelf.take((self.size - 1) * stride, self.executable.float)
        self._own_copy = self.copies[(self.number - 1) * stride :][: self._copied] if self.number else self.copies[:0]
        self.works = {rows: self._work(shelf, rows) for rows in self.minibatches or (0,)}

    def _work(self, shelf: BumpAllocator, rows: int) -> StepWorkspace:
        """Memory for steps on so many rows; 0 stands for all."""
        exe = self.executable
        steps = BlockData(self.whole, np.zeros(rows, np.int64) if rows else None, rows, self.whole.total)
        sizes = exe._sizes(self._rows_per_step(steps), self.compiled.settings.particles, 1)
        slabs = exe._slabs(sizes)
        full = exe.layout_sizes(sizes, slabs)
        w, v = (shelf.take(exe.extent(x, full, slabs, self.size), t) for x, t in (("w", exe.float), ("v", np.int64)))
        batch = list(self.data)
        if rows:
            batch = [shelf.take(x.size // len(a) * rows, x.dtype) if cut else x
                     for x, a, cut in zip(self.data, self.whole.arrays, self.cut, strict=True)]  # fmt: skip
        return StepWorkspace(w, v, batch, slabs, sizes)

    def refresh(self, flat: np.ndarray) -> None:
        """Copy the parameters for this rank, which have been written outside of `run`."""
        if self._own_copy.size:
            self._own_copy[:] = flat

    def run(self, live: MutableState, steps: BlockData, rates: Sequence[float], hypers: np.ndarray) -> int:
        """See `Trainer`; all ranks call it with the same numbers, or with none."""
        exe, work = self.executable, self.works[steps.size]
        w, v = work.w, work.v
        for plate, (scale, total) in self._row_scales(steps, self._rows_per_step(steps)).items():
            w[exe.plates.index(plate)], v[exe.memory.header.index(f"total_{plate}")] = scale, total
        order = np.zeros(0, np.int64) if steps.rows is None else np.ascontiguousarray(steps.rows, np.int64)
        more, regions = self._loop_arguments(live, v, work.sizes, self.size), exe.entry_points(1, self.entry_point_list)
        size, places, data = steps.size, self.no_addresses, [*self.data, *work.batch]
        return self._call_loop(live, steps.total, rates, hypers, more, w, order, size, self.size, regions, places, data)

    def _gradient(self, live: MutableState) -> np.ndarray:
        return self.gradient

    gradient: np.ndarray
    """The memory of the gradient, which all ranks share."""

    def _loop_arguments(
        self, live: MutableState, v: np.ndarray, sizes: dict[str, int], threads: int
    ) -> tuple[Any, ...]:
        return *super()._loop_arguments(live, v, sizes, threads), self.communicator

    def _copies(self, live: MutableState, threads: int) -> np.ndarray:
        return self.copies


def shared_memory_executable(compiled: Compiled) -> Executable | None:
    """The program with a training loop for ranks that share memory; None of programs that have none."""
    return compiled.get_or_make(RankTrainingEmitter, (), lambda: _compile_shared_memory(compiled))


def _compile_shared_memory(compiled: Compiled) -> Executable | None:
    alone, settings = compiled.executable("gradient"), compiled.settings
    if CHECKED or not (meeting.possible() and alone.trains and alone.regions) or compiled.target.printer != "cpu":
        return None
    particles = compiled.static_particles("gradient", settings.particles)
    request = compiled.request("gradient", (), particles)
    emitted, made = emit_request(request, settings.dtype, compiled.target, RankTrainingEmitter)
    if made.unit.may_raise():
        return None
    return Executable(title=f"{compiled.title} (training on ranks)", **vars(emitted))


def has_one_thread() -> bool:
    """Whether this rank has a single thread."""
    return bool(cpu_threads.num_threads() == 1)


RATE_BYTES = aligned_size(8 * (1 + BLOCK_STEPS))
"""Bytes of what a rank says of the rates of a block: how many, and these."""


class PlannedBlock(NamedTuple):
    """Steps that ranks take in one call: their data, the first of them, and the numbers of each."""

    steps: BlockData
    at: int
    rates: list[float]
    hypers: np.ndarray


class SharedMemoryBlockRun(SharedMemoryRun):
    """A `SharedMemoryRun` that takes many steps between two messages.

    Parameters
    ----------
    trainer : what takes them.
    window : as for `SharedMemoryRun`; the area of rank 0 has the trainer's memory behind the vectors of the state.
    rest : arguments of `RankRun`.
    """

    source: RankArrayBatches
    _block: PlannedBlock | None = None
    _general, _stale = False, True
    """Whether the general path takes the next step; whether ranks' copies of the parameters are old."""
    _count = _allowed = 1
    """Steps of a block, as this rank would have them for the time that they take, and as rank 0 allows."""

    def __init__(
        self,
        trainer: SharedMemoryTrainer,
        window: SharedMemory,
        ranks: Communicator,
        shared: PartitionedProgram,
        saves: bool,
        *rest: Any,
    ):
        self.trainer, source = trainer, rest[3]
        source.nothing = np.zeros(1)
        self._rows = EpochBlocks(source)
        size = ranks.size
        self._rates = window.areas[0][-RATE_BYTES * size :].view(np.float64).reshape(size, -1)
        trainer.enter(window.areas[0][-RATE_BYTES * size - trainer.nbytes : -RATE_BYTES * size])
        super().__init__(window, ranks, shared, saves, *rest)
        trainer.gradient = self._gradients[0]
        self.window.barrier()
        ranks.run_on_all(self._compile)

    def _compile(self) -> None:
        """Compile the steps, of which none is taken."""
        rows = next(iter(self.trainer.works))
        steps = BlockData(self.trainer.whole, np.zeros(0, np.int64) if rows else None, rows, self.source.total)
        self.trainer.run(self._live, steps, [], np.zeros((0, len(self.shared.compiled.hypers)), self._live.flat.dtype))

    def _next(self, batches: Iterator[Batch | None]) -> tuple[int, Batch | None, StepShare]:
        """See `RankRun`: a block, or a step for the general path."""
        if self._general:
            self._block, self._general, self._stale = None, False, True
            return super()._next(iter(self.source.batches(self.step)))
        self._block = self.signals.run_interruptible(self._prepared)
        return STEP, Batch((), None, None, self.source.batch_size, False, False), StepShare(None, None, 0)

    def _prepared(self) -> PlannedBlock:
        """The next block, whose rates the others are told."""
        at = self.step
        count = self._allowed if self.end is None else min(self._allowed, self.end - at)
        steps, count = self._rows.steps(self.trainer.whole, at, count)
        rates, hypers = rates_and_hypers(self.shared.compiled, self.transform.lr, self.hyper, at, count)
        own = self._rates[self.ranks.rank]
        own[0], own[1 : 1 + len(rates)] = len(rates), rates
        if self._stale:
            self.trainer.refresh(self._live.flat)
            self._stale = False
        return PlannedBlock(steps, at, rates, hypers)

    def _coming(self, said: int, batch: Batch | None) -> np.ndarray:
        """How many steps the next block but one may have, as far as this rank knows."""
        at = self.step + (1 if self._block is None else len(self._block.rates))
        every = None if self.checkpoint_file is None else self.checkpoint_file.every
        limits = [self._count] + ([] if every is None else [every - at % every])
        limits += [] if self.callback is None else [self._called_every - at % self._called_every]
        looked = self.validate is not None and self.source.steps_per_epoch == 1
        return np.array([1.0 if looked else min(limits)])

    def _raise_failures(self, heads: np.ndarray, error: BaseException | None) -> None:
        """See `SharedMemoryRun`; ranks compare the rates of all steps of a block."""
        super()._raise_failures(heads, error)
        if (heads[:, 0] == STEP).all():
            self._allowed = int(heads[0, FIXED_ENTRIES])
            if self._block is not None:
                self.window.synchronize()
                self._compare(self._block)

    def _compare(self, block: PlannedBlock) -> None:
        """Raise where ranks have other rates."""
        told = self._rates[:, 1 : 1 + self._taken_by_all()]
        for i in np.flatnonzero((told != told[0]).any(0))[:1]:
            self._left = True
            mute_reported_errors()
            rates = ", ".join(f"{rate:.6g}" for rate in told[:, i])
            raise RankError(
                f"ranks were given different optimizers: step {block.at + i} has the learning rates {rates}", 0
            )

    def _taken_by_all(self) -> int:
        """Steps of a block for which all ranks have rates."""
        return int(self._rates[:, 0].min())

    def _reduce(self, batch: Batch, part: StepShare, heads: np.ndarray) -> tuple[Any, ...]:
        """See `RankRun`; a block is taken here: how many steps of it, and in how many seconds."""
        if self._block is None:
            return super()._reduce(batch, part, heads)
        block, count, began = self._block, self._taken_by_all(), time.monotonic()
        done = self.trainer.run(self._live, block.steps, block.rates[:count], block.hypers[:count]) if count else 0
        return done, time.monotonic() - began

    def _finish(self, batch: Batch, part: StepShare, *rest: Any) -> None:
        if self._block is None:
            super()._finish(batch, part, *rest)
            return
        done, seconds, bar = rest
        self._general = done < self._taken_by_all() or not done
        if done:
            self._record(bar)
            self._count = adapt_block_length(self._count, seconds, done)

    def _record(self, bar: Any) -> None:
        """Write the steps of a block into the history."""
        block, size = self._live.block_results, self.source.batch_size
        assert block is not None
        for key, values in block.scalars(self.step).items():
            self.history.setdefault(key, []).extend(values)
            self.metrics[key] = values[-1]
        self.history["step"].extend(range(block.at + 1, self.step + 1))
        self._live.block_results = None
        for loss in self.history["loss"][block.at - self.step :] if bar.shown else ():
            bar.step(loss, size)

    def _after_step(self, batch: Batch) -> bool:
        if self._block is not None:
            if self.step == self._block.at:
                return False
            batch = batch._replace(last=self.step % self.source.steps_per_epoch == 0)
        return super()._after_step(batch)


def choose_shared_memory_run(
    ranks: Communicator, shared: PartitionedProgram, transform: Any, source: RankArrayBatches | RankStreamBatches
) -> Callable[..., RankRun]:
    """The loop that suits ranks which may share memory, or not. Collective."""
    if not (worth_shared_memory(ranks, shared, transform) and ranks.on_one_machine()):
        return RankRun
    trainer = ranks.run_on_all(_make_trainer, ranks, shared.compiled, source)
    everywhere = ranks.exchange(np.array([trainer is not None], float)).all()
    trainer = trainer if everywhere else None
    window = open_shared_window(ranks, shared, 0 if trainer is None else trainer.nbytes + RATE_BYTES * ranks.size)
    if window is None:
        return RankRun
    return (
        functools.partial(SharedMemoryRun, window)
        if trainer is None
        else functools.partial(SharedMemoryBlockRun, trainer, window)
    )


def _make_trainer(
    ranks: Communicator, compiled: Compiled, source: RankArrayBatches | RankStreamBatches
) -> SharedMemoryTrainer | None:
    """What takes blocks of steps on this rank, or None where it cannot."""
    if not isinstance(source, RankArrayBatches) or not (source.has_rows and source.all_rows_local and has_one_thread()):
        return None
    executable = None if compiled.int32(source.data) else shared_memory_executable(compiled)
    large = sum(np.size(d) for d in source.data) * 8 > CONVERTED_BYTES
    if executable is None or (large and not needs_no_conversion(source)):
        return None
    count, size = source.count, source.batch_size
    minibatches = [] if size == count else [size, *([count % size] if count % size else [])]
    whole = compiled.binder.bind(source.data, check=False)
    return SharedMemoryTrainer(compiled, executable, whole, minibatches, ranks.rank, ranks.size)
