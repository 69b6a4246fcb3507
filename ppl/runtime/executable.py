"""An emitted program, the memory that a call of it needs, and calls.

`Executable.run` is pure and returns fresh arrays. `Executable.njit` is the serial form for users' own nopython code:

``loss = njit(params, grad, aux, hyper, seed, step, row0, scale, work, *data)``

with flat vectors, data arrays as the user holds them, and ``work = executable.workspace(rows, particles)``, one per
thread. `grad` is overwritten and `aux` updated in place. For a request with arrays (sampling), `grad` stands for the
flat output `out`: the arrays of `array_places` one after another, the int arrays first. An int is an int64, so in
float32 programs it takes two entries of `out`; bools are floats. `views` gives every array."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, NoReturn, TypeVar

import numpy as np

from ppl.arguments import fits_memory, too_large
from ppl.checked import CHECKED
from ppl.compiler.emit.steps import FAILED
from ppl.compiler.lower.request import Request, Result, floats_per_int, offsets_of
from ppl.compiler.lower.sizes import axis_size, identifier
from ppl.compiler.lower.target import Target, target_of
from ppl.compiler.pipeline import EmittedSource, emit_request
from ppl.compiler.schedule.slabs import SLABS, fits_one_thread, least_slab_rows, longest_slab, slab_count
from ppl.compiler.schedule.stages import Opaque, all_steps, show_schedule
from ppl.ir.external import any_python_call
from ppl.ir.types import Kind, Type
from ppl.lazy import cpu_calls, cpu_regions, cpu_threads, cpu_workers, devices, resting
from ppl.records import dataclass
from ppl.runtime import buffers, cache
from ppl.runtime.buffers import ArrayPool, aligned_zeros
from ppl.runtime.failures import raise_user_error

__all__ = ["Executable", "Request", "Result", "compile_request"]

T = TypeVar("T")

MAX_CACHED_SIZES = 256
"""Numbers evaluated from sizes of calls that are kept."""

FEW_WORKSPACES, MANY_WORKSPACES, MAX_WORKSPACE_BYTES = 4, 32, 1 << 26
"""Workspaces of calls of other sizes that are kept: few, or many where they have not more than so many bytes."""


def _grown_buffer(buffer: np.ndarray, size: int) -> np.ndarray:
    """A workspace's part with at least so many entries."""
    if buffer.size >= size:
        return buffer
    with fits_memory(f"a workspace of {size} numbers"):
        longer = aligned_zeros(size, buffer.dtype)
    longer[: buffer.size] = buffer
    return longer


