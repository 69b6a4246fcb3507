"""Contenders of `ppl.tune`: choices of estimators and particles with their programs, gradients and seconds.

Gradients are drawn in the interpreter, so that nothing has to be compiled for them, or by compiled steps in blocks. All
contenders of a tuning draw with the same seed and in chunks of the same size, hence on common random numbers. Those
that differ in the number of particles alone share one law of variance."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ppl.choosing.frozen_steps import FrozenSteps
from ppl.compiler.plan.closed_form_variance import u_statistic_weights
from ppl.compiler.plan.plan import Configuration, JointChoice, MeasuredCandidate
from ppl.errors import EstimatorError, ParameterError
from ppl.estimators.base import Estimator
from ppl.inference.diagnose import adapt_state
from ppl.inference.gradient_samples import GradientChunk, GradientMoments, GradientSamples
from ppl.runtime.call import BoundCall, Call, bind_call, run_variant
from ppl.runtime.state import State
from ppl.training.optim.first_order import Adam
from ppl.tuning import INTERPRETED_ENTRIES

STEPS_PER_BLOCK, BLOCKS_PER_CHUNK = 50, 10
"""Steps of a block, and blocks of a chunk."""

SHORT_STEP_SECONDS = 1e-3
"""Seconds of a step up to which blocks are used: longer ones cost more than their calls."""

BLOCK_DECAY = 1 - 2.0**-20
"""What is left of a running mean after a step; 32 bits hold it and its distance from 1 exactly."""

CANCELLATION = 1e-3
"""Variance relative to the squared mean, below which the difference of means of 32 bits says too little."""


class BlockMoments(GradientMoments):
    """Moments from blocks. `count` is that of gradients; `distances` has the mean squared distance of each block."""

    def add(self, chunk: GradientChunk) -> None:
        """Take blocks in: of every parameter the means of the gradient, and of its squares as "square name"."""
        for name in [name for name in chunk if name.startswith("grad ")]:
            means, squares = chunk[name], chunk[f"square {name.removeprefix('grad ')}"]
            if name not in self.center:
                self.center[name] = means.mean(0)
                self.sums[name], self.squares[name] = np.zeros((2, *means.shape[1:]))
                self.distances[name] = []
            center = self.center[name]
            moved = np.maximum(squares - center * (2 * means - center), 0)
            self.sums[name] += STEPS_PER_BLOCK * (means - center).sum(0)
            self.squares[name] += STEPS_PER_BLOCK * moved.sum(0)
            self.distances[name].append(moved.reshape(len(moved), -1).sum(1))
            blocks = len(means)
        self.count += STEPS_PER_BLOCK * blocks

    @property
    def cancels(self) -> bool:
        """Whether the variance is lost in the rounding of sums."""
        total = self.total()
        return not total.trace > CANCELLATION * float((total.mean**2).sum())


def block_gradients(program: Any, call: Call) -> Iterator[GradientChunk] | None:
    """Chunks for `BlockMoments`, from steps with the noise of the state's step and those behind it.

    None where no compiled loop takes the steps in this machine's memory. Auxiliary variables move as in training.
    """
    steps = FrozenSteps(program, call, Adam(0.0, BLOCK_DECAY, BLOCK_DECAY))
    return _block_chunks(steps, program.prepare(*call.data).layout.slices) if steps.sums_up else None


def _block_chunks(steps: FrozenSteps, slices: Any) -> Iterator[GradientChunk]:
    share = 1 - BLOCK_DECAY**STEPS_PER_BLOCK
    while True:
        found = np.array([steps.sums(STEPS_PER_BLOCK) for _ in range(BLOCKS_PER_CHUNK)]) / share
        parts = zip(("grad", "square"), (found[:, 0], found[:, 1]), strict=True)
        yield {
            f"{word} {k}": a[:, place].reshape(BLOCKS_PER_CHUNK, *shape)
            for word, a in parts
            for k, place, shape in slices
        }


PILOT_ENTRIES = 200_000
"""Entries of the largest intermediate value per repeat, above which variance is measured on some of the rows."""

PILOT_ROWS = 64

LARGEST_CHUNK = 250
"""Repeats that are drawn at once at most."""

CHUNK_SECONDS, CHUNK_SIZES = 0.02, (8, 100)
"""Seconds of a chunk of compiled steps, about, and its least and largest number."""

SAME_GRADIENTS = 1e-3
"""Relative difference of gradients' distances from their mean, on the same noise, up to which two choices count as one
estimator by two names."""

ROUNDING = 1e-12
"""Variance relative to the squared mean, up to which it is taken for rounding."""


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

    def __init__(self, config: Configuration, program: Any, call: Call):
        self.config, self.program = config, program
        state = adapt_state(program, call.state, call.data)
        self.call = replace(call, state=state, particles=config.particles)
        self.moments, self.chunks = GradientMoments(), 0
        self.pooled: tuple[float, float] | None = None
        self.seconds, self.clock, self.pace, self.squared_bias = 0.0, "", 0.0, 0.0
        self._drawn: Iterator[GradientChunk] | None = None

    def pilot(self) -> Call:
        """Return the call that variances are measured in: on all rows, or on some where all take too much memory."""
        found = GradientSamples(self.program, self.call, backend="interpreter")
        if found.chunk < INTERPRETED_ENTRIES // PILOT_ENTRIES and found.bound.data.rows:
            return restrict_rows(self.call, found.bound)
        return self.call

    def source(self) -> GradientSamples:
        """Return where gradients come from."""
        found = GradientSamples(self.program, self.pilot(), backend="interpreter")
        found.chunk = max(1, min(LARGEST_CHUNK, found.chunk * PILOT_ENTRIES // INTERPRETED_ENTRIES))
        return found

    def failed(self) -> ParameterError | None:
        """Say why there is no gradient at this state, such as a probability of 0 for what sees draws only."""
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

    def begin(self, chunk: int, source: GradientSamples) -> None:
        """Draw in chunks of this size from now on."""
        source.chunk = chunk
        self._drawn = source(10**9)

    def run_compiled(self, short: bool) -> None:
        """Begin again with gradients of compiled steps on all rows, in blocks if they are `short`."""
        self.chunks, self.pooled = 0, None
        if short and (found := block_gradients(self.program, self.call)) is not None:
            self.moments, self._drawn = BlockMoments(), found
            self.draw()
            if not self.moments.cancels:
                return
        self.moments, self.chunks = GradientMoments(), 0
        bound = bind_call(self.program, self.call)
        run_variant(bound, "gradient")
        self._drawn = _compiled_gradients(bound, max(self.seconds, 1e-6))

    def settle(self, state: State) -> None:
        """Begin again with a state whose auxiliary variables have settled."""
        aux = {**state.aux, **{name: self.call.state.aux[name] for name in self.carried}}
        self.call = replace(self.call, state=self.call.state.replace(aux=aux))
        self.moments, self.chunks, self._drawn = GradientMoments(), 0, None

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
        return STEPS_PER_BLOCK if isinstance(self.moments, BlockMoments) else 1

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


class ProgramsByChoice:
    """Programs by their choices, traced when they are first asked for."""

    def __init__(self, program: Any, data: Sequence[Any]):
        self._program, self._data = program, data
        self._made: dict[Any, Any] = {}

    def measuring(self, config: Configuration) -> Any:
        """Return a program of the choice's estimators that takes its particles, or in words why there is none."""
        complaint = next((c for _, e in config.estimators if (c := e.validate(config.particles)) is not None), None)
        if complaint is not None:
            return complaint
        if config.estimators not in self._made:
            self._made[config.estimators] = self.of(config)
        return self._made[config.estimators]

    def of(self, config: Configuration, **settings: Any) -> Any:
        """Return the program of a choice, or in words why there is none."""
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


