"""Choose estimators and the number of particles by the least expected variance × time (`particles="auto"`).

The computation above the first random node, such as an encoder, runs once however many particles there are; everything
below runs for each. So the time of a step is a + b · particles, given by the cost model. Variances are measured
at the initial parameters by some interpreted gradients (`interpreted_variance`); where there are no data to draw them
on, they are closed forms (`ppl.compiler.plan.closed_form_variance`). The plan of the decision table and those that put
other estimators first (`candidates`) are compared at every number of particles that admits them. Nothing is timed: the
same program and data get the same choice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

from ppl.choosing.candidates import PARTICLE_COUNTS, FirstEstimators, mixed_plans, uniform_plans
from ppl.choosing.cost_model import OperationCounts, count_operations, step_nanoseconds
from ppl.choosing.interpreted_variance import InterpretedVariances, has_numbers
from ppl.compiler.pipeline import Settings
from ppl.compiler.plan.decision_table import choose_estimators, expected_variance
from ppl.compiler.plan.feasibility import plan_needs_unrolling
from ppl.compiler.plan.plan import JointChoice, Plan
from ppl.errors import EstimatorError
from ppl.estimators.base import Estimator
from ppl.lang.carried import require_one_particle
from ppl.progress import line
from ppl.runtime.compiled import Compiled
from ppl.runtime.prepared import PreparedProgram
from ppl.runtime.state import State

COST_SLACK = 1.05
"""How far above the least variance × time the choice may lie."""

TRIALS_EXPLAINED = 5
"""Trials that `explain()` lists."""

TRIALS_PICTURED = 40
"""Those that notebooks draw."""

PRICED_ROWS = 100
"""Rows that steps are priced for, at most, and where the number of rows is not known: a usual minibatch."""

FEW_GRADIENTS, MANY_GRADIENTS = 250, 4000
"""Gradients of each plan, and of those that are then within `CLOSE` of the best."""

CLOSE_FACTOR, COPIES_DOUBT = 2.0, 4.0
"""The second: how much better a plan of more than `max_copies` copies must look, unless it is exact. Prices are of long
loops, and copies of a few units are short ones."""

MOST_UNROLLED_STEPS = 500
"""Steps of loops over time, in all copies, up to which plans of more than `max_copies` copies are weighed."""

MakeProgram = Callable[[Settings], PreparedProgram]


class WeighedPlan(NamedTuple):
    """A plan: the `max_copies` that it was made with, its program, the counts of a step, its variance by particles, and
    the factor by which the price of a step may be too low.
    """

    most: int
    plan: Plan
    program: PreparedProgram
    counts: OperationCounts
    variance: Callable[[int], float]
    doubt: float = 1.0


class Trial(NamedTuple):
    """A plan at a number of particles: the variance to expect, and microseconds of a step."""

    particles: int
    weighed: WeighedPlan
    variance: float
    microseconds: float

    @property
    def product(self) -> float:
        """Variance × time; with the doubt in the time of a plan of more copies than the decision table may spend."""
        return self.variance * self.microseconds * self.weighed.doubt

    @property
    def order(self) -> tuple[float, float]:
        """The least product first; of exact ones the fastest."""
        return self.product, self.microseconds


def choose_particles(
    make: MakeProgram, settings: Settings, examples: Sequence[Any], state: State | None = None
) -> Settings:
    """Return `settings` with the number of particles chosen, and why.

    Parameters
    ----------
    make : makes a program of settings.
    examples : the data that `ppl.compile` was given; there must be some where the model has arguments.
    state : where variances are measured; None means the initial parameters.

    Raises
    ------
    EstimatorError
        The number cannot vary, or nothing is known of what steps take: no data, carried values that random nodes
        move, a CUDA target; or no number admits the estimators that were named.
    """
    weighing = PlanWeighing(make, settings, examples, state)
    if weighing.exact:
        return replace(settings, particles=1, particles_because="no estimate has noise that more would average")
    with line.during(lambda: f"weighing estimators and particles, {len(weighing.weighed)} plans"):
        trials = weighing.trials()
    best, shown = min(t.product for t in trials), sorted(trials, key=lambda t: t.order)[:TRIALS_PICTURED]
    if not best:
        trials = [min(trials, key=lambda t: t.order)]
    found = min((t for t in trials if t.product <= COST_SLACK * best), key=lambda t: t.particles)  # the table's order
    because = _explain_choice(found, trials, weighing.measured)
    plan, most = found.weighed.plan.as_dict(), found.weighed.most
    weighed = tuple(_joint_choice_of(t, t is found) for t in (*(t for t in shown if t is not found), found))
    return replace(settings, particles=found.particles, first=plan, max_copies=most, particles_because=because,
                   weighed=weighed)  # fmt: skip


class PlanWeighing:
    """The plans of one program, each weighed once."""

    def __init__(self, make: MakeProgram, settings: Settings, examples: Sequence[Any], state: State | None):
        self.make, self.settings, self.examples = make, settings, examples
        self.weighed: dict[str, WeighedPlan] = {}
        self.bases = self._bases()
        base = self.bases[max(self.bases)]
        self.compiled = base.prepare(*examples)
        _require_variable_particles(self.compiled)
        self.rows = _rows_by_plate(self.compiled, examples)
        self.exact = not any(choice.estimator.sampled for choice in self.compiled.plan.values())
        self.measured: InterpretedVariances | None = None
        if not self.exact and has_numbers(examples):
            try:
                self.measured = InterpretedVariances(base, examples, state)
            except EstimatorError:
                self.measured = None

    def _bases(self) -> dict[int, PreparedProgram]:
        """Return the table's programs for one particle, and for the first larger number that there is one for."""
        found: dict[int, PreparedProgram] = {}
        refused: EstimatorError | None = None
        for number in PARTICLE_COUNTS:
            try:
                found[number] = self._program(number, {})
            except EstimatorError as error:
                refused = refused or error
            if number > 1 and number in found:
                break
        if not found:
            assert refused is not None
            raise refused
        return found

    def _program(self, number: int, first: FirstEstimators, most: int | None = None) -> PreparedProgram:
        most = self.settings.max_copies if most is None else most
        settings = replace(self.settings, particles=number, first=first, max_copies=most)
        return _prepare_program(self.make(settings), self.examples)

    @property
    def _evaluations(self) -> int:
        """Those of the largest number of particles: with one, a plan may have as many copies."""
        return PARTICLE_COUNTS[-1] * self.settings.max_copies

    def trials(self) -> list[Trial]:
        """Return all plans at all numbers of particles."""
        self._weigh(uniform_plans(self.compiled.graph, self.compiled.plan, self.measured is not None))
        self._weigh(mixed_plans(self.compiled.graph, [t.weighed.plan for t in self._ranked()]))
        weighed = list(self.weighed.values())
        if self.measured is not None:
            ranked = self._ranked()
            near = {id(t.weighed) for t in ranked if t.product <= CLOSE_FACTOR * ranked[0].product}
            weighed = [self._with_variance(w, MANY_GRADIENTS) for w in weighed if id(w) in near]
        return [t for w in weighed for t in self._at_all(w)]

    def _weigh(self, firsts: Iterable[FirstEstimators]) -> None:
        for first in firsts:
            for (number, base), most in product(self.bases.items(), (self.settings.max_copies, self._evaluations)):
                s, compiled = self.settings, base.prepare(*self.examples)
                plan = choose_estimators(compiled.graph, s.estimators, s.allow_bias, number, most, first)
                key = _plan_key(plan.estimators)
                if key in self.weighed or self._too_long(plan):
                    continue
                program = self._program(number, first, most)
                found = program.prepare(*self.examples)
                doubt = COPIES_DOUBT if found.plan.copies > self.settings.max_copies else 1.0
                counts = count_operations(found.request("gradient"), found.settings.dtype, found.target)
                self.weighed[key] = self._with_variance(
                    WeighedPlan(most, found.plan, program, counts, _unknown_variance, doubt), FEW_GRADIENTS
                )

    def _too_long(self, plan: Plan) -> bool:
        """Return whether the steps of loops over time would be written out too often to be weighed in seconds."""
        graph = self.compiled.graph
        written = plan.copies * graph.total_steps if plan_needs_unrolling(graph, plan.estimators) else 0
        return plan.copies > self.settings.max_copies and written > MOST_UNROLLED_STEPS

    def _with_variance(self, weighed: WeighedPlan, repeats: int) -> WeighedPlan:
        """Return the plan with its variance, measured from so many gradients or in closed form."""
        if self.measured is None:
            graph, plan = self.compiled.graph, weighed.plan.estimators
            return weighed._replace(variance=lambda k: expected_variance(graph, plan, k))
        found = self.measured.curve(weighed.program, repeats)
        return weighed._replace(variance=_unknown_variance if found is None else found.at)

    def _ranked(self) -> list[Trial]:
        """Return the best trial of every plan, the best plan first."""
        found = [min(self._at_all(w), key=lambda t: t.order) for w in self.weighed.values()]
        return sorted(found, key=lambda t: t.order)

    def _at_all(self, weighed: WeighedPlan) -> list[Trial]:
        estimators = weighed.plan.estimators
        return [
            Trial(k, weighed, weighed.variance(k), self._microseconds(weighed, k))
            for k in PARTICLE_COUNTS
            if all(e.validate(k) is None for e in estimators.values())
        ]

    def _microseconds(self, weighed: WeighedPlan, particles: int) -> float:
        """Return the price of a step; of combinations at least that of their first members, which they compute."""
        first = _plan_key({n: getattr(e, "members", (e,))[0] for n, e in weighed.plan.estimators.items()})
        sizes = {**self.rows, "n_particles": particles}
        return max(step_nanoseconds(w.counts, sizes) for w in (weighed, self.weighed.get(first, weighed))) / 1000


