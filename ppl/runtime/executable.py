"""From a request to something that runs: lower, schedule, emit, import; then calls.

`Executable.run` is pure and returns fresh arrays. `Executable.njit` is the serial form for users' own nopython code:

``loss = njit(params, grad, aux, hyper, seed, step, row0, scale, work, *data)``

with flat vectors, data arrays as the user holds them, and ``work = executable.workspace(rows, particles)``, one per
thread. `grad` is overwritten and `aux` updated in place. For a request with arrays (sampling), `grad` stands for the
flat output `out`: the arrays of `Emitted.array_places` one after another, the int arrays first. An int is an int64,
so in float32 programs it takes two entries of `out`; bools are floats. `Emitted.views` gives every array.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ppl.checked import CHECKED
from ppl.compiler.emit.assemble import assemble
from ppl.compiler.lower.request import Request, Result
from ppl.compiler.lower.target import Target, target_of
from ppl.compiler.schedule.slabs import taken_alone
from ppl.ir.types import Type
from ppl.lazy import cpu_calls, cpu_regions, cpu_workers, devices, resting
from ppl.progress import titles
from ppl.records import dataclass
from ppl.runtime import cache, guards
from ppl.runtime.emitted import Emitted
from ppl.runtime.failures import refuse

__all__ = ["Executable", "Request", "Result", "compile_request"]


@functools.lru_cache(maxsize=64)
def _word(seed: int) -> np.uint64:
    """A seed as compiled code takes it."""
    return np.uint64(seed & 0xFFFFFFFFFFFFFFFF)


class Place(NamedTuple):
    """Where the rows of a plate stand in the data set: factor N/B, N, and the first of the rows or all of them."""

    scale: float
    total: int
    rows: Any


@dataclass(eq=False)
class Executable(Emitted):
    """A compiled request."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._module: Any = None
        self._entry_points: dict[tuple[str, bool], Any] = {}
        self._names = [n for n, _ in self.request.scalars]
        self._bools = [n for n, node in self.request.arrays if node.type.dtype == "bool"]
        self._totals = [self.places[f"total_{plate}"] for plate in self.plates]
        self._empty = np.zeros(0, np.int64)
        self._none = np.zeros(0, self.float)
        plain = not (self.axes or self.plates or self.request.inputs or self.request.arrays)
        usual = type(self)._call is Executable._call and type(self)._once is Executable._once
        self.plain = self.unrolled and plain and usual and not CHECKED

    @property
    def module(self) -> Any:
        """The emitted module, imported when first needed."""
        if self._module is None:
            with resting():
                self._module = cache.load(self.source, self.injected, self.functions, self.dtype)
            if self.title:
                titles[self._module.__name__] = self.title
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
            Place(
                1.0 if scales is None else scales.get(name, 1.0),
                rows[name] if total_rows is None else total_rows.get(name, rows[name]),
                0 if row_ids is None else row_ids.get(name, 0),
            )
            for name in self.plate_names
        ]
        new_aux = self._none if aux is None else np.array(aux, self.float)
        if grad is None:
            grad = self._empty_vector("grad", self.n_params if self.request.grads else 0)
        hyper = self._none if hyper is None else hyper
        given = (params, grad, new_aux, hyper, _word(seed), step, plates, data)
        parts = self._windows(sizes) if window is None else [(window[0], {**sizes, "n_particles": window[1]})]
        found = [self._once(first, size, given, threads) for first, size in parts]
        scalars, arrays = found[0]
        if len(found) > 1:
            scalars = {name: math.fsum(s[name] for s, _ in found) for name in scalars}
            arrays = {name: sum((a[name] for _, a in found[1:]), a0) for name, a0 in arrays.items()}
        return Result(scalars, grad, new_aux, arrays)

    def run_plain(
        self, params: np.ndarray, aux: np.ndarray | None, hyper: np.ndarray | None, seed: int, step: int
    ) -> Result:
        """`run` of a `plain` program, which has no rows, data or run-time sizes; Python takes most of its time."""
        new_aux = self._none if aux is None else np.array(aux, self.float)
        grad = np.empty(self.n_params if self.request.grads else 0, self.float)
        kept = getattr(self._local, "plain", None)
        if kept is None:
            kept = self._local.plain = (*self._work({}, 1, 1), self.module.one)
        w, v, one = kept
        one(params, grad, self._none, new_aux, self._none if hyper is None else hyper, _word(seed), step, w, v)
        return Result({name: w.item(i) for i, name in enumerate(self._names)}, grad, new_aux, {})

    def _once(
        self, first: int, sizes: dict[str, int], given: tuple[Any, ...], threads: int | None
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Run the window of particles that begins with `first`; returns the scalars and the arrays."""
        params, grad, new_aux, hyper, seed, step, plates, data = given
        slabs = self._slabs(sizes)
        threads = 1 if threads is None and self.takes_alone(sizes, slabs) else self._threads(slabs, threads)
        w, v = self._work(sizes, slabs, threads)
        if self.windowed:
            v[self.places["first_particle"]] = first
        firsts, ids = [], []
        for i, (scale, total, where) in enumerate(plates):
            w[i], v[self._totals[i]] = scale, total
            listed = isinstance(where, np.ndarray)
            firsts.append(0 if listed else int(where))
            ids.append(np.ascontiguousarray(where, np.int64) if listed else self._empty)
        out = self._empty_vector("out", self._out_size(sizes)) if self.request.arrays else self._none
        arguments = (params, grad, out, new_aux, hyper, seed, step, *firsts, *ids, w, v, *data)
        inputs = guards.contents((params, hyper, *data)) if CHECKED else []
        try:
            self._call(arguments, threads, sizes)
        except Exception as error:
            self.refuse(error)
        if CHECKED:
            guards.verify(self.memory, w, v, (slabs, threads), inputs)
        at = len(self.plates)
        scalars = dict(zip(self._names, w[at : at + len(self._names)].tolist(), strict=True))
        return scalars, self._found(out, sizes)

    def _found(self, out: np.ndarray, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
        """The arrays of a flat output."""
        arrays = self._arrays(out, sizes) if self.request.arrays else {}
        for name in self._bools:
            arrays[name] = arrays[name] != 0
        return arrays

    def _windows(self, sizes: dict[str, int]) -> list[tuple[int, dict[str, int]]]:
        """First particle and run-time sizes of every run that a call takes."""
        return self._once_for("windows", sizes, self._cut) if self.windowed else [(0, sizes)]

    def _cut(self, sizes: Mapping[str, int]) -> list[tuple[int, dict[str, int]]]:
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
            self._parallel(*arguments, threads, self.entry_points(threads), self._none)

    def takes_alone(self, sizes: Mapping[str, int], slabs: int) -> bool:
        """Whether a call that follows no other one takes its slabs on one thread."""
        sharing, flops = self.target.sharing, self.flops
        return slabs == 2 and self._once_for("alone", sizes, lambda known: taken_alone(sharing, flops.evaluate(known)))

    @functools.cached_property
    def _parallel(self) -> Any:
        return cpu_calls.from_python(self.module.parallel)

    def refuse(self, error: Exception) -> NoReturn:
        """Raise what the user gets for an `error` from a call of the module, which did not come to its end."""
        refuse(error, self.stages)

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
    return EXECUTABLES[target.printer](request, dtype, **assemble(request, dtype, target)[0])