def _compiled_gradients(bound: BoundCall, seconds: float) -> Iterator[GradientChunk]:
    """Gradients of compiled steps with the noise of steps 0, 1, ..., in chunks that take about `CHUNK_SECONDS`."""
    size = int(np.clip(CHUNK_SECONDS / seconds, *CHUNK_SIZES))
    for start in itertools.count(0, size):
        found = [run_variant(replace(bound, step=start + i), "gradient") for i in range(size)]
        grads = np.stack([result.grad for result in found])
        losses = np.array([result.scalars["loss"] for result in found])
        yield {"loss": losses, **{f"grad {k}": grads[:, part] for k, part in _gradient_slices(bound)}}


def _gradient_slices(bound: BoundCall) -> list[tuple[str, slice]]:
    return [(name, place) for name, place, _ in bound.compiled.layout.slices]


def restrict_rows(call: Call, bound: BoundCall) -> Call:
    """Return the call on the first rows of the data that the outermost plate opens, scaled to all of them."""
    binder = bound.compiled.binder
    first = binder.plates[0].name
    opened = {i.name for i in binder.inputs if i.plate is not None and i.plate.name == first}
    data = [x[:PILOT_ROWS] if k in opened else x for k, x in zip(binder.arguments, call.data, strict=True)]
    total = bound.data.rows[first] if call.total_rows is None else call.total_rows
    return replace(call, data=data, rows=None, total_rows=total)


