"""Measure variances of gradients at the initial parameters in the interpreter.

Whether a cost is symmetric, how sharply it bends and which units are sure are questions about numbers, and a few
interpreted gradients answer them. How many are drawn follows from the size of the graph, never from a clock, and their
noise from seed 0, so that the same program gets the same choice again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ppl.choosing.warm_start import (
    WEIGHT_PARTICLES,
    auxiliary_slots,
    combination_weights,
    moving_averages,
    warm_started,
)
from ppl.compiler.plan.closed_form_variance import AVERAGE_LAG, SHARED_AVERAGE_LAG, u_statistic_weights
from ppl.compiler.surrogate.variants import ProgramVariant
from ppl.errors import DataError, EstimatorError, NonFiniteError, ParameterError, SimulatorError
from ppl.inference.diagnose import adapt_state
from ppl.inference.gradient_samples import GradientSamples
from ppl.ir.node import Node, topological
from ppl.ir.op_facts import DRAWS
from ppl.ir.types import Kind
from ppl.lang.trace import ArgumentSpec
from ppl.runtime.call import Call
from ppl.runtime.compiled import Compiled
from ppl.runtime.prepared import PreparedProgram
from ppl.runtime.state import State

SMALL_GRAPH_ROWS, LARGE_GRAPH_ROWS, SHARED_NODE_ROWS = 32, 8, 1000
"""Rows that gradients are drawn on where all random nodes have rows, of small graphs and of large ones; and where some
do not, whose share of the noise depends on the number of rows."""

MANY_PARTICLES = 16
"""Particles at which a variance is measured besides 2."""

LEAST_GRADIENTS, WORK_BUDGET = 16, 4_000_000
"""Gradients at least; and entries of intermediate values that all of them together may have, beyond these."""

FLOPS_PER_ENTRY, ENTRIES_PER_DRAW = 10, 30
"""Multiplications in products that take as long as an entry of another value, and entries that take as long as a random
number of a gamma law or a count, which are drawn by rejection."""

ROUNDING = 1e-12
"""Variance relative to the squared mean, up to which it is rounding."""

MEASURING_ERRORS = (DataError, EstimatorError, NonFiniteError, ParameterError, SimulatorError, FloatingPointError)


class VarianceCurve(NamedTuple):
    """Variance by particles: 1/K of one's, or with baselines from the others about that of a U-statistic of order 2,
    known from its values at 2 and at `MOST` particles; and the relative standard error.
    """

    two: float
    most: float
    error: float

    def at(self, particles: int) -> float:
        """Return the variance with so many particles: never negative, nor below what `MANY_PARTICLES` show."""
        if particles < 2:
            return 2 * self.two
        (single, pair), (a, b) = u_statistic_weights(MANY_PARTICLES), u_statistic_weights(particles)
        alone = max((self.most - 2 * pair * self.two) / (4 * single), 0.0)  # of one particle
        return 4 * a * alone + 2 * b * max(self.two, 2 * alone)


class MeasuredVariance(NamedTuple):
    """The variance of gradients, summed over entries, and its standard error."""

    trace: float
    error: float


class InterpretedVariances:
    """Variances of programs of one objective.

    Parameters
    ----------
    program, examples : one of the programs, and its data.
    state : where to measure; None means the initial parameters.
    """

    def __init__(self, program: PreparedProgram, examples: Sequence[Any], state: State | None):
        given = program.read(examples)
        self.data = _spaced_rows(program.prepare(*examples), given, SMALL_GRAPH_ROWS)
        self._start = program.init(0, *self.data) if state is None else state
        if (
            _gradient_source(program, adapt_state(program, self._start, self.data), self.data, 8)[1]
            > WORK_BUDGET // LEAST_GRADIENTS
        ):
            self.data = _spaced_rows(program.prepare(*examples), given, LARGE_GRAPH_ROWS)
        self._drawn: dict[tuple[PreparedProgram, int, int], MeasuredVariance] = {}
        self._states: dict[PreparedProgram, State] = {}

    def curve(self, program: PreparedProgram, repeats: int) -> VarianceCurve | None:
        """Measure the variance of a program by `repeats` or fewer gradients; None where it is not finite."""
        numbers = (
            (2, MANY_PARTICLES) if any(c.estimator.validate(1) for c in _plan_of(program, self.data).values()) else (2,)
        )
        try:
            found = [self._draw(program, k, repeats) for k in numbers]
        except MEASURING_ERRORS:
            return None
        if not all(np.isfinite(d.trace) for d in found):
            return None
        two, last = found[0].trace, found[-1].trace
        lag = self._lag(program)
        error = found[0].error / two if two else 0.0
        return VarianceCurve(lag * two, lag * (last if len(found) > 1 else 2 * two / MANY_PARTICLES), error)

    def _draw(self, program: PreparedProgram, particles: int, repeats: int) -> MeasuredVariance:
        source, work = _gradient_source(program, self._settled(program), self.data, particles)
        count = int(np.clip(WORK_BUDGET // work, LEAST_GRADIENTS, repeats))
        key = program, particles, count
        if key not in self._drawn:
            self._drawn[key] = _measure_variance(source, count)
        return self._drawn[key]

    def _lag(self, program: PreparedProgram) -> float:
        """Return what the moving averages of a program add to its variance while it trains.

        Within combinations only their share is charged: with members that do not hang together, the best weight of one
        is the share of the variance that comes from it.
        """
        slots, nodes = auxiliary_slots(program, self.data), program.prepare(*self.data).graph.nodes
        owners = {name.rsplit("/", 1)[0]: name for name in moving_averages(slots)}
        if not owners:
            return 1.0
        shared = any(nodes[o].node.type.axes for o in owners if o in nodes)
        weights = [n for n in combination_weights(slots) if n.rsplit("/", 1)[0] in owners]
        combined = {n.rsplit("/", 1)[0] for n in weights}
        aux = self._settled(program).aux
        share = float(np.mean([np.clip(aux[n], 0, 1).mean() for n in weights])) if combined == set(owners) else 1.0
        return 1.0 + share * ((SHARED_AVERAGE_LAG if shared else AVERAGE_LAG) - 1.0)

    def _settled(self, program: PreparedProgram) -> State:
        """Return the state with moving averages and weights where they would come to."""

        def affordable(state: State) -> int:
            return WORK_BUDGET // _gradient_source(program, state, self.data, WEIGHT_PARTICLES)[1]

        if program not in self._states:
            self._states[program] = warm_started(program, self._start, self.data, affordable)
        return self._states[program]


def _gradient_source(
    program: PreparedProgram, state: State, data: Sequence[Any], particles: int
) -> tuple[GradientSamples, int]:
    """Gradients of a program, and the work of each."""
    source = GradientSamples(program, Call(state, data, 0, particles), backend="interpreter", dtype=np.float64)
    return source, _gradient_work(source.variant, {**source.bound.data.rows, "particles": particles, "repeats": 1})


def _measure_variance(source: GradientSamples, count: int) -> MeasuredVariance:
    """Measure the variance of so many gradients."""
    with np.errstate(all="ignore"):
        chunks = list(source(count))
        grads = {name: np.concatenate([c[name] for c in chunks]) for name in chunks[0] if name != "loss"}
        flat = [np.asarray(g, np.float64).reshape(count, -1) for g in grads.values()]
        means = [g.mean(0) for g in flat]
        distances = np.sum([((g - m) ** 2).sum(1) for g, m in zip(flat, means, strict=True)], axis=0)
    trace = float(distances.sum() / (count - 1))
    if trace <= ROUNDING * sum(float((m**2).sum()) for m in means):
        trace, distances = 0.0, np.zeros(1)
    return MeasuredVariance(trace, float(distances.std() / np.sqrt(count)))


def has_numbers(examples: Sequence[Any]) -> bool:
    """Return whether there are numbers to draw gradients on."""
    return not any(isinstance(x, ArgumentSpec) for x in examples)


def _plan_of(program: PreparedProgram, data: Sequence[Any]) -> Any:
    return program.prepare(*data).plan


def _spaced_rows(compiled: Compiled, data: Sequence[Any], count: int) -> tuple[Any, ...]:
    """Evenly spaced rows of what the outermost plate opens."""
    if not compiled.binder.plates:
        return tuple(data)
    first = compiled.binder.plates[0].name
    opened = {i.name for i in compiled.binder.inputs if i.plate is not None and i.plate.name == first}
    drawn = [rn for n, rn in compiled.graph.nodes.items() if compiled.plan[n].estimator.sampled]
    inside = all(any(a.name == first for a in rn.node.type.axes) for rn in drawn)
    most = count if inside else SHARED_NODE_ROWS
    length = next((len(x) for k, x in zip(compiled.binder.arguments, data, strict=True) if k in opened), 0)
    rows = np.unique(np.linspace(0, length - 1, most).astype(int)) if length > most else slice(None)
    return tuple(x[rows] if k in opened else x for k, x in zip(compiled.binder.arguments, data, strict=True))


def _gradient_work(variant: ProgramVariant, sizes: Mapping[str, int]) -> int:
    """Count the entries of all intermediate values of one gradient; draws and products in the same unit."""
    return max(_count_entries([variant.scalars["loss"], *variant.grads.values()], sizes), 1)


def _count_entries(roots: Sequence[Node], sizes: Mapping[str, int]) -> int:
    """Return those of the values that `roots` are made of, in every turn of a loop."""
    total = 0
    for node in topological(roots):
        if node.op == "loop":
            total += node.attrs["length"] * _count_entries(node.attrs["body"].computed, sizes)
        elif node.op == "contract":
            first, second = node.args
            labels = {**dict(zip(node.attrs["a"], first.type.shape, strict=True)),
                      **dict(zip(node.attrs["b"], second.type.shape, strict=True))}  # fmt: skip
            total += _axis_entries(first, sizes) * math.prod(labels.values()) // FLOPS_PER_ENTRY
        if any(a.kind is Kind.REPEATS for a in node.type.axes):
            total += _axis_entries(node, sizes) * node.type.event_size * (ENTRIES_PER_DRAW if node.op in DRAWS else 1)
    return total


def _axis_entries(node: Node, sizes: Mapping[str, int]) -> int:
    """Count the entries along the named axes of a value."""
    return math.prod(int(sizes[a.name] if a.size is None else a.size) for a in node.type.axes)
