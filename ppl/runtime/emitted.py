"""An emitted program and the memory that a call of it needs: sizes, slabs, workspaces, flat outputs."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, TypeVar

import numpy as np

from ppl.arguments import fits_memory, too_large
from ppl.checked import CHECKED
from ppl.compiler.emit.code import Function
from ppl.compiler.emit.externals import FAILED
from ppl.compiler.emit.unit import SLABS
from ppl.compiler.lower.identifiers import identifier
from ppl.compiler.lower.request import Request, offsets_of
from ppl.compiler.lower.target import CPU, Target
from ppl.compiler.lower.views import Poly, axis_size
from ppl.compiler.schedule.listing import show
from ppl.compiler.schedule.memory import Memory, all_steps, longest_slab
from ppl.compiler.schedule.slabs import least_rows, slab_count
from ppl.compiler.schedule.stages import Opaque, Stage
from ppl.ir.external import calls_python
from ppl.ir.types import Axis, Kind, Type
from ppl.lazy import cpu_threads
from ppl.records import dataclass
from ppl.runtime import guards
from ppl.runtime.pool import Pool, aligned

T = TypeVar("T")
KEPT = 256
"""Numbers evaluated from sizes of calls that are kept."""

FEW, MANY, KEPT_BYTES = 4, 32, 1 << 26
"""Workspaces of calls of other sizes that are kept: few, or many where they have not more than so many bytes."""


def _longer(buffer: np.ndarray, size: int) -> np.ndarray:
    """A workspace's part with at least so many entries."""
    if buffer.size >= size:
        return buffer
    with fits_memory(f"a workspace of {size} numbers"):
        longer = aligned(size, buffer.dtype)
    longer[: buffer.size] = buffer
    return longer


