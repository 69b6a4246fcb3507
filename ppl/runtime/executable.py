"""From a request to something that runs: lower, schedule, emit, import; then workspaces and calls.

`Executable.run` is pure and returns fresh arrays. `Executable.njit` is the serial form for users' own nopython code:

``loss = njit(params, grad, aux, hyper, seed, step, row0, scale, work, *data)``

with flat vectors, data arrays as the user holds them, and ``work = executable.workspace(rows, particles)``, one per
thread. `grad` is overwritten and `aux` updated in place. For a request with arrays (sampling), `grad` stands for the
flat output `out`: the arrays of `Executable.array_layout` one after another, the int arrays first. An int is an int64,
so in float32 programs it takes two entries of `out`; bools are floats. `Executable.views` gives every array.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from ppl.arguments import fits_memory, too_large
from ppl.checked import CHECKED
from ppl.compiler.emit.cpu.regions import SLABS
from ppl.compiler.lower.layout import Poly, axis_size, identifier
from ppl.compiler.lower.request import Request, Result, offsets_of
from ppl.compiler.schedule.memory import Memory, all_steps, longest_slab
from ppl.compiler.schedule.slabs import least_rows, slab_count
from ppl.compiler.schedule.stages import Opaque, Stage
from ppl.errors import DataError
from ppl.ir.types import Axis, Kind, Type
from ppl.runtime import cache, guards
from ppl.runtime.pool import Pool, aligned

__all__ = ["Executable", "Request", "Result", "compile_request"]


@functools.lru_cache(maxsize=64)
def _word(seed: int) -> np.uint64:
    """A seed as compiled code takes it."""
    return np.uint64(seed & 0xFFFFFFFFFFFFFFFF)


@dataclass(eq=False)
class Executable:
    """A compiled request."""

    request: Request
    dtype: str
    source: str
    stages: list[Stage]
    memory: Memory
    kernels: int
    axes: dict[str, Axis]
    plates: list[str]
    array_layout: list[tuple[str, Type, Poly]]
    injected: Mapping[str, Any] = field(default_factory=dict)
    flops: Poly = field(default_factory=Poly)
    unrolled: bool = False
    windowed: bool = False
    trains: bool = False
    slabs: int | None = None
    """The number of slabs where a test prescribes one."""

    def __post_init__(self) -> None:
        self._module: Any = None
        self._entries: dict[tuple[str, bool], Any] = {}
        self._local = threading.local()
        self.float = np.dtype(self.dtype).type
        self.n_params = offsets_of(self.request.params)[1]
        self.n_aux = offsets_of(self.request.aux_layout)[1]
        self._names = [n for n, _ in self.request.scalars]
        self._empty = np.zeros(0, np.int64)
        self._none = np.zeros(0, self.float)
        plain = not (self.axes or self.plates or self.request.inputs or self.request.arrays)
        self._plain = self.unrolled and plain and type(self)._call is Executable._call and not CHECKED

    @property
    def module(self) -> Any:
        """The emitted module, imported when first needed."""
        if self._module is None:
            self._module = cache.load(self.source, self.injected)
        return self._module

    def entries(self, threads: int, listed: str = "ENTRIES") -> Any:
        """Addresses of the regions that the module lists, for a call on so many threads; compiled when first needed."""
        key = listed, threads > 1
        if key not in self._entries:
            from ppl.kernels.cpu.regions import entries

            self._entries[key] = entries(getattr(self.module, listed, ()), threads > 1)
        return self._entries[key]

    @property
    def shares(self) -> np.ndarray:
        """(start, rows, entries a row) of every parameter; slabs own shares of the rows of each gradient."""
        starts, _ = offsets_of(self.request.params)
        owned = {s.target.buffer.offset: s.shared for t in self.stages for s in t.owned if s.target.buffer is not None}
        out = []
        for name, shape in self.request.params:
            size = math.prod(shape)
            rows = owned.get(str(starts[name]), size)
            out += [starts[name], rows, size // max(rows, 1)]
        return np.array(out, np.int64)

    @property
    def regions(self) -> int:
        """Number of row regions."""
        return sum(s.row is not None for s in self.stages)

    @property
    def schedule(self) -> str:
        """The stages and their steps, one line each."""
        from ppl.compiler.schedule.listing import show

        return show(self.stages)

    @property
    def njit(self) -> Any:
        """Serial nopython function, see the module's docstring."""
        return self.module.njit_entry

    def workspace(self, rows: int | Mapping[str, int] = 1, particles: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """A workspace for `njit`: (float buffer, int buffer), for up to `rows` rows."""
        given = dict(rows) if isinstance(rows, Mapping) else self._everywhere(rows)
        sizes = self._sizes(given, particles, 1)
        return self._allocated(sizes, self._slabs(sizes), 1)

    def _everywhere(self, rows: int) -> dict[str, int]:
        return {name: rows for name, axis in self.axes.items() if axis.kind is Kind.PLATE}

    def _sizes(self, rows: Mapping[str, int], particles: int, repeats: int) -> dict[str, int]:
        sizes = {}
        for name, axis in self.axes.items():
            if axis.kind is Kind.PARTICLES:
                length = int(rows.get(name, particles))
            elif axis.kind is Kind.REPEATS:
                length = repeats
            else:
                length = int(rows[name])
            sizes[f"n_{identifier(name)}"] = length
        return sizes

    def _allocated(self, sizes: dict[str, int], slabs: int, lanes: int) -> tuple[np.ndarray, np.ndarray]:
        """`_buffers`; a TooLargeError names what the call is given where they do not fit into memory."""
        listed = ", ".join(f"{name.removeprefix('n_')}={size}" for name, size in sizes.items())
        with fits_memory(f"a call with {listed or 'these parameters'}"):
            return self._buffers(sizes, slabs, lanes)

    def _buffers(self, sizes: dict[str, int], slabs: int, lanes: int) -> tuple[np.ndarray, np.ndarray]:
        full = {"first_particle": 0, SLABS: slabs, **sizes}
        itemsize = np.dtype(self.dtype).itemsize
        for plate in self.plates:
            full[f"total_{plate}"] = full.get(f"n_{plate}", 1)
        for stage in self.stages:
            if stage.row is not None:
                rows = axis_size(stage.row).evaluate(full)
                most = longest_slab(rows, slabs)
                tile = self.memory.tile(stage, full, most, itemsize)
                if stage.owned:
                    chunk = max(1, -(-rows // -(-max(1, most) // tile)))
                    tile = max(tile, longest_slab(chunk, slabs))
                    full |= {f"chunk_{stage.name}": chunk, f"first_{stage.name}": 0}
                full[f"tile_{stage.name}"] = tile
        out = []
        for array, dtype in (("w", self.float), ("v", np.int64)):
            shared, slab, lane = (area[array].evaluate(full) for area in self.memory.areas)
            size = shared + slabs * slab + lanes * lane
            buffer = aligned(size, dtype)
            if CHECKED:  # nothing may be read before it has been written
                buffer.view(np.uint8)[:] = guards.PATTERN
            start = self.memory.symbols[f"c_{array}"].evaluate(full)
            data = self.memory.consts[array]
            buffer[start : start + data.size] = data
            out.append(buffer)
        out[1][: len(self.memory.header)] = [full[n] for n in self.memory.header]
        out[0][: len(self.plates)] = 1.0
        if CHECKED:
            guards.paint(self.memory, out[0], out[1], (slabs, lanes))
        return out[0], out[1]

    def run(self, params: np.ndarray, aux: np.ndarray | None = None, hyper: np.ndarray | None = None,
            inputs: Sequence[np.ndarray] = (), *, rows: Mapping[str, int] | None = None,
            row_ids: Mapping[str, Any] | None = None, scales: Mapping[str, float] | None = None,
            total_rows: Mapping[str, int] | None = None, particles: int = 1, repeats: int = 1, seed: int = 0,
            step: int = 0, threads: int | None = None, update_aux: bool = True) -> Result:  # fmt: skip
        """Run once; see `Request` for the meaning of the flat vectors.

        `row_ids` gives the global ids of rows (an array, or the first of consecutive ones), `scales` the factors N/B.
        """
        if self._plain:
            return self._run_plain(params, aux, hyper, seed, step, update_aux)
        data = [self._data(x, *spec) for x, spec in zip(inputs, self.request.inputs, strict=True)]
        sizes = self._sizes(self._rows(inputs, rows), particles, repeats) if self.axes else {}
        where = [self._ids(row_ids, p) for p in self.plates]
        new_aux = self._none if aux is None else np.array(aux, self.float)
        grad = self._empty_vector("grad", self.n_params if self.request.grads else 0)
        hyper = self._none if hyper is None else hyper
        given = (params, grad, new_aux, hyper, seed, step, where, data)
        found = [self._once(window, given, scales, total_rows, threads) for window in self._windows(sizes)]
        scalars, arrays = found[0]
        if len(found) > 1:
            scalars = {name: math.fsum(s[name] for s, _ in found) for name in scalars}
            arrays = {name: sum((a[name] for _, a in found[1:]), a0) for name, a0 in arrays.items()}
        if not update_aux and aux is not None:
            new_aux = np.array(aux, self.float)
        return Result(scalars, grad, new_aux, arrays)

    def _run_plain(self, params: np.ndarray, aux: np.ndarray | None, hyper: np.ndarray | None, seed: int, step: int,
                   update_aux: bool) -> Result:  # fmt: skip
        """`run` of a program without rows, data and run-time sizes, which takes less time than a call in Python."""
        new_aux = self._none if aux is None else np.array(aux, self.float)
        grad = np.empty(self.n_params if self.request.grads else 0, self.float)
        kept = getattr(self._local, "plain", None)
        if kept is None:
            kept = self._local.plain = (*self._work({}, 1, 1), self.module.one)
        w, v, one = kept
        one(params, grad, self._none, new_aux, self._none if hyper is None else hyper, _word(seed), step, w, v)
        if not update_aux and aux is not None:
            new_aux = np.array(aux, self.float)
        return Result({name: w.item(i) for i, name in enumerate(self._names)}, grad, new_aux, {})

    def _once(self, window: tuple[int, dict[str, int]], given: tuple[Any, ...], scales: Mapping[str, float] | None,
              total_rows: Mapping[str, int] | None, threads: int | None) -> tuple[dict[str, float], Any]:  # fmt: skip
        """Run one window of particles; returns the scalars and the arrays."""
        first, sizes = window
        params, grad, new_aux, hyper, seed, step, where, data = given
        slabs = self._slabs(sizes)
        threads = self._threads(slabs, threads)
        w, v = self._work(sizes, slabs, threads)
        if self.windowed:
            v[self.memory.header.index("first_particle")] = first
        for i, plate in enumerate(self.plates):
            w[i] = 1.0 if scales is None else scales.get(plate, 1.0)
            total = sizes.get(f"n_{plate}", 1) if total_rows is None else total_rows.get(plate, 1)
            v[self.memory.header.index(f"total_{plate}")] = total
        out = self._empty_vector("out", self._out_size(sizes)) if self.request.arrays else self._none
        arguments = (params, grad, out, new_aux, hyper, _word(seed), step,
                     *(s for s, _ in where), *(i for _, i in where), w, v, *data)  # fmt: skip
        inputs = guards.contents((params, hyper, *data)) if CHECKED else []
        try:
            self._call(arguments, threads, sizes)
        except Exception as error:
            self.refuse(error)
        if CHECKED:
            guards.verify(self.memory, w, v, (slabs, threads), inputs)
        at = len(self.plates)
        scalars = dict(zip(self._names, w[at : at + len(self._names)].tolist(), strict=True))
        arrays = self._arrays(out, sizes) if self.request.arrays else {}
        kinds = {name: node.type.dtype for name, node in self.request.arrays}
        return scalars, {name: a != 0 if kinds[name] == "bool" else a for name, a in arrays.items()}

    def _ids(self, row_ids: Mapping[str, Any] | None, plate: str) -> tuple[int, np.ndarray]:
        """Global id of the first row, and the ids of all rows where they are not consecutive."""
        given = None if row_ids is None else row_ids.get(plate)
        if isinstance(given, np.ndarray):
            return 0, np.ascontiguousarray(given, np.int64)
        return (0 if given is None else int(given)), self._empty

    def _windows(self, sizes: dict[str, int]) -> list[tuple[int, dict[str, int]]]:
        """First particle and run-time sizes of every run that a call takes."""
        if not self.windowed:
            return [(0, sizes)]
        total = sizes["n_particles"]
        length = min(total, self.memory.window(sizes, np.dtype(self.dtype).itemsize))
        length = -(-total // -(-total // length))
        return [(k, {**sizes, "n_particles": min(length, total - k)}) for k in range(0, total, length)]

    def _call(self, arguments: tuple[Any, ...], threads: int, sizes: Mapping[str, int]) -> None:
        if self.unrolled and all(n == 1 for n in sizes.values()):
            self.module.one(*arguments)
        elif not hasattr(self.module, "parallel"):
            self.module.serial(*arguments)
        elif threads == 1:
            self.module.parallel(*arguments, threads, self.entries(threads), self._none)
        else:
            from ppl.kernels.cpu.threads import parallel_region

            with parallel_region():
                self.module.parallel(*arguments, threads, self.entries(threads), self._none)

    def refuse(self, error: Exception) -> NoReturn:
        """Raise what the user gets for an `error` from a call of the module, which did not come to its end."""
        from ppl.runtime.failures import refuse

        refuse(error, self.stages)

    def _data(self, x: Any, name: str, t: Type) -> np.ndarray:
        dtype: Any = {"float": self.float, "int": np.int64, "bool": np.bool_}[t.dtype]
        dtype = np.int32 if name in self.request.narrow else dtype
        return np.ascontiguousarray(x, dtype).reshape(-1)

    def _rows(self, inputs: Sequence[np.ndarray], rows: Mapping[str, int] | None) -> dict[str, int]:
        found = {} if rows is None else dict(rows)
        for x, (_, t) in zip(inputs, self.request.inputs, strict=True):
            for k, axis in enumerate(t.axes):
                if axis.size is None:
                    found.setdefault(axis.name, np.shape(x)[k])
        return found

    def _slabs(self, sizes: Mapping[str, int]) -> int:
        """Slabs that the rows of a call are cut into, whatever the number of threads."""
        if not self.regions:
            return 1
        if self.slabs is not None:
            return self.slabs
        rows = max(axis_size(s.row).evaluate(sizes) for s in self.stages if s.row is not None)
        accumulated = sum(size.evaluate(sizes) for size in self.memory.slab.values())
        return slab_count(rows, self.flops.evaluate(sizes), accumulated, self._least_rows)

    @functools.cached_property
    def _least_rows(self) -> int:
        """Rows of a slab at least."""
        steps = [t for s in self.stages if s.row is not None for t in all_steps(s)]
        ops = {t.node.op for t in steps if isinstance(t, Opaque)}
        return least_rows("gemm" in ops, "region" in ops)

    @staticmethod
    def _threads(slabs: int, threads: int | None) -> int:
        """Threads that take so many slabs; `threads` is the number asked for."""
        if slabs == 1:
            return 1
        from ppl.kernels.cpu.threads import num_threads

        most = num_threads()
        return min(slabs, most if threads is None or most == 1 else threads)

    def _work(self, sizes: dict[str, int], slabs: int, lanes: int) -> tuple[np.ndarray, np.ndarray]:
        known = self._local.__dict__.setdefault("buffers", {})
        key = (slabs, lanes, *sizes.values())
        if key not in known:
            if len(known) >= 4:
                known.clear()
            known[key] = self._allocated(sizes, slabs, lanes)
        return known[key]

    def out_size(self, rows: int, particles: int) -> int:
        """Length of the flat output that the serial function of a request with arrays writes for `rows` rows."""
        return self._out_size(self._sizes(self._everywhere(rows), particles, 1))

    def views(self, out: np.ndarray, rows: int, particles: int) -> dict[str, np.ndarray]:
        """Views of such an output by name: floats of the program's dtype, int64, and bools as floats."""
        return self._arrays(out, self._sizes(self._everywhere(rows), particles, 1))

    def _empty_vector(self, purpose: str, size: int) -> np.ndarray:
        local = self._local.__dict__
        if "pool" not in local:
            local["pool"] = Pool()
        try:
            return local["pool"].empty(purpose, size, self.float)
        except MemoryError as error:
            too_large(f"a result of {size} numbers", error)

    def _out_size(self, sizes: dict[str, int]) -> int:
        words = 8 // np.dtype(self.dtype).itemsize
        return sum(size.evaluate(sizes) * (words if t.dtype == "int" else 1) for _, t, size in self.array_layout)

    def _arrays(self, out: np.ndarray, sizes: dict[str, int]) -> dict[str, np.ndarray]:
        arrays, at, words = {}, 0, 8 // np.dtype(self.dtype).itemsize
        for name, t, size in self.array_layout:
            n = size.evaluate(sizes) * (words if t.dtype == "int" else 1)
            part = out[at : at + n]
            part = part.view(np.int64) if t.dtype == "int" else part
            arrays[name] = part.reshape((*(axis_size(a).evaluate(sizes) for a in t.axes), *t.shape))
            at += n
        return {name: arrays[name] for name, _ in self.request.arrays}


class CudaExecutable(Executable):
    """A compiled request on a CUDA device: one thread per row, which is a slab of its own."""

    def _slabs(self, sizes: Mapping[str, int]) -> int:
        rows = [axis_size(s.row).evaluate(sizes) for s in self.stages if s.row is not None]
        return max(rows, default=1)

    @staticmethod
    def _threads(slabs: int, threads: int | None) -> int:
        return slabs

    def _call(self, arguments: tuple[Any, ...], threads: int, sizes: Mapping[str, int]) -> None:
        from ppl.kernels.cuda.launch import NO_GPU, available, on_device

        if not available():
            raise DataError(NO_GPU)

        straight = self.unrolled and all(n == 1 for n in sizes.values())
        on_device(self.module.launch_one if straight else self.module.launch, arguments, threads)


def compile_request(request: Request, dtype: str = "float32", target: str = "cpu") -> Executable:
    """Compile `request` for a target; the machine code is made (or read from the disk cache) at the first call."""
    from ppl.compiler.emit.assemble import EMITTERS, assemble

    if target not in EMITTERS:
        raise ValueError(f"target {target!r} is not one of {sorted(EMITTERS)}")
    kind = CudaExecutable if target == "cuda" else Executable
    return kind(request, dtype, **assemble(request, dtype, target)[0])
