"""`particles="auto"`: the estimators and the number of particles whose expected variance × time is least.

The trunk, such as an encoder, is computed once however many particles there are; everything below a random node is
computed for each. So the time of a step is a + b · particles, read off the schedule (`price`), while variances fall
as `ppl.compiler.plan.expected` says. Weighed are the plan of the decision table and those that put one of its rows
first (`FIRST`), each at every number of particles that admits it. Nothing is drawn and nothing timed: the choice is
the same on every machine. Where the closed forms do not hold, `ppl.tune` measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ppl.compiler.plan.choice import expected_variance, make_plan
from ppl.compiler.plan.expected import roughness
from ppl.compiler.plan.plan import Plan
from ppl.errors import EstimatorError
from ppl.estimators import (
    Analytic,
    BonnetPrice,
    CategoricalDisARM,
    Combine,
    DisARM,
    MeasureValued,
    Pathwise,
    Rebar,
    ScoreFunction,
)
from ppl.estimators.base import Estimator
from ppl.lang.arguments import ArgumentSpec
from ppl.lang.carried import require_one_particle
from ppl.program.priced.price import Counts, counted, nanoseconds
from ppl.runtime.compiled import Compiled
from ppl.runtime.prepared import Prepared, Settings

NUMBERS = (1, 2, 4, 8, 16)
FIRST: tuple[Estimator, ...] = (
    DisARM(),
    ScoreFunction("leave_one_out"),
    Rebar(),
    CategoricalDisARM(),
    ScoreFunction("moving_average"),
    MeasureValued(),
    ScoreFunction("optimal"),
)
"""Rows of the decision table that are tried in front of the others, where the table takes one of them."""
EXACT = Analytic()
"""In front of all where it is admissible: it has no variance."""
ROUGH = 1.5
"""Units of its own over which a cost moves, from which on the rows `BESIDE` are tried in front of a path."""
BESIDE: tuple[Estimator, ...] = (
    Combine(Pathwise(), ScoreFunction("moving_average")),
    ScoreFunction("leave_one_out"),
    ScoreFunction("optimal"),
    ScoreFunction("moving_average"),
)
SMOOTH = BonnetPrice()
"""Tried in front of a path where the cost moves over less than `ROUGH` units of its own, and more than none."""
SLACK = 1.05
"""How far above the least variance × time the choice may lie."""
SHOWN = 5
"""Trials that `explain()` lists."""
BATCH = 100
"""Rows that steps are priced for, at most, and where the number of rows is not known: a usual minibatch."""


class Trial(NamedTuple):
    """A number of particles and rows put first: the plan, the variance to expect, and microseconds of a step."""

    particles: int
    first: tuple[Estimator, ...]
    plan: Plan
    variance: float
    microseconds: float

    @property
    def product(self) -> float:
        """Variance × time."""
        return self.variance * self.microseconds


def chosen_particles(make: Callable[[Settings], Prepared], settings: Settings, examples: Sequence[Any]) -> Settings:
    """`settings` with the number of particles chosen, and why.

    Parameters
    ----------
    make : makes a program of settings.
    examples : the data that `ppl.compile` was given; there must be some where the model has arguments.

    Raises
    ------
    EstimatorError
        The number cannot vary, or nothing is known of what steps take: no data, carried values that random nodes
        move, a CUDA target; or no number admits the estimators that were named.
    """
    trials: list[Trial] = []
    refused: EstimatorError | None = None
    known: dict[str, Counts] = {}
    for number in NUMBERS:
        try:
            compiled = _prepared(make(replace(settings, particles=number)), examples)
        except EstimatorError as error:
            refused = refused or error
            continue
        _require_free(compiled)
        if _exact(compiled.plan):
            return replace(settings, particles=1, particles_because="no estimate has noise that more would average")
        for first, plan in _plans(compiled):
            key = repr(sorted((name, e.label) for name, e in plan.estimators.items()))
            if key not in known:
                asked = replace(settings, particles=number, first=first)
                found = compiled if plan is compiled.plan else _prepared(make(asked), examples)
                known[key] = counted(found.request("gradient"), found.settings.dtype, found.target)
            trials.append(_trial(compiled, number, first, plan, known[key], _rows(compiled, examples)))
    if not trials:
        assert refused is not None
        raise refused
    best = min(t.product for t in trials)
    found_trial = min((t for t in trials if t.product <= SLACK * best), key=lambda t: (t.particles, t.product))
    because = _because(found_trial, trials)
    return replace(settings, particles=found_trial.particles, first=found_trial.first, particles_because=because)


def _plans(compiled: Compiled) -> list[tuple[tuple[Estimator, ...], Plan]]:
    """The plan of the table, and those with other rows first, each once."""
    found: dict[str, tuple[tuple[Estimator, ...], Plan]] = {}
    s = compiled.settings
    for first in [(), (EXACT,), *((EXACT, e) for e in _tried(compiled))]:
        plan = make_plan(compiled.graph, s.estimators, s.allow_bias, s.particles, s.max_copies, first)
        found.setdefault(repr(sorted((n, e.label) for n, e in plan.estimators.items())), (first, plan))
    found[next(iter(found))] = (), compiled.plan
    return list(found.values())


def _tried(compiled: Compiled) -> list[Estimator]:
    """The rows that are tried in front, by what the table takes."""
    tried: dict[Estimator, None] = {}
    for name, estimator in compiled.plan.estimators.items():
        rn = compiled.graph[name]
        if estimator in FIRST:
            tried |= dict.fromkeys(e for e in FIRST if e.supports(rn).ok)
        elif estimator == Pathwise() and (rough := roughness(rn)) > 0:
            tried |= dict.fromkeys(BESIDE if rough > ROUGH else [SMOOTH])
    return list(tried)


def _prepared(program: Prepared, examples: Sequence[Any]) -> Compiled:
    if program.argument_names and not examples:
        names = ", ".join(program.argument_names)
        raise EstimatorError(f"particles='auto' needs data= ({names}): what steps take is read off the traced program")
    return program.prepare(*examples)


def _require_free(compiled: Compiled) -> None:
    """Raise where the number of particles cannot vary, or steps cannot be priced."""
    try:
        require_one_particle(compiled.trace, 2)
    except EstimatorError as error:
        raise EstimatorError(f"particles='auto': the number cannot vary here. {error}") from None
    if compiled.target.resident:
        raise EstimatorError("particles='auto' prices steps of a processor, not of a GPU: pass a number")


def _exact(plan: Mapping[str, Any]) -> bool:
    return not any(choice.estimator.sampled for choice in plan.values())


def _trial(
    compiled: Compiled, number: int, first: tuple[Estimator, ...], plan: Plan, counts: Counts, rows: Mapping[str, int]
) -> Trial:
    time = nanoseconds(counts, {**rows, "n_particles": number}) / 1000
    return Trial(number, first, plan, expected_variance(compiled.graph, plan.estimators, number), time)


def _rows(compiled: Compiled, examples: Sequence[Any]) -> dict[str, int]:
    """Rows by plate, of the examples where they are arrays."""
    found = {}
    of = dict(zip(compiled.binder.arguments, examples, strict=True))
    for plate in compiled.binder.plates:
        given = [of[i.name] for i in compiled.binder.inputs if i.plate is not None and i.plate.name == plate.name]
        lengths = [len(x) for x in given if not isinstance(x, ArgumentSpec)]
        found[f"n_{plate.name}"] = min([BATCH, *lengths])
    return found


def _because(found: Trial, trials: Sequence[Trial]) -> str:
    """The best trials in words: time, and variance × time relative to the choice."""
    ranked = sorted(trials, key=lambda t: t.product)[:SHOWN]
    listed = ", ".join(f"{_named(t)}: {t.microseconds:.3g} µs, {_ratio(t, found):.2g}" for t in ranked)
    words = "the least" if ranked[0] is found else f"within {SLACK - 1:.0%} of the least"
    said = f"{words} expected variance × time of {len(trials)}"
    return f"{said} (time of a step, product relative to the choice: {listed})"


def _named(trial: Trial) -> str:
    labels = dict.fromkeys(e.label for e in trial.plan.estimators.values() if not e.imposed)
    return f"{trial.particles} with {' and '.join(labels)}"


def _ratio(trial: Trial, found: Trial) -> float:
    return trial.product / found.product if found.product else 1.0
