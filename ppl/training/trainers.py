"""Compiled training loops: many steps of a program and an optimizer per call, and the choice of the loop that suits.

A `Trainer` belongs to a compiled program; a `MutableState` is what it moves. A `SparseTrainer` moves only the rows
of tables that a batch names, by the rules for which a gradient of zero means no step (`SPARSE_RULES`). A
`ThreadChooser` measures whether one thread or all are faster."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np

from ppl.checked import CHECKED
from ppl.compiler.emit.cpu.sparse_training import SparseTrainingEmitter
from ppl.compiler.emit.cpu.training import OPTIMIZER_RULES
from ppl.compiler.lower.request import Request, offsets_of
from ppl.compiler.lower.sizes import identifier
from ppl.compiler.lower.sparse_gradients import SparseTable, sparse_request
from ppl.compiler.pipeline import emit_request
from ppl.errors import SimulatorError
from ppl.lazy import resident
from ppl.runtime import buffers
from ppl.runtime.binding import BoundData
from ppl.runtime.buffers import aligned_zeros
from ppl.runtime.compiled import Compiled
from ppl.runtime.executable import Executable
from ppl.training.column_tables import ColumnEmitter, Columns, by_columns
from ppl.training.mutable_state import BlockData, BlockResults, MutableState
from ppl.tuning import AWAKE_STEPS, LONG_BUFFER, SLOWER_AGAIN, THREADS_WITH_COPIES, UPDATED_BY_ALL


class ThreadChooser:
    """The faster of one thread and all of them, by the seconds that a step has taken."""

    def __init__(self) -> None:
        self.seconds: dict[int, float] = {}
        self._calls = 0

    def choose(self, most: int) -> int:
        """The number of threads for the next call: `most` or 1."""
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
    listed = "TRAINED"
    ready = False
    """Whether the loop has been compiled."""
    several = True
    """Whether a call takes steps on several batches that have been read ahead."""
    paced: tuple[int, int] = (0, 1)
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
        """Take up to `len(rates)` steps and return how many were taken; `live.block` has the scalars of each.

        No rates take no step, but compile the loop. It stops early before a step whose loss or gradient is not finite,
        or so large that the update might not be.
        """
        live.own()
        exe, bound = self.executable, steps.bound
        rows = self._rows_of(steps)
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
        lanes, threads = threads, self._chosen(threads, len(rates))
        for plate, (scale, total) in self._scaled(steps, rows).items():
            w[exe.plates.index(plate)], v[exe.memory.header.index(f"total_{plate}")] = scale, total
        results = np.zeros((len(rates), len(self.names)))
        live.block = BlockResults(live.step, self.names, results, steps.total) if rates else None
        first, second = live.vectors
        vectors = (
            live.flat,
            first,
            second,
            self._gradient(live),
            OPTIMIZER_RULES[live.rule.name],
            np.asarray(rates, np.float64),
            np.array([*live.rule.numbers, 0.0]),
            1.0 / steps.total,
        )
        seed = np.uint64(live.seed & 0xFFFFFFFFFFFFFFFF)
        rest = (
            w,
            live.aux,
            live.aux.copy(),
            hypers,
            seed,
            live.counter,
            results,
            order,
            size,
            threads,
            exe.entry_points(threads, self.listed),
            places,
            *data,
            *parts,
        )
        with self._timed(threads, len(rates)):
            before = live.step
            try:
                done = int(exe.module.train(*vectors, *self._extra(live, v, sizes, lanes), *rest))
            except Exception as error:
                done = self._steps_before_error(error, live.step - before)
        if CHECKED:
            buffers.check_guards(exe.memory, w, v, (slabs, lanes))
        return done

    def _gradient(self, live: MutableState) -> np.ndarray:
        """Memory for a gradient: the same for all calls, since fresh pages cost time."""
        exe = self.executable
        if CHECKED:
            return buffers.guarded_array(exe.n_params, exe.float)
        if exe.n_params < LONG_BUFFER:
            return np.zeros(exe.n_params, exe.float)
        return live.kept("gradient", exe.n_params, lambda: aligned_zeros(exe.n_params, exe.float))

    def _data(self, bound: BoundData) -> list[np.ndarray]:
        """Data arguments as compiled code reads them."""
        exe = self.executable
        return [exe._data(x, *spec) for x, spec in zip(bound.arrays, exe.request.inputs, strict=True)]

    def _rows_of(self, steps: BlockData) -> dict[str, int]:
        """Rows of a step, by plate."""
        rows = dict(steps.bound.rows)
        if steps.rows is not None:
            assert self.plate is not None
            rows[self.plate.name] = steps.size
        return rows

    def _scaled(self, steps: BlockData, rows: dict[str, int]) -> dict[str, tuple[float, int]]:
        """Factor N/B and rows N of the data set, by the identifiers of plates."""
        bound, found = steps.bound, {}
        for i, (name, total) in enumerate(bound.totals.items()):
            placed = (steps.total / rows[name], steps.total) if i == 0 else (bound.scales[name], total)
            found[self.identifiers[name]] = placed
        return found

    def _steps_before_error(self, error: Exception, done: int) -> int:
        """The number of steps taken after an `error` in the step behind `done` ones.

        An error of a simulator is left to the general path, which takes the step again and says what went wrong.
        """
        try:
            self.executable.refuse(error)
        except SimulatorError:
            return done

    def _chosen(self, threads: int, steps: int) -> int:
        """The number of threads that take `steps` steps: up to `threads`."""
        return threads

    def _timed(self, threads: int, steps: int) -> AbstractContextManager[None]:
        """A call of `steps` steps on so many threads."""
        return contextlib.nullcontext()

    def _extra(self, live: MutableState, v: np.ndarray, sizes: dict[str, int], threads: int) -> tuple[Any, ...]:
        """The arguments of the loop between the vectors and the rest."""
        which = -1 if self.plate is None else self.executable.plates.index(identifier(self.plate.name))
        return v, which, self.executable.gradient_partition, self._copies(live, threads)

    def _copies(self, live: MutableState, threads: int) -> np.ndarray:
        """The parameters once more for every thread but the first, where threads share the update."""
        if threads == 1 or threads > THREADS_WITH_COPIES or live.flat.size < UPDATED_BY_ALL:
            live.copied = None
            return live.flat[:0]
        from ppl.kernels.cpu.training.parallel_optimizers import copy_stride  # imports Numba

        stride = copy_stride(live.flat.size)
        spare = live.kept("copies", (threads, stride), lambda: aligned_zeros((threads - 1) * stride, live.flat.dtype))
        if live.copied is not spare:
            spare.reshape(threads - 1, stride)[:, : live.flat.size] = live.flat
        live.copied = spare
        return spare


class SparseTrainer(Trainer):
    """The training loop of a program whose gradient is sparse in some tables."""

    listed = "ENTRY_POINTS"

    def __init__(self, compiled: Compiled):
        self.compiled = compiled
        request, self.tables = sparse_request(
            compiled.request("gradient", (), compiled.settings.particles), compiled.target.rewrites
        )
        self.pace = ThreadChooser()
        if self.tables:
            self._prepare(request)

    def __bool__(self) -> bool:
        return bool(self.tables)

    def _chosen(self, threads: int, steps: int) -> int:
        return self.pace.choose(threads) if threads > 1 and steps else threads

    def _timed(self, threads: int, steps: int) -> AbstractContextManager[None]:
        if not steps:
            return contextlib.nullcontext()
        return self.pace.timed(threads, steps, counted=bool(self.executable.module.train.signatures))

    def _prepare(self, request: Request) -> None:
        self._compile(request, SparseTrainingEmitter, self.tables)

    def _compile(
        self, request: Request, emitter: Callable[..., SparseTrainingEmitter], tables: Sequence[SparseTable]
    ) -> None:
        """Compile `request` with an emitter of training on `tables`."""
        settings, plate = self.compiled.settings, self.compiled.binder.plates[0]
        offsets, inside = offsets_of(request.params)[0], {t.name for t in self.tables}
        dense = [(offsets[n], int(np.prod(s, dtype=np.int64))) for n, s in request.params if n not in inside]
        kind = functools.partial(
            emitter, tables=tables, dense=dense, cut=[plate in t.axes for _, t in request.inputs],
            rows=identifier(plate.name), n_scalars=len(request.scalars),
        )  # fmt: skip
        emitted, made = emit_request(request, settings.dtype, self.compiled.target, kind)
        assert isinstance(made, SparseTrainingEmitter)
        self._emitter = made
        self.executable = Executable(title=f"{self.compiled.title} (training)", **vars(emitted))
        self._read()
        self.names = self.names[:-1]

    def _extra(self, live: MutableState, v: np.ndarray, sizes: dict[str, int], threads: int) -> tuple[Any, ...]:
        out = np.empty(self.executable._out_size(sizes), self.executable.float)
        return out, v, *self._scratch(live, sizes, threads)

    def _scratch(self, live: MutableState, sizes: dict[str, int], threads: int) -> tuple[np.ndarray, ...]:
        """Lists of additions and the sum of one row, per thread; all lists are empty between steps."""
        return live.kept("lists", (threads, *sizes.values()), lambda: self._lists(sizes, threads))

    def _lists(self, sizes: dict[str, int], threads: int) -> tuple[np.ndarray, ...]:
        tables = self._emitter.tables
        most = max((self._emitter.additions(t).evaluate(sizes) for t in tables), default=0)
        lengths, width = [t.length for t in tables], max((t.width for t in tables), default=0)
        return (
            np.full((threads, sum(lengths)), -1, np.int32),
            np.zeros((threads, most), np.int32),
            np.zeros((threads, min(most, max(lengths, default=0)) + 1), np.int32),
            np.zeros((threads, width + 32), self.executable.float),
        )


class ColumnTrainer(SparseTrainer):
    """The training loop of a program that reads rows of tables only through inner products; false for any other.

    The tables are copied into parts by columns when a state first trains, and back when someone looks at it.
    """

    rules: ClassVar[tuple[str, ...]] = ("SGD",)
    """Optimizers whose step on a row needs nothing but the row's gradient."""

    columns: Columns | None = None

    def _prepare(self, request: Request) -> None:
        found = by_columns(request, self.tables)
        if found is not None:
            request, self.columns = found
            inside = {t.name for t in self.columns.tables}
            rest = [t for t in self.tables if t.name not in inside]
            self._compile(request, functools.partial(ColumnEmitter, columns=self.columns), rest)

    def __bool__(self) -> bool:
        return self.columns is not None

    def _chosen(self, threads: int, steps: int) -> int:
        """Threads wait for one another's tables only where some are shared by rows."""
        return super()._chosen(threads, steps) if self._emitter.tables else threads

    def _extra(self, live: MutableState, v: np.ndarray, sizes: dict[str, int], threads: int) -> tuple[Any, ...]:
        if live.parts is None:
            live.parts = self._split(live.flat)
        live.join = functools.partial(self._join, live)
        return *super()._extra(live, v, sizes, threads), live.parts

    def _lists(self, sizes: dict[str, int], threads: int) -> tuple[np.ndarray, ...]:
        """As for other tables, with what parts hold within a step."""
        assert isinstance(self._emitter, ColumnEmitter)
        held = aligned_zeros(self._emitter.held_entries().evaluate(sizes), self.executable.float)
        return *super()._lists(sizes, threads), held

    def _split(self, flat: np.ndarray) -> np.ndarray:
        assert self.columns is not None
        out = aligned_zeros(self.columns.area * self.columns.parts, self.executable.float)
        for whole, part in self._pieces(flat, out):
            part[:] = whole
        return out

    def _join(self, live: MutableState) -> None:
        assert live.parts is not None
        for whole, part in self._pieces(live.flat, live.parts):
            whole[:] = part

    def _pieces(self, flat: np.ndarray, columns: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The columns of every table and part in a flat vector, and where the part has them."""
        cut = self.columns
        assert cut is not None
        for table in cut.tables:
            size, width = table.length * table.width, cut.padded(table)
            whole = flat[table.offset : table.offset + size].reshape(table.length, table.width)
            for p in range(cut.parts):
                first, last = cut.piece(table, p)
                at = p * cut.area + cut.start(table.name)
                part = columns[at : at + table.length * width].reshape(table.length, width)
                yield whole[:, first:last], part[:, : last - first]


def trainer_of(compiled: Compiled, sparse: bool, rule: str = "") -> Trainer | None:
    """The training loop of a program, or None; `sparse`: the optimizer leaves rows without a gradient as they are."""
    key = sparse, rule if sparse and rule in ColumnTrainer.rules else ""
    return compiled.get_or_make(Trainer, key, lambda: _make_trainer(compiled, *key))


def _make_trainer(compiled: Compiled, sparse: bool, rule: str) -> Trainer | None:
    """The first loop that suits, where the target has them: tables by columns, tables by rows, whole gradients."""
    target = compiled.target
    if not compiled.layout.shapes:
        return None
    if target.resident:
        made: Trainer | None = resident.device_trainer(compiled)
        return None if made is not None and made.executable.has_failure_flag else made
    if sparse and compiled.binder.plates:
        if rule in ColumnTrainer.rules and (cut := ColumnTrainer(compiled)):
            return cut
        if found := SparseTrainer(compiled):
            return found
    trainer = Trainer(compiled)
    return trainer if trainer.executable.trains else None
