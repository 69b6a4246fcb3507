"""Compiled training loops: many steps of a program and an optimizer per call, and the choice of the loop that suits.

A `Trainer` belongs to a compiled program; a `MutableState` is what it moves. A `SparseTrainer` moves only the rows
of tables that a batch names, by the rules for which a gradient of zero means no step (`SPARSE_RULES`). A
`ThreadChooser` measures whether one thread or all are faster."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from ppl.checked import CHECKED
from ppl.compiler.emit.cpu.sparse_training import SparseTrainingEmitter
from ppl.compiler.emit.cpu.training import OPTIMIZER_RULES
from ppl.compiler.lower.request import Request, offsets_of
from ppl.compiler.lower.sizes import identifier
from ppl.compiler.lower.sparse_gradients import sparse_request
from ppl.compiler.pipeline import emit_request
from ppl.errors import SimulatorError
from ppl.lazy import device_training
from ppl.runtime import buffers
from ppl.runtime.binding import BoundData
from ppl.runtime.buffers import aligned_zeros
from ppl.runtime.compiled import Compiled
from ppl.runtime.executable import Executable
from ppl.training.mutable_state import BlockData, BlockResults, MutableState
from ppl.tuning import AWAKE_STEPS, LONG_BUFFER, SLOWER_AGAIN, THREADS_WITH_COPIES, UPDATED_BY_ALL


class ThreadChooser:
    """The faster of one thread and all of them, by the seconds that a step has taken."""

    def __init__(self) -> None:
        self.seconds: dict[int, float] = {}
        self._calls = 0

    def choose(self, most: int) -> int:
        """Return the number of threads for the next call: `most` or 1."""
        self._calls += 1
        for threads in (most, 1):
            if threads not in self.seconds:
                return threads
        best = min((most, 1), key=self.seconds.__getitem__)
        return best if self._calls % SLOWER_AGAIN else most + 1 - best

    @contextlib.contextmanager
    def timed(self, threads: int, steps: int, counted: bool) -> Iterator[None]:
        """Run a call of `steps` steps on so many threads; its time counts if `counted`."""
        began = time.perf_counter()
        yield
        if counted:
            self.seconds[threads] = (time.perf_counter() - began) / steps


class Trainer:
    """The training loop of a program."""

    executable: Executable
    tables: tuple[Any, ...] = ()
    entry_point_list = "TRAINED"
    is_compiled = False
    """Whether the loop has been compiled."""
    takes_several_batches = True
    """Whether a call takes steps on several batches that have been read ahead."""
    last_block_length: tuple[int, int] = (0, 1)
    """Rows of a batch in the latest run, and the steps that it came to take in a call of compiled code."""

    def __init__(self, compiled: Compiled):
        self.compiled = compiled
        self.executable = compiled.executable("gradient")
        self._read()

    def _read(self) -> None:
        request, plates = self.executable.request, self.compiled.binder.plates
        self.plate = plates[0] if plates else None
        self.cut = [self.plate is not None and self.plate in t.axes for _, t in request.inputs]
        self.names = [name for name, _ in request.scalars]
        self.identifiers = {plate.name: identifier(plate.name) for plate in plates}
        self.no_addresses = np.zeros((0, len(request.inputs)), np.int64)

    def run(self, live: MutableState, steps: BlockData, rates: Sequence[float], hypers: np.ndarray) -> int:
        """Take up to `len(rates)` steps and return how many were taken; `live.block_results` has the scalars of each.

        No rates take no step, but compile the loop. It stops early before a step whose loss or gradient is not finite,
        or so large that the update might not be.
        """
        live.make_private()
        exe, bound = self.executable, steps.bound
        rows = self._rows_per_step(steps)
        order, size, batch = np.zeros(0, np.int64), 0, list(bound.arrays)
        data = self._data(bound)
        parts, others = data, [data, *map(self._data, steps.others)] if steps.others else []
        places = (
            np.array([[x.ctypes.data for x in arrays] for arrays in others], np.int64) if others else self.no_addresses
        )
        if steps.rows is not None:
            order, size = steps.rows, -steps.size if steps.gathered else steps.size
        if size > 0:
            parts = [np.empty(x.size // len(a) * size, x.dtype) if cut else x
                     for x, a, cut in zip(data, batch, self.cut, strict=True)]  # fmt: skip
        sizes = exe._sizes(rows, self.compiled.settings.particles, 1)
        slabs = exe._slabs(sizes)
        alone = 0 < len(rates) < AWAKE_STEPS and exe.runs_on_one_thread(sizes, slabs)
        threads = 1 if alone else exe._threads(slabs, None)
        w, v = exe._work(sizes, slabs, threads)
        lanes, threads = threads, self._choose_threads(threads, len(rates))
        for plate, (scale, total) in self._row_scales(steps, rows).items():
            w[exe.plates.index(plate)], v[exe.memory.header.index(f"total_{plate}")] = scale, total
        more, regions = self._loop_arguments(live, v, sizes, lanes), exe.entry_points(threads, self.entry_point_list)
        with self._time_call(threads, len(rates)):
            before = live.step
            try:
                done = self._call_loop(
                    live, steps.total, rates, hypers, more, w, order, size, threads, regions, places, [*data, *parts]
                )
            except Exception as error:
                done = self._steps_before_error(error, live.step - before)
        if CHECKED:
            buffers.check_guards(exe.memory, w, v, (slabs, lanes))
        self.is_compiled = True
        return done

    def _call_loop(
        self,
        live: MutableState,
        total: int,
        rates: Sequence[float],
        hypers: np.ndarray,
        more: Sequence[Any],
        w: np.ndarray,
        order: np.ndarray,
        size: int,
        threads: int,
        regions: Any,
        places: np.ndarray,
        data: Sequence[np.ndarray],
    ) -> int:
        """Call the compiled loop, which writes to `live`, and return how many steps it has taken.

        `more` comes from `_loop_arguments`; `regions` are the addresses of what threads share. `data` are the whole
        arrays, and memory for those of one step; `places` has the addresses of the arrays of every step, or no rows.
        """
        results = np.zeros((len(rates), len(self.names)))
        live.block_results = BlockResults(live.step, self.names, results, total) if rates else None
        return int(
            self.executable.module.train(
                live.flat,
                *live.vectors,
                self._gradient(live),
                OPTIMIZER_RULES[live.rule.name],
                np.asarray(rates, np.float64),
                np.array([*live.rule.numbers, 0.0]),
                1.0 / total,
                *more,
                w,
                live.aux,
                live.aux.copy(),
                hypers,
                np.uint64(live.seed & 0xFFFFFFFFFFFFFFFF),
                live.counter,
                results,
                order,
                size,
                threads,
                regions,
                places,
                *data,
            )
        )

    def _gradient(self, live: MutableState) -> np.ndarray:
        """Return memory for a gradient: the same for all calls, since fresh pages cost time."""
        exe = self.executable
        if CHECKED:
            return buffers.guarded_array(exe.n_params, exe.float)
        if exe.n_params < LONG_BUFFER:
            return np.zeros(exe.n_params, exe.float)
        return live.cached("gradient", exe.n_params, lambda: aligned_zeros(exe.n_params, exe.float))

    def _data(self, bound: BoundData) -> list[np.ndarray]:
        """Return data arguments as compiled code reads them."""
        exe = self.executable
        return [exe._data(x, *spec) for x, spec in zip(bound.arrays, exe.request.inputs, strict=True)]

    def _rows_per_step(self, steps: BlockData) -> dict[str, int]:
        """Return the rows of a step, by plate."""
        rows = dict(steps.bound.rows)
        if steps.rows is not None:
            assert self.plate is not None
            rows[self.plate.name] = steps.size
        return rows

    def _row_scales(self, steps: BlockData, rows: dict[str, int]) -> dict[str, tuple[float, int]]:
        """Return the factor N/B and the rows N of the data set, by the identifiers of plates."""
        bound, found = steps.bound, {}
        for i, (name, total) in enumerate(bound.totals.items()):
            placed = (steps.total / rows[name], steps.total) if i == 0 else (bound.scales[name], total)
            found[self.identifiers[name]] = placed
        return found

    def _steps_before_error(self, error: Exception, done: int) -> int:
        """Return the number of steps taken after an `error` in the step behind `done` ones.

        An error of a simulator is left to the general path, which takes the step again and says what went wrong.
        """
        try:
            self.executable.refuse(error)
        except SimulatorError:
            return done

    def _choose_threads(self, threads: int, steps: int) -> int:
        """Return the number of threads that take `steps` steps: up to `threads`."""
        return threads

    def _time_call(self, threads: int, steps: int) -> AbstractContextManager[None]:
        """Return a context for a call of `steps` steps on so many threads, which may time it."""
        return contextlib.nullcontext()

    def _loop_arguments(
        self, live: MutableState, v: np.ndarray, sizes: dict[str, int], threads: int
    ) -> tuple[Any, ...]:
        """Return the arguments of the loop between the rule and the workspace."""
        which = -1 if self.plate is None else self.executable.plates.index(identifier(self.plate.name))
        return v, which, self.executable.gradient_partition, self._copies(live, threads)

    def _copies(self, live: MutableState, threads: int) -> np.ndarray:
        """Return the parameters once more for every thread but the first, where threads share the update."""
        if threads == 1 or threads > THREADS_WITH_COPIES or live.flat.size < UPDATED_BY_ALL:
            live.thread_copies = None
            return live.flat[:0]
        from ppl.kernels.cpu.training.parallel_optimizers import copy_stride  # imports Numba

        stride = copy_stride(live.flat.size)
        spare = live.cached("copies", (threads, stride), lambda: aligned_zeros((threads - 1) * stride, live.flat.dtype))
        if live.thread_copies is not spare:
            spare.reshape(threads - 1, stride)[:, : live.flat.size] = live.flat
        live.thread_copies = spare
        return spare


class SparseTrainer(Trainer):
    """The training loop of a program whose gradient is sparse in some tables."""

    entry_point_list = "ENTRY_POINTS"

    def __init__(self, compiled: Compiled):
        self.compiled = compiled
        request, self.tables = sparse_request(
            compiled.request("gradient", (), compiled.settings.particles), compiled.target.rewrites
        )
        self.thread_chooser = ThreadChooser()
        if self.tables:
            self._compile(request)

    def __bool__(self) -> bool:
        return bool(self.tables)

    def _choose_threads(self, threads: int, steps: int) -> int:
        return self.thread_chooser.choose(threads) if threads > 1 and steps else threads

    def _time_call(self, threads: int, steps: int) -> AbstractContextManager[None]:
        if not steps:
            return contextlib.nullcontext()
        return self.thread_chooser.timed(threads, steps, counted=self.is_compiled)

    def _compile(self, request: Request) -> None:
        """Compile `request` with its training loop."""
        settings, plate = self.compiled.settings, self.compiled.binder.plates[0]
        offsets, inside = offsets_of(request.params)[0], {t.name for t in self.tables}
        dense = [(offsets[n], int(np.prod(s, dtype=np.int64))) for n, s in request.params if n not in inside]
        kind = functools.partial(
            SparseTrainingEmitter, tables=self.tables, dense=dense, cut=[plate in t.axes for _, t in request.inputs],
            rows=identifier(plate.name), n_scalars=len(request.scalars),
        )  # fmt: skip
        emitted, made = emit_request(request, settings.dtype, self.compiled.target, kind)
        assert isinstance(made, SparseTrainingEmitter)
        self._emitter = made
        self.executable = Executable(title=f"{self.compiled.title} (training)", **vars(emitted))
        self._read()
        self.names = self.names[:-1]

    def _loop_arguments(
        self, live: MutableState, v: np.ndarray, sizes: dict[str, int], threads: int
    ) -> tuple[Any, ...]:
        out = np.empty(self.executable._out_size(sizes), self.executable.float)
        return out, v, *live.cached("lists", (threads, *sizes.values()), lambda: self._lists(sizes, threads))

    def _lists(self, sizes: dict[str, int], threads: int) -> tuple[np.ndarray, ...]:
        """Make the lists of additions and the sum of one row, per thread; all lists are empty between steps."""
        most = max(self._emitter.additions(t).evaluate(sizes) for t in self.tables)
        lengths, width = [t.length for t in self.tables], max(t.width for t in self.tables)
        return (
            np.full((threads, sum(lengths)), -1, np.int32),
            np.zeros((threads, most), np.int32),
            np.zeros((threads, min(most, max(lengths)) + 1), np.int32),
            np.zeros((threads, width + 32), self.executable.float),
        )


def trainer_of(compiled: Compiled, sparse: bool) -> Trainer | None:
    """Return the training loop of a program, or None.

    `sparse` says that the optimizer leaves rows without a gradient as they are.
    """
    return compiled.get_or_make(Trainer, sparse, lambda: _make_trainer(compiled, sparse))


def _make_trainer(compiled: Compiled, sparse: bool) -> Trainer | None:
    """Make the first loop that suits, where the target has them: rows of tables, or whole gradients."""
    target = compiled.target
    if not compiled.layout.shapes:
        return None
    if target.resident:
        made: Trainer | None = device_training.device_trainer(compiled)
        return None if made is not None and made.executable.has_failure_flag else made
    if sparse and compiled.binder.plates and (found := SparseTrainer(compiled)):
        return found
    trainer = Trainer(compiled)
    return trainer if trainer.executable.trains else None
