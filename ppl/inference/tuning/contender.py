"""One way to estimate all gradients of a program, and what is known of it so far.

Gradients are drawn in the interpreter, so that nothing has to be compiled for them. All contenders of a tuning draw
with the same seed and in chunks of the same size, hence on common random numbers: where they share a node's sample,
they share its noise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ppl.errors import EstimatorError, ParameterError
from ppl.estimators.base import Estimator
from ppl.inference.diagnose import state_for
from ppl.inference.repeats import Chunk, Moments, Repeats
from ppl.inference.tuning.blocks import BLOCK, BlockMoments, blocks
from ppl.records import dataclass
from ppl.runtime.call import BoundCall, Call, bind, run
from ppl.runtime.state import State
from ppl.tuning import INTERPRETED_ENTRIES

PILOT_ENTRIES = 200_000
"""Entries of the largest intermediate value per repeat, above which variance is measured on some of the rows."""
PILOT_ROWS = 64
LARGEST_CHUNK = 250
"""Repeats that are drawn at once at most."""
CHUNK_SECONDS, CHUNK_SIZES = 0.02, (8, 100)
"""Seconds of a chunk of compiled steps, about, and its least and largest number."""
SAME = 1e-3
"""Relative difference of gradients' distances from their mean, on the same noise, up to which two choices count as one
estimator by two names."""
ROUNDING = 1e-12
"""Variance relative to the squared mean, up to which it is taken for rounding."""


@dataclass(frozen=True)
class Config:
    """Estimators by node, and a number of particles."""

    estimators: tuple[tuple[str, Estimator], ...]
    particles: int

    def having(self, **changes: Estimator) -> Config:
        """The same with other estimators for some nodes."""
        return replace(self, estimators=tuple((name, changes.get(name, e)) for name, e in self.estimators))

    def __getitem__(self, name: str) -> Estimator:
        return dict(self.estimators)[name]

    @property
    def biased(self) -> bool:
        """Whether an estimator is biased."""
        return any(e.biased for _, e in self.estimators)

    @property
    def exact(self) -> bool:
        """Whether nothing is drawn."""
        return not any(e.sampled for _, e in self.estimators)


class Contender:
    """A choice, a program that has it, and its measurements.

    Attributes
    ----------
    call : the call that is measured, with a state of the program.
    seconds, clock : of a step, and where they were taken.
    pace : seconds of an interpreted step.
    pooled : variance and standard error from contenders with other numbers of particles, too.
    squared_bias : of the mean gradient, where the choice is biased.
    """

    def __init__(self, config: Config, program: Any, call: Call):
        self.config, self.program = config, program
        state = state_for(program, call.state, call.data)
        self.call = replace(call, state=state, particles=config.particles)
        self.moments, self.chunks = Moments(), 0
        self.pooled: tuple[float, float] | None = None
        self.seconds, self.clock, self.pace, self.squared_bias = 0.0, "", 0.0, 0.0
        self._drawn: Iterator[Chunk] | None = None

    def pilot(self) -> Call:
        """The call that variances are measured in: on all rows, or on some where all take too much memory."""
        found = Repeats(self.program, self.call, backend="interpreter")
        if found.chunk < INTERPRETED_ENTRIES // PILOT_ENTRIES and found.bound.data.rows:
            return some_rows(self.call, found.bound)
        return self.call

    def source(self) -> Repeats:
        """Where gradients come from."""
        found = Repeats(self.program, self.pilot(), backend="interpreter")
        found.chunk = max(1, min(LARGEST_CHUNK, found.chunk * PILOT_ENTRIES // INTERPRETED_ENTRIES))
        return found

    def failed(self) -> ParameterError | None:
        """Why there is no gradient at this state, such as a probability of 0 for what sees draws only."""
        if self._drawn is None:
            try:
                next(self.source()(1))
            except ParameterError as error:
                return error
        return None

    @property
    def begun(self) -> bool:
        """Whether it is known where the next gradient comes from."""
        return self._drawn is not None

    def begin(self, chunk: int, source: Repeats) -> None:
        """Draw in chunks of this size from now on."""
        source.chunk = chunk
        self._drawn = source(10**9)

    def run_compiled(self, short: bool) -> None:
        """Begin again with gradients of compiled steps on all rows, in blocks if they are `short`."""
        self.chunks, self.pooled = 0, None
        if short and (found := blocks(self.program, self.call)) is not None:
            self.moments, self._drawn = BlockMoments(), found
            self.draw()
            if not self.moments.cancels:
                return
        self.moments, self.chunks = Moments(), 0
        bound = bind(self.program, self.call)
        run(bound, "gradient")
        self._drawn = _steps(bound, max(self.seconds, 1e-6))

    def settle(self, state: State) -> None:
        """Begin again with a state whose auxiliary variables have settled."""
        aux = {**state.aux, **{name: self.call.state.aux[name] for name in self.carried}}
        self.call = replace(self.call, state=self.call.state.replace(aux=aux))
        self.moments, self.chunks, self._drawn = Moments(), 0, None

    def draw(self) -> None:
        """Take in one more chunk of gradients."""
        assert self._drawn is not None
        self.moments.add(next(self._drawn))
        self.chunks += 1

    @property
    def adapts(self) -> bool:
        """Whether steps move auxiliary variables of estimators."""
        return bool(set(self.call.state.aux) - set(self.carried))

    @property
    def carried(self) -> Sequence[str]:
        """Values that models carry from step to step, which are auxiliary to no estimator."""
        return tuple(self.program.prepare(*self.call.data).trace.carried)

    @property
    def repeats(self) -> int:
        """Gradients drawn."""
        return self.moments.count

    @property
    def together(self) -> int:
        """Gradients that one entry of `distances` is the mean of."""
        return BLOCK if isinstance(self.moments, BlockMoments) else 1

    @property
    def alone(self) -> tuple[float, float]:
        """Variance of the whole gradient and its standard error, from its own gradients; infinite where one was."""
        total = self.moments.total()
        floor = ROUNDING * float((total.mean**2).sum())
        if not np.isfinite(total.trace):
            return float("inf"), 0.0
        return (total.trace, total.trace_error) if total.trace > floor else (0.0, 0.0)

    @property
    def trace(self) -> float:
        """Variance of the whole gradient; infinite where one was not finite."""
        return (self.pooled or self.alone)[0]

    @property
    def trace_error(self) -> float:
        """Its standard error."""
        return (self.pooled or self.alone)[1]

    @property
    def cost(self) -> float:
        """Variance × seconds; of a biased choice, mean squared error × seconds."""
        return (self.trace + self.squared_bias) * self.seconds

    @property
    def doubted(self) -> float:
        """The cost one standard error up: what few gradients say by luck does not count for a choice."""
        return self.cost + self.trace_error * self.seconds

    def behind(self, best: Contender) -> float:
        """Standard error of the difference of two costs, on common random numbers where no others are known of one.

        There is none where variances are those of one law of particles: then only times differ.
        """
        if self.pooled is not None or best.pooled is not None or self.together != best.together:
            if self.pooled is not None and self.config.estimators == best.config.estimators:
                return 0.0
            return math.hypot(self.trace_error * self.seconds, best.trace_error * best.seconds)
        pair = [c.seconds * c.distances() for c in (self, best)]
        count = min(map(len, pair))
        difference = pair[0][:count] - pair[1][:count]
        return float(difference.std() / np.sqrt(count))

    def distances(self) -> np.ndarray:
        """Squared distances of gradients from their mean."""
        names = [f"grad {name}" for name in self.moments.parameters]
        return np.sum([np.concatenate(self.moments.distances[name]) for name in names], axis=0)

    def compare_with(self, grads: Mapping[str, np.ndarray], errors: Mapping[str, np.ndarray]) -> None:
        """Set the squared bias to that against a reference, less what noise adds to it."""
        found = 0.0
        for name, reference in grads.items():
            mine = self.moments.gradient(f"grad {name}")
            noise = (mine.standard_error**2).sum() + (np.asarray(errors[name]) ** 2).sum()
            found += float(((mine.mean - reference) ** 2).sum() - noise)
        self.squared_bias = max(found, 0.0)


class Programs:
    """Programs by their choices, traced when they are first asked for."""

    def __init__(self, program: Any, data: Sequence[Any]):
        self._program, self._data = program, data
        self._made: dict[Any, Any] = {}

    def measuring(self, config: Config) -> Any:
        """A program of the choice's estimators that takes its number of particles, or in words why there is none."""
        complaint = next((c for _, e in config.estimators if (c := e.validate(config.particles)) is not None), None)
        if complaint is not None:
            return complaint
        if config.estimators not in self._made:
            self._made[config.estimators] = self.of(config)
        return self._made[config.estimators]

    def of(self, config: Config, **settings: Any) -> Any:
        """The program of a choice, or in words why there is none."""
        own, estimators = self._program, dict(config.estimators)
        asked = replace(
            own.settings, estimators=estimators, particles=config.particles, particles_because="", weighed=(),
            **settings,
        )  # fmt: skip
        try:
            made = type(own)(own.objective, asked)
            made.prepare(*self._data)
            return made
        except EstimatorError as error:
            return str(error)


