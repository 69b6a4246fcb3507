"""Training in place: many steps of a program and an optimizer per call of compiled code.

A `Trainer` belongs to a compiled program; a `Live` state is what it moves, a copy of an ordinary `State` that becomes
one again. A `SparseTrainer` moves only the rows of tables that a batch names, by the rules for which a gradient of zero
means no step (`SPARSE_RULES`).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.checked import CHECKED
from ppl.compiler.emit.assemble import assemble
from ppl.compiler.emit.cpu.sparse_training import TrainEmitter
from ppl.compiler.emit.cpu.training import RULES
from ppl.compiler.lower.identifiers import identifier
from ppl.compiler.lower.request import Request, offsets_of
from ppl.compiler.lower.sparse import Table, sparse_request
from ppl.errors import SimulatorError
from ppl.runtime import guards
from ppl.runtime.binding import Bound
from ppl.runtime.executable import Executable
from ppl.runtime.pool import aligned
from ppl.training.live import Block, Live, Steps
from ppl.training.pace import Pace
from ppl.tuning import AWAKE_STEPS, LONG_BUFFER, THREADS_WITH_COPIES, UPDATED_BY_ALL

if TYPE_CHECKING:
    from ppl.runtime.compiled import Compiled


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
        self.nowhere = np.zeros((0, len(request.inputs)), np.int64)

    def run(self, live: Live, steps: Steps, rates: Sequence[float], hypers: np.ndarray) -> int:
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
        places = np.array([[x.ctypes.data for x in arrays] for arrays in others], np.int64) if others else self.nowhere
        if steps.rows is not None:
            order, size = steps.rows, -steps.size if steps.gathered else steps.size
        if size > 0:
            parts = [np.empty(x.size // len(a) * size, x.dtype) if cut else x
                     for x, a, cut in zip(data, batch, self.cut, strict=True)]  # fmt: skip
        sizes = exe._sizes(rows, self.compiled.settings.particles, 1)
        slabs = exe._slabs(sizes)
        alone = 0 < len(rates) < AWAKE_STEPS and exe.takes_alone(sizes, slabs)
        threads = 1 if alone else exe._threads(slabs, None)
        w, v = exe._work(sizes, slabs, threads)
        lanes, threads = threads, self._chosen(threads, len(rates))
        for plate, (scale, total) in self._scaled(steps, rows).items():
            w[exe.plates.index(plate)], v[exe.memory.header.index(f"total_{plate}")] = scale, total
        results = np.zeros((len(rates), len(self.names)))
        live.block = Block(live.step, self.names, results, steps.total) if rates else None
        first, second = live.vectors
        vectors = (live.flat, first, second, self._gradient(live), RULES[live.rule.name], np.asarray(rates, np.float64),
                   np.array([*live.rule.numbers, 0.0]), 1.0 / steps.total)  # fmt: skip
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
                done = self._stopped(error, live.step - before)
        if CHECKED:
            guards.verify(exe.memory, w, v, (slabs, lanes))
        return done

    def _gradient(self, live: Live) -> np.ndarray:
        """Memory for a gradient: the same for all calls, since fresh pages cost time."""
        exe = self.executable
        if CHECKED:
            return guards.framed(exe.n_params, exe.float)
        if exe.n_params < LONG_BUFFER:
            return np.zeros(exe.n_params, exe.float)
        return live.kept("gradient", exe.n_params, lambda: aligned(exe.n_params, exe.float))

    def _data(self, bound: Bound) -> list[np.ndarray]:
        """Data arguments as compiled code reads them."""
        exe = self.executable
        return [exe._data(x, *spec) for x, spec in zip(bound.arrays, exe.request.inputs, strict=True)]

    def _rows_of(self, steps: Steps) -> dict[str, int]:
        """Rows of a step, by plate."""
        rows = dict(steps.bound.rows)
        if steps.rows is not None:
            assert self.plate is not None
            rows[self.plate.name] = steps.size
        return rows

    def _scaled(self, steps: Steps, rows: dict[str, int]) -> dict[str, tuple[float, int]]:
        """Factor N/B and rows N of the data set, by the identifiers of plates."""
        bound, found = steps.bound, {}
        for i, (name, total) in enumerate(bound.totals.items()):
            placed = (steps.total / rows[name], steps.total) if i == 0 else (bound.scales[name], total)
            found[self.identifiers[name]] = placed
        return found

    def _stopped(self, error: Exception, done: int) -> int:
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

    def _extra(self, live: Live, v: np.ndarray, sizes: dict[str, int], threads: int) -> tuple[Any, ...]:
        """The arguments of the loop between the vectors and the rest."""
        which = -1 if self.plate is None else self.executable.plates.index(identifier(self.plate.name))
        return v, which, self.executable.shares, self._copies(live, threads)

    def _copies(self, live: Live, threads: int) -> np.ndarray:
        """The parameters once more for every thread but the first, where threads share the update."""
        if threads == 1 or threads > THREADS_WITH_COPIES or live.flat.size < UPDATED_BY_ALL:
            live.copied = None
            return live.flat[:0]
        from ppl.kernels.cpu.training.copies import stride_of  # imports Numba

        stride = stride_of(live.flat.size)
        spare = live.kept("copies", (threads, stride), lambda: aligned((threads - 1) * stride, live.flat.dtype))
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
        self.pace = Pace()
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
        self._compile(request, TrainEmitter, self.tables)

    def _compile(self, request: Request, emitter: Callable[..., TrainEmitter], tables: Sequence[Table]) -> None:
        """Compile `request` with an emitter of training on `tables`."""
        settings, plate = self.compiled.settings, self.compiled.binder.plates[0]
        offsets, inside = offsets_of(request.params)[0], {t.name for t in self.tables}
        dense = [(offsets[n], int(np.prod(s, dtype=np.int64))) for n, s in request.params if n not in inside]
        kind = functools.partial(
            emitter, tables=tables, dense=dense, cut=[plate in t.axes for _, t in request.inputs],
            rows=identifier(plate.name), n_scalars=len(request.scalars),
        )  # fmt: skip
        fields, made = assemble(request, settings.dtype, self.compiled.target, kind)
        assert isinstance(made, TrainEmitter)
        self._emitter = made
        self.executable = Executable(request, settings.dtype, title=f"{self.compiled.title} (training)", **fields)
        self._read()
        self.names = self.names[:-1]

    def _extra(self, live: Live, v: np.ndarray, sizes: dict[str, int], threads: int) -> tuple[Any, ...]:
        out = np.empty(self.executable._out_size(sizes), self.executable.float)
        return out, v, *self._scratch(live, sizes, threads)

    def _scratch(self, live: Live, sizes: dict[str, int], threads: int) -> tuple[np.ndarray, ...]:
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