def _plan_key(estimators: Mapping[str, Estimator]) -> str:
    """Return what names a plan."""
    return repr(sorted((name, e.label) for name, e in estimators.items()))


def _unknown_variance(particles: int) -> float:
    """Return infinity: no variance is known."""
    return float("inf")


def _prepare_program(program: PreparedProgram, examples: Sequence[Any]) -> PreparedProgram:
    if program.argument_names and not examples:
        names = ", ".join(program.argument_names)
        raise EstimatorError(f"particles='auto' needs data= ({names}): what steps take is read off the traced program")
    program.prepare(*examples)
    return program


def _require_variable_particles(compiled: Compiled) -> None:
    """Raise where the number of particles cannot vary, or steps cannot be priced."""
    try:
        require_one_particle(compiled.trace, 2)
    except EstimatorError as error:
        raise EstimatorError(f"particles='auto': the number cannot vary here. {error}") from None
    if compiled.target.resident:
        raise EstimatorError("particles='auto' prices steps of a processor, not of a GPU: pass a number")


def _rows_by_plate(compiled: Compiled, examples: Sequence[Any]) -> Mapping[str, int]:
    """Return the rows by plate, of the examples where they are arrays."""
    found = {}
    of = dict(zip(compiled.binder.arguments, examples, strict=True))
    for plate in compiled.binder.plates:
        given = [of[i.name] for i in compiled.binder.inputs if i.plate is not None and i.plate.name == plate.name]
        lengths = [len(x) for x in given if has_numbers([x])]
        found[f"n_{plate.name}"] = min([PRICED_ROWS, *lengths])
    return found