def _steps(bound: BoundCall, seconds: float) -> Iterator[Chunk]:
    """Gradients of compiled steps with the noise of steps 0, 1, ..., in chunks that take about `CHUNK_SECONDS`."""
    size = int(np.clip(CHUNK_SECONDS / seconds, *CHUNK_SIZES))
    for start in itertools.count(0, size):
        found = [run(replace(bound, step=start + i), "gradient") for i in range(size)]
        grads = np.stack([result.grad for result in found])
        losses = np.array([result.scalars["loss"] for result in found])
        yield {"loss": losses, **{f"grad {k}": grads[:, part] for k, part in _places(bound)}}


def _places(bound: BoundCall) -> list[tuple[str, slice]]:
    return [(name, place) for name, place, _ in bound.compiled.layout.slices]


def some_rows(call: Call, bound: BoundCall) -> Call:
    """The call on the first rows of the data that the outermost plate opens, scaled to all of them."""
    binder = bound.compiled.binder
    first = binder.plates[0].name
    opened = {i.name for i in binder.inputs if i.plate is not None and i.plate.name == first}
    data = [x[:PILOT_ROWS] if k in opened else x for k, x in zip(binder.arguments, call.data, strict=True)]
    total = bound.data.rows[first] if call.total_rows is None else call.total_rows
    return replace(call, data=data, rows=None, total_rows=total)


def alike(a: Contender, b: Contender) -> bool:
    """Whether two choices give the same gradients."""
    count = min(a.repeats, b.repeats)
    return a.config.particles == b.config.particles and np.allclose(
        a.distances()[:count], b.distances()[:count], rtol=SAME, atol=0
    )
