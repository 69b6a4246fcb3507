"""Draw many independent gradient estimates of a program at one state: what diagnosis and choosing are computed from.

The "repeats" variant of a program has a leading axis into which parameters are expanded, so one evaluation gives one
gradient per repeat. Repeats run in chunks of a size fixed by the model, so that memory is bounded and the numbers do
not depend on where they are computed: in the reference interpreter, or compiled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ppl.arguments import MANY, flag, integer, noise_seed, one_of, optional, shown, within
from ppl.compiler.surrogate.variants import ProgramVariant
from ppl.errors import OptionError
from ppl.ir.node import topological
from ppl.ir.reference.interpret import evaluate
from ppl.ir.types import Kind
from ppl.records import dataclass
from ppl.runtime.call import Call, bind_call
from ppl.runtime.nonfinite import raise_if_violated
from ppl.runtime.state import State
from ppl.tuning import COMPILE_AFTER, INTERPRETED_ENTRIES, INTERPRETED_REPEATS

MEASUREMENT_RULES: dict[str, Any] = {
    "repeats": within(integer, low=2, high=MANY),
    "particles": optional(within(integer, low=1, high=MANY)),
    "seed": optional(noise_seed),
    "timing": flag,
    "backend": one_of("auto", "interpreter", "compiled"),
}
"""Rules of the arguments that measuring gradients has in common."""

BACKENDS = ("auto", "interpreter", "compiled")

GradientChunk = dict[str, np.ndarray]


class GradientSamples:
    """Independent gradients of a program: those of one call, with its seed and one step number per chunk.

    Parameters
    ----------
    variant : another gradient variant with a repeats axis than the program's own (interpreted only).
    backend : "interpreter", "compiled", or "auto": interpret the first chunk, and compile if the rest of them would
        take longer than `COMPILE_AFTER` seconds.
    """

    def __init__(
        self, program: Any, call: Call, backend: str = "auto", variant: ProgramVariant | None = None, dtype: Any = None
    ):
        if backend not in BACKENDS:
            raise OptionError(f"backend must be one of {BACKENDS}, not {shown(backend)}")
        self.bound = bind_call(program, call)
        self.compiled, self.particles = self.bound.compiled, self.bound.particles
        if self.particles != program.settings.particles and variant is None:
            self.compiled.check_particles(self.particles)
        self.backend = "interpreter" if variant is not None else backend
        self.own = variant is None
        self.variant = variant or self.compiled.variant("repeats")
        if not self.variant.grads:
            raise OptionError("the program has no parameters (ppl.param, ppl.dense), so it has no gradient to look at")
        self.dtype = np.dtype(dtype or program.settings.dtype).type
        self.chunk = self._chunk()
        self.used = "interpreter"

    def _chunk(self) -> int:
        sizes = {**self._sizes(), "particles": self.particles, "repeats": 1}
        largest = 1
        for node in topological([self.variant.scalars["loss"], *self.variant.grads.values()]):
            if any(a.kind is Kind.REPEATS for a in node.type.axes):
                lengths = [int(sizes[a.name] if a.size is None else a.size) for a in node.type.axes]
                largest = max(largest, int(np.prod(lengths, dtype=np.int64)) * node.type.event_size)
        return int(np.clip(INTERPRETED_ENTRIES // largest, 1, INTERPRETED_REPEATS))

    def _sizes(self) -> dict[str, int]:
        """Return the rows of a call, by plate."""
        return self.bound.data.rows

    def __call__(self, repeats: int) -> Iterator[GradientChunk]:
        """Chunks of {"loss": (n,), "grad name": (n, *shape)} with `repeats` entries in all.

        Raises
        ------
        ParameterError : a loss is not finite, and a parameter of a distribution is out of range.
        """
        compiled = self.backend == "compiled"
        for k, start in enumerate(range(0, repeats, self.chunk)):
            n, began = min(self.chunk, repeats - start), time.perf_counter()
            self.used = "compiled" if compiled else "interpreter"
            chunk = self._compiled(n, k) if compiled else self._interpreted(n, k)
            if self.own and not np.isfinite(chunk["loss"]).all():
                raise_if_violated(self.bound, "gradient")
            yield chunk
            left = (repeats - start - n) / self.chunk
            if self.backend == "auto" and left * (time.perf_counter() - began) > COMPILE_AFTER:
                compiled = True

    def moments(self, repeats: int) -> GradientMoments:
        """Return the moments of so many gradients."""
        found = GradientMoments()
        for chunk in self(repeats):
            found.add(chunk)
        return found

    def _interpreted(self, n: int, step: int) -> GradientChunk:
        env = self.bound.environment(self.variant, sizes={"repeats": n}, step=step, dtype=self.dtype)
        nodes = {"loss": self.variant.scalars["loss"], **{f"grad {k}": g for k, g in self.variant.grads.items()}}
        found = evaluate(list(nodes.values()), env)
        return {name: np.broadcast_to(a, (n, *np.shape(a)[1:])) for name, a in zip(nodes, found, strict=True)}

    def _compiled(self, n: int, step: int) -> GradientChunk:
        return dict(self.bound.run(self.compiled.executable("repeats"), repeats=n, step=step).arrays)


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


class GradientMoments:
    """Running moments of gradients: means and variances per entry, squared distances per repeat."""

    def __init__(self) -> None:
        self.count = 0
        self.center: dict[str, np.ndarray] = {}
        self.sums: dict[str, np.ndarray] = {}
        self.squares: dict[str, np.ndarray] = {}
        self.distances: dict[str, list[np.ndarray]] = {}

    def add(self, chunk: GradientChunk) -> None:
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
        return Gradient(
            flat[0], flat[1], np.sqrt(flat[1] / n), trace, float(distance.std() / np.sqrt(len(distance))), snr
        )

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters."""
        return [k.removeprefix("grad ") for k in self.center if k != "loss"]

    def total(self) -> Gradient:
        """Statistics of the whole gradient."""
        return self.gradient(*(f"grad {k}" for k in self.parameters))


def step(program: Any, call: Call) -> State:
    """Return the state after `program.step`."""
    options = {name: getattr(call, name) for name in ("seed", "particles", "rows", "total_rows", "hyper")}
    return program.step(call.state, *call.data, **options)[2]