def _joint_choice_of(trial: Trial, taken: bool) -> JointChoice:
    """Return a trial as a plan keeps it."""
    estimators = tuple(trial.weighed.plan.as_dict().items())
    return JointChoice(
        estimators, trial.particles, trial.variance, 0.0, 0.0, trial.microseconds * 1e-6, 0, "priced", taken
    )


def _explain_choice(found: Trial, trials: Sequence[Trial], measured: InterpretedVariances | None) -> str:
    """Return the best trials in words: time, and variance × time relative to the choice."""
    ranked = sorted(trials, key=lambda t: t.order)[:TRIALS_EXPLAINED]
    listed = ", ".join(f"{_trial_label(t)}: {t.microseconds:.3g} µs, {_relative_product(t, found):.2g}" for t in ranked)
    words = "the least" if ranked[0] is found else f"within {COST_SLACK - 1:.0%} of the least"
    of = "in closed form" if measured is None else "of interpreted gradients at the initial parameters"
    said = f"{words} expected variance × time of {len(trials)}, variances {of}"
    return f"{said} (time of a step, product relative to the choice: {listed})"


def _trial_label(trial: Trial) -> str:
    labels = dict.fromkeys(e.label for e in trial.weighed.plan.estimators.values() if not e.imposed)
    return f"{trial.particles} with {' and '.join(labels)}"


def _relative_product(trial: Trial, found: Trial) -> float:
    return trial.product / found.product if found.product else 1.0
