"""Many independent gradient estimates of one program at one state: what diagnostics and tuning are computed from.

The "repeats" variant of a program has a leading axis into which parameters are expanded, so one evaluation gives one
gradient per repeat. Repeats run in chunks of a size fixed by the model, so that memory is bounded and the numbers do
not depend on where they are computed: in the reference interpreter, or compiled.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppl.arguments import shown
from ppl.compiler.surrogate.variants import Variant
from ppl.errors import OptionError
from ppl.ir.node import topological
from ppl.ir.reference.interpret import Env, evaluate
from ppl.ir.types import Kind
from ppl.runtime.binding import Bound
from ppl.runtime.call import Call
from ppl.runtime.nonfinite import refuse_violation
from ppl.runtime.state import State

ENTRIES = 2_000_000
"""Entries of the largest intermediate value in one chunk."""
LONGEST = 10_000
"""Repeats in one chunk at most."""
COMPILE_AFTER = 20.0
"""Seconds of interpretation that are worth a compilation."""
BACKENDS = ("auto", "interpreter", "compiled")

Chunk = dict[str, np.ndarray]


def environment(
    program: Any, state: State, bound: Bound, variant: Variant, sizes: Mapping[str, int], hyper: Any, **kw: Any
) -> Env:
    """What the interpreter needs to evaluate `variant` at `state` on `bound` data."""
    compiled = program.prepare()
    known = dict(zip(compiled.hypers, compiled.hyper_vector(hyper, state.step), strict=True))
    rows = {
        name: ids if isinstance(ids, np.ndarray) else ids + np.arange(bound.rows[name], dtype=np.int64)
        for name, ids in bound.row_ids.items()
    }
    fields: dict[str, Any] = {
        "params": state.params,
        "aux": {**variant.initial_aux(state.seed), **state.aux},
        "hyper": {**variant.hypers, **known},
        "inputs": {spec.name: a for spec, a in zip(compiled.binder.inputs, bound.arrays, strict=True)},
        "sizes": {**bound.rows, **sizes},
        "rows": rows,
        "scales": bound.scales,
        "total_rows": bound.totals,
        "dtype": np.dtype(program.settings.dtype).type,
    }
    return Env(**{**fields, **kw})


class Repeats:
    """Independent gradients of `program` at `state`.

    Parameters
    ----------
    variant : another gradient variant with a repeats axis than the program's own (interpreted only).
    backend : "interpreter", "compiled", or "auto": interpret the first chunk, and compile if the rest of them would
        take longer than `COMPILE_AFTER` seconds.
    """

    def __init__(
        self,
        program: Any,
        state: State,
        data: Sequence[Any],
        particles: int | None = None,
        total_rows: Any = None,
        rows: Any = None,
        hyper: Any = None,
        backend: str = "auto",
        variant: Variant | None = None,
        dtype: Any = None,
    ):
        if backend not in BACKENDS:
            raise OptionError(f"backend must be one of {BACKENDS}, not {shown(backend)}")
        self.program, self.state, self.hyper = program, state, hyper
        self.compiled = program.prepare(*data)
        self.compiled.check_state(state)
        self.particles = program.settings.particles if particles is None else particles
        if self.particles != program.settings.particles and variant is None:
            program._check_particles(self.compiled, self.particles)
        self.bound = self.compiled.binder.bind(data, rows, total_rows)
        self.backend = "interpreter" if variant is not None else backend
        call = Call(state, data, None, self.particles, total_rows, rows, hyper)
        self.refuse = None if variant else functools.partial(refuse_violation, program, call, "gradient")
        self.variant = variant or self.compiled.variant("repeats")
        self.dtype = np.dtype(dtype or program.settings.dtype).type
        self.chunk = self._chunk()
        self.used = "interpreter"

    def _chunk(self) -> int:
        sizes = {**self.bound.rows, "particles": self.particles, "repeats": 1}
        largest = 1
        for node in topological([self.variant.scalars["loss"], *self.variant.grads.values()]):
            if any(a.kind is Kind.REPEATS for a in node.type.axes):
                lengths = [int(sizes[a.name] if a.size is None else a.size) for a in node.type.axes]
                largest = max(largest, int(np.prod(lengths, dtype=np.int64)) * node.type.event_size)
        return int(np.clip(ENTRIES // largest, 1, LONGEST))

    def __call__(self, repeats: int, seed: int | None = None) -> Iterator[Chunk]:
        """Chunks of {"loss": (n,), "grad name": (n, *shape)} with `repeats` entries in all.

        Raises
        ------
        ParameterError : a loss is not finite, and a parameter of a distribution is out of range.
        """
        key = self.state.seed if seed is None else int(seed)
        compiled = self.backend == "compiled"
        for k, start in enumerate(range(0, repeats, self.chunk)):
            n, began = min(self.chunk, repeats - start), time.perf_counter()
            self.used = "compiled" if compiled else "interpreter"
            chunk = self._compiled(n, key, k) if compiled else self._interpreted(n, key, k)
            if self.refuse is not None and not np.isfinite(chunk["loss"]).all():
                self.refuse()
            yield chunk
            left = (repeats - start - n) / self.chunk
            if self.backend == "auto" and left * (time.perf_counter() - began) > COMPILE_AFTER:
                compiled = True

    def _interpreted(self, n: int, seed: int, step: int) -> Chunk:
        sizes = {"repeats": n, "particles": self.particles}
        env = environment(
            self.program, self.state, self.bound, self.variant, sizes, self.hyper, seed=seed, step=step,
            dtype=self.dtype,
        )  # fmt: skip
        nodes = {"loss": self.variant.scalars["loss"], **{f"grad {k}": g for k, g in self.variant.grads.items()}}
        found = evaluate(list(nodes.values()), env)
        return {name: np.broadcast_to(a, (n, *np.shape(a)[1:])) for name, a in zip(nodes, found, strict=True)}

    def _compiled(self, n: int, seed: int, step: int) -> Chunk:
        result = self.compiled.executable("repeats").run(
            self.state._flat,
            self.state._aux,
            self.compiled.hyper_vector(self.hyper, self.state.step),
            self.bound.arrays,
            rows=self.bound.rows,
            row_ids=self.bound.row_ids,
            scales=self.bound.scales,
            total_rows=self.bound.totals,
            particles=self.particles,
            repeats=n,
            seed=seed,
            step=step,
        )
        return dict(result.arrays)


@dataclass(frozen=True)
class Gradient:
    """Statistics of the gradient of one parameter, or of all together.

    Attributes
    ----------
    mean, variance, standard_error : arrays of the parameter's shape; the error is that of the mean.
    trace, trace_error : sum of the variances, and its standard error.
    snr : ‖mean‖ / sqrt(trace), with the noise of the estimated mean subtracted from its square (0 where that is less).
    """

    mean: np.ndarray
    variance: np.ndarray
    standard_error: np.ndarray
    trace: float
    trace_error: float
    snr: float


class Moments:
    """Running moments of gradients: means and variances per entry, squared distances per repeat."""

    def __init__(self) -> None:
        self.count = 0
        self.center: dict[str, np.ndarray] = {}
        self.sums: dict[str, np.ndarray] = {}
        self.squares: dict[str, np.ndarray] = {}
        self.distances: dict[str, list[np.ndarray]] = {}

    def add(self, chunk: Chunk) -> None:
        """Take one chunk in."""
        for name, values in chunk.items():
            values = np.asarray(values, np.float64)
            if name not in self.center:
                self.center[name] = values.mean(0)
                self.sums[name] = np.zeros(values.shape[1:])
                self.squares[name] = np.zeros(values.shape[1:])
                self.distances[name] = []
            moved = values - self.center[name]
            self.sums[name] += moved.sum(0)
            self.squares[name] += (moved**2).sum(0)
            self.distances[name].append((moved**2).reshape(len(values), -1).sum(1))
        self.count += len(chunk["loss"])

    def gradient(self, *names: str) -> Gradient:
        """Statistics of the concatenated outputs `names`."""
        n = self.count
        mean = [self.center[k] + self.sums[k] / n for k in names]
        drift = [self.sums[k] / n for k in names]
        scale = n / max(n - 1, 1)
        variance = [np.maximum(self.squares[k] / n - d**2, 0) * scale for k, d in zip(names, drift, strict=True)]
        distance = np.sum([np.concatenate(self.distances[k]) for k in names], axis=0)
        flat = [np.concatenate([np.ravel(x) for x in xs]) if len(names) != 1 else xs[0] for xs in (mean, variance)]
        trace = float(flat[1].sum())
        signal = max(float((flat[0] ** 2).sum()) - trace / n, 0.0)
        snr = float(np.sqrt(signal / trace)) if trace > 0 else float("inf")
        return Gradient(flat[0], flat[1], np.sqrt(flat[1] / n), trace, float(distance.std() / np.sqrt(n)), snr)

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters."""
        return [k.removeprefix("grad ") for k in self.center if k != "loss"]

    def total(self) -> Gradient:
        """Statistics of the whole gradient."""
        return self.gradient(*(f"grad {k}" for k in self.parameters))


def seconds_per_step(
    program: Any, state: State, data: Sequence[Any], budget: float = 0.2, most: int = 200, **options: Any
) -> float:
    """Median seconds of `program.step`, compilation not counted."""
    program.step(state, *data, **options)
    found: list[float] = []
    until = time.perf_counter() + budget
    while len(found) < 3 or (len(found) < most and time.perf_counter() < until):
        began = time.perf_counter()
        program.step(state, *data, **options)
        found.append(time.perf_counter() - began)
    return float(np.median(found))