def same_gradients(a: Contender, b: Contender) -> bool:
    """Return whether two choices give the same gradients."""
    count = min(a.repeats, b.repeats)
    return a.config.particles == b.config.particles and np.allclose(
        a.distances()[:count], b.distances()[:count], rtol=SAME_GRADIENTS, atol=0
    )


def measured_candidate(estimator: Estimator, found: Contender | str) -> MeasuredCandidate:
    """Return a candidate of a node."""
    if isinstance(found, str):
        return MeasuredCandidate(estimator, rejected=found)
    return MeasuredCandidate(
        estimator, found.trace, found.trace_error, found.seconds, found.repeats, found.clock,
        particles=found.config.particles, squared_bias=found.squared_bias,
    )  # fmt: skip


def joint_choice(found: Contender, taken: bool) -> JointChoice:
    """Return a whole choice."""
    config = found.config
    return JointChoice(
        config.estimators, config.particles, found.trace, found.trace_error, found.squared_bias, found.seconds,
        found.repeats, found.clock, taken,
    )  # fmt: skip


def variance_law_terms(config: Configuration) -> tuple[float, ...]:
    """Return what the unknowns of the law are multiplied by at the choice's number of particles; none where there is no
    law.

    Weights of particles that follow their costs, and those of a combination with such baselines, obey none.
    """
    estimators, k = [e for _, e in config.estimators], config.particles
    if any(e.biased for e in estimators):
        return ()
    if not uses_other_particles(config):
        return (1 / k,)
    if k < 2 or any(map(_weights_particles, estimators)):
        return ()
    return u_statistic_weights(k)


def uses_other_particles(config: Configuration) -> bool:
    """Return whether a baseline is made of the other particles' costs: then the variance falls faster than 1/K."""
    return any(_baseline_uses_others(e) for _, e in config.estimators)


def _baseline_uses_others(estimator: Estimator) -> bool:
    return estimator.validate(1) is not None


def _weights_particles(estimator: Estimator) -> bool:
    combined = bool(getattr(estimator, "members", ())) and _baseline_uses_others(estimator)
    return combined or getattr(estimator, "baseline", None) == "optimal"


def variance_ratio(config: Configuration, particles: int) -> float:
    """About by what factor the variance changes with another number of particles, as known before it is measured."""
    if uses_other_particles(config):
        return (config.particles - 1) / (particles - 1)
    return config.particles / particles


def pool_variances(contenders: Sequence[Contender]) -> None:
    """Give contenders that differ in particles alone the variances of the law that fits all their gradients best."""
    groups: dict[tuple[tuple[str, Estimator], ...], list[Contender]] = {}
    for c in contenders:
        c.pooled = None
        if c.repeats > 1 and variance_law_terms(c.config):
            groups.setdefault(c.config.estimators, []).append(c)
    for group in groups.values():
        _fit_variance_law(group)


def _fit_variance_law(group: Sequence[Contender]) -> None:
    """Least squares of K × variance, weighted by the numbers of gradients."""
    terms = np.array([variance_law_terms(c.config) for c in group])
    found = np.array([c.alone for c in group])
    if len(group) <= terms.shape[1] or not (np.isfinite(found).all() and (found[:, 0] > 0).all()):
        return
    weights = np.array([c.config.particles * np.sqrt(c.repeats) for c in group])
    solve = np.linalg.pinv(weights[:, None] * terms) * weights
    unknown, errors = solve @ found[:, 0], solve * found[:, 1]
    fitted, spread = terms @ unknown, np.sqrt(((terms @ errors) ** 2).sum(1))
    if (fitted <= 0).any():
        return
    for c, value, error in zip(group, fitted, spread, strict=True):
        c.pooled = float(value), float(error)