@dataclass(eq=False)
class EmittedProgram(EmittedSource):
    """An emitted request: its source and schedule, and the sizes of everything that a call of it touches."""

    title: str = ""
    """What it is to users."""

    def __post_init__(self) -> None:
        self._local = threading.local()
        self.float = np.dtype(self.dtype).type
        self.plate_names = [name for name, axis in self.axes.items() if axis.kind is Kind.PLATE]
        self._lengths = [(f"n_{identifier(name)}", name, axis.kind) for name, axis in self.axes.items()]
        self._evaluated: dict[tuple[Any, ...], Any] = {}
        self.places = {name: i for i, name in enumerate(self.memory.header)}
        self.n_params = offsets_of(self.request.params)[1]
        self.n_aux = offsets_of(self.request.aux_shapes)[1]

    @functools.cached_property
    def gradient_partition(self) -> np.ndarray:
        """(start, rows, entries a row) of every parameter; slabs own shares of the rows of each gradient."""
        starts, _ = offsets_of(self.request.params)
        steps = [s for t in self.stages for s in t.partitioned]
        owned = {s.target.buffer.offset.constant: s.shared for s in steps if s.target.buffer is not None}
        out = []
        for name, shape in self.request.params:
            size = math.prod(shape)
            rows = owned.get(starts[name], size)
            out += [starts[name], rows, size // max(rows, 1)]
        return np.array(out, np.int64)

    @property
    def has_failure_flag(self) -> bool:
        """Whether a device says that users' functions have failed, so that every call is looked at."""
        return FAILED in self.places

    @property
    def regions(self) -> int:
        """Number of row regions."""
        return sum(s.row is not None for s in self.stages)

    @property
    def schedule(self) -> str:
        """The stages and their steps, one line each."""
        return show_schedule(self.stages)

    def workspace(self, rows: int | Mapping[str, int] = 1, particles: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """A workspace for `njit`: (float buffer, int buffer), for up to `rows` rows."""
        given = dict(rows) if isinstance(rows, Mapping) else self._rows_of_all_plates(rows)
        sizes = self._sizes(given, particles, 1)
        w, v = self._allocate_buffers(sizes, self._slabs(sizes), 1)
        return (
            (w, v)
            if not self.plates
            else (
                _grown_buffer(w, self._largest_extent(sizes, "w")),
                _grown_buffer(v, self._largest_extent(sizes, "v")),
            )
        )

    def _largest_extent(self, sizes: Mapping[str, int], array: str) -> int:
        """Entries of a workspace of one lane for these and all smaller numbers of rows, whose tiles may be longer.

        All sizes are polynomials without negative coefficients, so that the largest of each factor bounds them.
        """
        least = {n: 1 if n.startswith("n_") and n != "n_particles" else size for n, size in sizes.items()}
        accumulated = sum(size.evaluate(least) for size in self.memory.slab.values())
        known = {"first_particle": 0, SLABS: 1, **sizes}
        known |= {f"total_{plate}": sizes.get(f"n_{plate}", 1) for plate in self.plates}
        if self.regions:
            rows = max(axis_size(s.row).evaluate(sizes) for s in self.stages if s.row is not None)
            flops = self.flops.evaluate(sizes)
            known[SLABS] = slab_count(self.target.sharing, rows, flops, accumulated, self._least_rows)
        for stage in self.stages:
            if stage.row is not None:
                rows = axis_size(stage.row).evaluate(sizes)
                tile = self.memory.longest_tile(stage, least, rows, np.dtype(self.dtype).itemsize)
                known |= {f"chunk_{stage.name}": rows, f"first_{stage.name}": rows}
                known[f"tile_{stage.name}"] = tile * 11 // 10 + 4 if stage.partitioned else tile  # see `slab_start`
        shared, slab, lane = (area[array].evaluate(known) for area in self.memory.areas)
        return shared + known[SLABS] * slab + lane

    def _rows_of_all_plates(self, rows: int) -> dict[str, int]:
        return {name: rows for name, axis in self.axes.items() if axis.kind is Kind.PLATE}

    def _sizes(self, rows: Mapping[str, int], particles: int, repeats: int) -> dict[str, int]:
        sizes = {}
        for symbol, name, kind in self._lengths:
            if kind is Kind.PARTICLES:
                sizes[symbol] = int(rows.get(name, particles))
            else:
                sizes[symbol] = repeats if kind is Kind.REPEATS else int(rows[name])
        return sizes

    def _evaluate_once(self, what: str, sizes: Mapping[str, int], evaluate: Callable[[Mapping[str, int]], T]) -> T:
        """The result of `evaluate` for the sizes of a call, kept for the next call with the same sizes."""
        key = (what, *sizes.values())
        found: T | None = self._evaluated.get(key)
        if found is None:
            if len(self._evaluated) >= MAX_CACHED_SIZES:
                self._evaluated.clear()
            found = self._evaluated[key] = evaluate(sizes)
        return found

    def _allocate_buffers(
        self, sizes: dict[str, int], slabs: int, lanes: int, old: Sequence[np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`_buffers`; a TooLargeError names what the call is given where they do not fit into memory."""
        names = {symbol: name for symbol, name, _ in self._lengths}
        listed = ", ".join(f"{names.get(symbol, symbol)}={size}" for symbol, size in sizes.items())
        with fits_memory(f"a call with {listed or 'these parameters'}"):
            return self._buffers(sizes, slabs, lanes, old)

    def layout_sizes(self, sizes: Mapping[str, int], slabs: int) -> dict[str, int]:
        """All numbers that the memory of a call is laid out by."""
        full = {"first_particle": 0, FAILED: 0, SLABS: slabs, **sizes}
        itemsize = np.dtype(self.dtype).itemsize
        for plate in self.plates:
            full[f"total_{plate}"] = full.get(f"n_{plate}", 1)
        for stage in self.stages:
            if stage.row is not None:
                rows = axis_size(stage.row).evaluate(full)
                most = longest_slab(rows, slabs)
                tile = self.memory.tile(stage, full, most, itemsize)
                if stage.partitioned:
                    chunk = max(1, -(-rows // -(-max(1, most) // tile)))
                    tile = max(tile, longest_slab(chunk, slabs))
                    full |= {f"chunk_{stage.name}": chunk, f"first_{stage.name}": 0}
                full[f"tile_{stage.name}"] = tile
        return full

    def extent(self, array: str, full: Mapping[str, int], slabs: int, lanes: int) -> int:
        """Entries of a vector of a workspace."""
        shared, slab, lane = (area[array].evaluate(full) for area in self.memory.areas)
        return shared + slabs * slab + lanes * lane

    def _buffers(
        self, sizes: dict[str, int], slabs: int, lanes: int, old: Sequence[np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The workspace of calls of these sizes, in the memory of an `old` one if it is large enough."""
        full, out = self.layout_sizes(sizes, slabs), []
        for i, (array, dtype) in enumerate((("w", self.float), ("v", np.int64))):
            extent = self.extent(array, full, slabs, lanes)
            again = old is not None and old[i].size >= extent and not CHECKED
            buffer = old[i][:extent] if old is not None and again else aligned_zeros(extent, dtype)
            if CHECKED:  # nothing may be read before it has been written
                buffer.view(np.uint8)[:] = buffers.GUARD_PATTERN
            start = self.memory.symbols[f"c_{array}"].evaluate(full)
            data = self.memory.consts[array]
            buffer[start : start + data.size] = data
            out.append(buffer)
        out[1][: len(self.memory.header)] = [full[n] for n in self.memory.header]
        out[0][: len(self.plates)] = 1.0
        if CHECKED:
            buffers.write_guards(self.memory, out[0], out[1], (slabs, lanes))
        return out[0], out[1]

    def _slabs(self, sizes: Mapping[str, int]) -> int:
        """Slabs that the rows of a call are cut into, whatever the number of threads."""
        if not self.regions:
            return 1
        return self._evaluate_once("slabs", sizes, self._count_slabs)

    def _count_slabs(self, sizes: Mapping[str, int]) -> int:
        rows = max(axis_size(s.row).evaluate(sizes) for s in self.stages if s.row is not None)
        accumulated = sum(size.evaluate(sizes) for size in self.memory.slab.values())
        return slab_count(self.target.sharing, rows, self.flops.evaluate(sizes), accumulated, self._least_rows)

    @functools.cached_property
    def _least_rows(self) -> int:
        """Rows of a slab at least."""
        steps = [t for s in self.stages if s.row is not None for t in all_steps(s)]
        ops = {t.node.op for t in steps if isinstance(t, Opaque)}
        return least_slab_rows(self.target.sharing, "gemm" in ops, "turns" in ops, "noise" in ops)

    @functools.cached_property
    def calls_python(self) -> bool:
        """Whether it calls a user's function in the Python interpreter (`ppl.external(python=True)`)."""
        steps = [t for s in self.stages for t in all_steps(s)]
        return any_python_call(t.node for t in steps if isinstance(t, Opaque))

    def _threads(self, slabs: int, threads: int | None) -> int:
        """Threads that take so many slabs; `threads` is the number asked for."""
        if slabs == 1 or self.calls_python:
            return 1
        most = cpu_threads.num_threads()
        return min(slabs, most if threads is None or most == 1 else threads)

    def _work(self, sizes: dict[str, int], slabs: int, lanes: int) -> tuple[np.ndarray, np.ndarray]:
        known = self._local.__dict__.setdefault("buffers", {})
        key = (slabs, lanes, *sizes.values())
        if key not in known:
            old = None
            while len(known) >= FEW_WORKSPACES and (
                len(known) >= MANY_WORKSPACES or sum(w.nbytes for w, _ in known.values()) > MAX_WORKSPACE_BYTES
            ):
                old = known.pop(next(iter(known)))
            known[key] = self._allocate_buffers(sizes, slabs, lanes, old)
        return known[key]

    def out_size(self, rows: int, particles: int) -> int:
        """Length of the flat output that the serial function of a request with arrays writes for `rows` rows."""
        return self._out_size(self._sizes(self._rows_of_all_plates(rows), particles, 1))

    def views(self, out: np.ndarray, rows: int, particles: int) -> dict[str, np.ndarray]:
        """Views of such an output by name: floats of the program's dtype, int64, and bools as floats."""
        return self._arrays(out, self._sizes(self._rows_of_all_plates(rows), particles, 1))

    def _empty_vector(self, purpose: str, size: int) -> np.ndarray:
        local = self._local.__dict__
        if "pool" not in local:
            local["pool"] = ArrayPool()
        try:
            return local["pool"].empty(purpose, size, self.float)
        except MemoryError as error:
            too_large(f"a result of {size} numbers", error)

    def _out_size(self, sizes: Mapping[str, int]) -> int:
        parts = self._evaluate_once("out", sizes, self._output_places)
        return max((part.stop for part, _, _ in parts.values()), default=0)

    def _output_places(self, sizes: Mapping[str, int]) -> dict[str, tuple[slice, bool, tuple[int, ...]]]:
        """Place in the flat output, whether it holds integers, and shape of every array, in the order asked for."""
        parts, at, words = {}, 0, floats_per_int(self.dtype)
        for name, t, size in self.array_places:
            n = size.evaluate(sizes) * (words if t.dtype == "int" else 1)
            shape = (*(axis_size(a).evaluate(sizes) for a in t.axes), *t.shape)
            parts[name] = slice(at, at + n), t.dtype == "int", shape
            at += n
        return {name: parts[name] for name, _ in self.request.arrays}

    def _arrays(self, out: np.ndarray, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
        found = {}
        for name, (part, whole, shape) in self._evaluate_once("out", sizes, self._output_places).items():
            found[name] = (out[part].view(np.int64) if whole else out[part]).reshape(shape)
        return found


@functools.lru_cache(maxsize=64)
def _seed_word(seed: int) -> np.uint64:
    """A seed as compiled code takes it."""
    return np.uint64(seed & 0xFFFFFFFFFFFFFFFF)


class PlateRows(NamedTuple):
    """Where the rows of a plate stand in the data set: factor N/B, N, and the first of the rows or all of them."""

    scale: float
    total: int
    rows: Any


@dataclass(eq=False)
class Executable(EmittedProgram):
    """A compiled request."""

    may_be_plain: ClassVar[bool] = True
    """Whether calls of a program without rows, data and run-time sizes may be `run_plain`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._module: Any = None
        self._entry_points: dict[tuple[str, bool], Any] = {}
        self._names = [n for n, _ in self.request.scalars]
        self._bools = [n for n, node in self.request.arrays if node.type.dtype == "bool"]
        self._totals = [self.places[f"total_{plate}"] for plate in self.plates]
        self._no_ints = np.zeros(0, np.int64)
        self._no_floats = np.zeros(0, self.float)
        plain = not (self.axes or self.plates or self.request.inputs or self.request.arrays)
        self.plain = self.unrolled and plain and self.may_be_plain and not CHECKED

    @property
    def module(self) -> Any:
        """The emitted module, imported when first needed."""
        if self._module is None:
            with resting():
                self._module = cache.load(self.source, self.injected, self.functions, self.dtype)
            if self.title:
                self._module.__title__ = self.title
        return self._module

    def entry_points(self, threads: int, listed: str = "ENTRY_POINTS") -> Any:
        """Addresses of the regions that the module lists, for a call on so many threads, which are started.

        They are compiled when they are first needed.
        """
        if threads > 1:
            cpu_workers.start(threads)
        key = listed, threads > 1
        if key not in self._entry_points:
            self._entry_points[key] = cpu_regions.entry_points(getattr(self.module, listed, ()), threads > 1)
        return self._entry_points[key]

    @property
    def njit(self) -> Any:
        """Serial nopython function, see the module's docstring."""
        return self.module.njit_entry

    def run(self, params: np.ndarray, aux: np.ndarray | None = None, hyper: np.ndarray | None = None,
            inputs: Sequence[np.ndarray] = (), *, rows: Mapping[str, int] | None = None,
            row_ids: Mapping[str, Any] | None = None, scales: Mapping[str, float] | None = None,
            total_rows: Mapping[str, int] | None = None, particles: int = 1, repeats: int = 1, seed: int = 0,
            step: int = 0, threads: int | None = None, window: tuple[int, int] | None = None,
            grad: np.ndarray | None = None) -> Result:  # fmt: skip
        """Run once; see `Request` for the meaning of the flat vectors. Calls of programs come through `BoundCall.run`.

        By plate: `rows` given, their global ids `row_ids` (an array, or the first of consecutive ones), the factors
        `scales` (N/B), and the rows `total_rows` of the whole data set. `window`: the first of the particles that a
        request of a part of them computes, and how many. `grad`: where the gradient is written.
        """
        if self.plain and grad is None:
            return self.run_plain(params, aux, hyper, seed, step)
        data = [self._data(x, *spec) for x, spec in zip(inputs, self.request.inputs, strict=True)]
        if rows is None or not all(map(rows.__contains__, self.plate_names)):
            rows = self._rows(inputs, rows)
        sizes = self._sizes(rows, particles, repeats) if self.axes else {}
        plates = [
            PlateRows(
                1.0 if scales is None else scales.get(name, 1.0),
                rows[name] if total_rows is None else total_rows.get(name, rows[name]),
                0 if row_ids is None else row_ids.get(name, 0),
            )
            for name in self.plate_names
        ]
        new_aux = self._no_floats if aux is None else np.array(aux, self.float)
        if grad is None:
            grad = self._empty_vector("grad", self.n_params if self.request.grads else 0)
        hyper = self._no_floats if hyper is None else hyper
        given = (params, grad, new_aux, hyper, _seed_word(seed), step, plates, data)
        parts = self._windows(sizes) if window is None else [(window[0], {**sizes, "n_particles": window[1]})]
        found = [self._run_window(first, size, given, threads) for first, size in parts]
        scalars, arrays = found[0]
        if len(found) > 1:
            scalars = {name: math.fsum(s[name] for s, _ in found) for name in scalars}
            arrays = {name: sum((a[name] for _, a in found[1:]), a0) for name, a0 in arrays.items()}
        return Result(scalars, grad, new_aux, arrays)

    def run_plain(
        self, params: np.ndarray, aux: np.ndarray | None, hyper: np.ndarray | None, seed: int, step: int
    ) -> Result:
        """`run` of a `plain` program, which has no rows, data or run-time sizes; Python takes most of its time."""
        new_aux = self._no_floats if aux is None else np.array(aux, self.float)
        grad = np.empty(self.n_params if self.request.grads else 0, self.float)
        kept = getattr(self._local, "plain", None)
        if kept is None:
            kept = self._local.plain = (*self._work({}, 1, 1), self.module.one)
        w, v, one = kept
        one(
            params,
            grad,
            self._no_floats,
            new_aux,
            self._no_floats if hyper is None else hyper,
            _seed_word(seed),
            step,
            w,
            v,
        )
        return Result({name: w.item(i) for i, name in enumerate(self._names)}, grad, new_aux, {})

    def _run_window(
        self, first: int, sizes: dict[str, int], given: tuple[Any, ...], threads: int | None
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Run the window of particles that begins with `first`; returns the scalars and the arrays."""
        params, grad, new_aux, hyper, seed, step, plates, data = given
        slabs = self._slabs(sizes)
        threads = 1 if threads is None and self.runs_on_one_thread(sizes, slabs) else self._threads(slabs, threads)
        w, v = self._work(sizes, slabs, threads)
        if self.windowed:
            v[self.places["first_particle"]] = first
        firsts, ids = [], []
        for i, (scale, total, where) in enumerate(plates):
            w[i], v[self._totals[i]] = scale, total
            listed = isinstance(where, np.ndarray)
            firsts.append(0 if listed else int(where))
            ids.append(np.ascontiguousarray(where, np.int64) if listed else self._no_ints)
        out = self._empty_vector("out", self._out_size(sizes)) if self.request.arrays else self._no_floats
        arguments = (params, grad, out, new_aux, hyper, seed, step, *firsts, *ids, w, v, *data)
        inputs = buffers.copy_contents((params, hyper, *data)) if CHECKED else []
        try:
            self._call(arguments, threads, sizes)
        except Exception as error:
            self.refuse(error)
        if CHECKED:
            buffers.check_guards(self.memory, w, v, (slabs, threads), inputs)
        at = len(self.plates)
        scalars = dict(zip(self._names, w[at : at + len(self._names)].tolist(), strict=True))
        return scalars, self._split_outputs(out, sizes)

    def _split_outputs(self, out: np.ndarray, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
        """The arrays of a flat output."""
        arrays = self._arrays(out, sizes) if self.request.arrays else {}
        for name in self._bools:
            arrays[name] = arrays[name] != 0
        return arrays

    def _windows(self, sizes: dict[str, int]) -> list[tuple[int, dict[str, int]]]:
        """First particle and run-time sizes of every run that a call takes."""
        return self._evaluate_once("windows", sizes, self._particle_windows) if self.windowed else [(0, sizes)]

    def _particle_windows(self, sizes: Mapping[str, int]) -> list[tuple[int, dict[str, int]]]:
        total = sizes["n_particles"]
        length = min(total, self.memory.window(sizes, np.dtype(self.dtype).itemsize))
        length = -(-total // -(-total // length))
        return [(k, {**sizes, "n_particles": min(length, total - k)}) for k in range(0, total, length)]

    def _call(self, arguments: tuple[Any, ...], threads: int, sizes: Mapping[str, int]) -> None:
        if self.unrolled and all(n == 1 for n in sizes.values()):
            self.module.one(*arguments)
        elif not hasattr(self.module, "parallel"):
            self.module.serial(*arguments)
        else:
            self._parallel(*arguments, threads, self.entry_points(threads), self._no_floats)

    def runs_on_one_thread(self, sizes: Mapping[str, int], slabs: int) -> bool:
        """Whether a call that follows no other one takes its slabs on one thread."""
        sharing, flops = self.target.sharing, self.flops
        return slabs == 2 and self._evaluate_once(
            "alone", sizes, lambda known: fits_one_thread(sharing, flops.evaluate(known))
        )

    @functools.cached_property
    def _parallel(self) -> Any:
        return cpu_calls.from_python(self.module.parallel)

    def refuse(self, error: Exception) -> NoReturn:
        """Raise what the user gets for an `error` from a call of the module, which did not come to its end."""
        raise_user_error(error, self.stages)

    def _data(self, x: Any, name: str, t: Type) -> np.ndarray:
        dtype: Any = {"float": self.float, "int": np.int64, "bool": np.bool_}[t.dtype]
        dtype = np.int32 if name in self.request.int32 else dtype
        return np.ascontiguousarray(x, dtype).reshape(-1)

    def _rows(self, inputs: Sequence[np.ndarray], rows: Mapping[str, int] | None) -> dict[str, int]:
        found = {} if rows is None else dict(rows)
        for x, (_, t) in zip(inputs, self.request.inputs, strict=True):
            for k, axis in enumerate(t.axes):
                if axis.size is None:
                    found.setdefault(axis.name, np.shape(x)[k])
        return found


EXECUTABLES: dict[str, Callable[..., Executable]] = {"cpu": Executable, "cuda": devices.later("CudaExecutable")}
"""What runs the modules of each printer."""


def compile_request(request: Request, dtype: str = "float32", target: str | Target = "cpu") -> Executable:
    """Compile `request` for a target; the machine code is made (or read from the disk cache) at the first call."""
    target = target_of(target)
    emitted, _ = emit_request(request, dtype, target)
    return EXECUTABLES[target.printer](**vars(emitted))