@dataclass(eq=False)
class Emitted:
    """An emitted request: its source and schedule, and the sizes of everything that a call of it touches."""

    request: Request
    dtype: str
    source: str
    stages: list[Stage]
    memory: Memory
    kernels: int
    axes: dict[str, Axis]
    plates: list[str]
    array_places: list[tuple[str, Type, Poly]]
    injected: Mapping[str, Any] = field(default_factory=dict)
    functions: Sequence[Function] = ()
    flops: Poly = field(default_factory=Poly)
    unrolled: bool = False
    windowed: bool = False
    trains: bool = False
    target: Target = CPU
    passed: Sequence[str] = ()
    """The arguments of its drivers."""
    slabs: int | None = None
    """The number of slabs where a test prescribes one."""
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
    def shares(self) -> np.ndarray:
        """(start, rows, entries a row) of every parameter; slabs own shares of the rows of each gradient."""
        starts, _ = offsets_of(self.request.params)
        steps = [s for t in self.stages for s in t.owned]
        owned = {s.target.buffer.offset.constant: s.shared for s in steps if s.target.buffer is not None}
        out = []
        for name, shape in self.request.params:
            size = math.prod(shape)
            rows = owned.get(starts[name], size)
            out += [starts[name], rows, size // max(rows, 1)]
        return np.array(out, np.int64)

    @property
    def tells(self) -> bool:
        """Whether a device says that users' functions have failed, so that every call is looked at."""
        return FAILED in self.places

    @property
    def regions(self) -> int:
        """Number of row regions."""
        return sum(s.row is not None for s in self.stages)

    @property
    def schedule(self) -> str:
        """The stages and their steps, one line each."""
        return show(self.stages)

    def workspace(self, rows: int | Mapping[str, int] = 1, particles: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """A workspace for `njit`: (float buffer, int buffer), for up to `rows` rows."""
        given = dict(rows) if isinstance(rows, Mapping) else self._everywhere(rows)
        sizes = self._sizes(given, particles, 1)
        w, v = self._allocated(sizes, self._slabs(sizes), 1)
        return (w, v) if not self.plates else (_longer(w, self._most(sizes, "w")), _longer(v, self._most(sizes, "v")))

    def _most(self, sizes: Mapping[str, int], array: str) -> int:
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
                known[f"tile_{stage.name}"] = tile * 11 // 10 + 4 if stage.owned else tile  # see `slab_start`
        shared, slab, lane = (area[array].evaluate(known) for area in self.memory.areas)
        return shared + known[SLABS] * slab + lane

    def _everywhere(self, rows: int) -> dict[str, int]:
        return {name: rows for name, axis in self.axes.items() if axis.kind is Kind.PLATE}

    def _sizes(self, rows: Mapping[str, int], particles: int, repeats: int) -> dict[str, int]:
        sizes = {}
        for symbol, name, kind in self._lengths:
            if kind is Kind.PARTICLES:
                sizes[symbol] = int(rows.get(name, particles))
            else:
                sizes[symbol] = repeats if kind is Kind.REPEATS else int(rows[name])
        return sizes

    def _once_for(self, what: str, sizes: Mapping[str, int], evaluate: Callable[[Mapping[str, int]], T]) -> T:
        """The result of `evaluate` for the sizes of a call, kept for the next call with the same sizes."""
        key = (what, *sizes.values())
        found: T | None = self._evaluated.get(key)
        if found is None:
            if len(self._evaluated) >= KEPT:
                self._evaluated.clear()
            found = self._evaluated[key] = evaluate(sizes)
        return found

    def _allocated(
        self, sizes: dict[str, int], slabs: int, lanes: int, old: Sequence[np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`_buffers`; a TooLargeError names what the call is given where they do not fit into memory."""
        names = {symbol: name for symbol, name, _ in self._lengths}
        listed = ", ".join(f"{names.get(symbol, symbol)}={size}" for symbol, size in sizes.items())
        with fits_memory(f"a call with {listed or 'these parameters'}"):
            return self._buffers(sizes, slabs, lanes, old)

    def laid_out(self, sizes: Mapping[str, int], slabs: int) -> dict[str, int]:
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
                if stage.owned:
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
        full, out = self.laid_out(sizes, slabs), []
        for i, (array, dtype) in enumerate((("w", self.float), ("v", np.int64))):
            extent = self.extent(array, full, slabs, lanes)
            again = old is not None and old[i].size >= extent and not CHECKED
            buffer = old[i][:extent] if old is not None and again else aligned(extent, dtype)
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

    def _slabs(self, sizes: Mapping[str, int]) -> int:
        """Slabs that the rows of a call are cut into, whatever the number of threads."""
        if not self.regions:
            return 1
        if self.slabs is not None:
            return self.slabs
        return self._once_for("slabs", sizes, self._count_slabs)

    def _count_slabs(self, sizes: Mapping[str, int]) -> int:
        rows = max(axis_size(s.row).evaluate(sizes) for s in self.stages if s.row is not None)
        accumulated = sum(size.evaluate(sizes) for size in self.memory.slab.values())
        return slab_count(self.target.sharing, rows, self.flops.evaluate(sizes), accumulated, self._least_rows)

    @functools.cached_property
    def _least_rows(self) -> int:
        """Rows of a slab at least."""
        steps = [t for s in self.stages if s.row is not None for t in all_steps(s)]
        ops = {t.node.op for t in steps if isinstance(t, Opaque)}
        return least_rows(self.target.sharing, "gemm" in ops, "turns" in ops, "noise" in ops)

    @functools.cached_property
    def calls_python(self) -> bool:
        """Whether it calls a user's function in the Python interpreter (`ppl.external(python=True)`)."""
        steps = [t for s in self.stages for t in all_steps(s)]
        return calls_python(t.node for t in steps if isinstance(t, Opaque))

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
            while len(known) >= FEW and (len(known) >= MANY or sum(w.nbytes for w, _ in known.values()) > KEPT_BYTES):
                old = known.pop(next(iter(known)))
            known[key] = self._allocated(sizes, slabs, lanes, old)
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

    def _out_size(self, sizes: Mapping[str, int]) -> int:
        parts = self._once_for("out", sizes, self._out_parts)
        return max((part.stop for part, _, _ in parts.values()), default=0)

    def _out_parts(self, sizes: Mapping[str, int]) -> dict[str, tuple[slice, bool, tuple[int, ...]]]:
        """Place in the flat output, whether it holds integers, and shape of every array, in the order asked for."""
        parts, at, words = {}, 0, 8 // np.dtype(self.dtype).itemsize
        for name, t, size in self.array_places:
            n = size.evaluate(sizes) * (words if t.dtype == "int" else 1)
            shape = (*(axis_size(a).evaluate(sizes) for a in t.axes), *t.shape)
            parts[name] = slice(at, at + n), t.dtype == "int", shape
            at += n
        return {name: parts[name] for name, _ in self.request.arrays}

    def _arrays(self, out: np.ndarray, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
        found = {}
        for name, (part, whole, shape) in self._once_for("out", sizes, self._out_parts).items():
            found[name] = (out[part].view(np.int64) if whole else out[part]).reshape(shape)
        return found
