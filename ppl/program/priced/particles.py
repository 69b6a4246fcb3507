"""`particles="auto"`: the number of particles whose variance × time is least, by what a step takes and known variances.

The trunk, such as an encoder, is computed once however many particles there are, and so is what a call takes in
Python; everything below a random node is computed for each. So the time of a step is a + b · particles, while the
variance falls as 1 / particles, of leave-one-out baselines as 1 / (particles - 1). The product falls towards b: the
choice is the least number that comes within `SLACK` of the best. Where plans at other numbers name other estimators,
these count as equally noisy: `ppl.tune` measures that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ppl.compiler.plan.plan import Plan
from ppl.errors import EstimatorError
from ppl.estimators.base import Estimator
from ppl.lang.arguments import ArgumentSpec
from ppl.lang.carried import require_one_particle
from ppl.program.priced.price import Counts, counted, nanoseconds
from ppl.runtime.compiled import Compiled
from ppl.runtime.prepared import Prepared, Settings

NUMBERS = (1, 2, 4, 8, 16)
SLACK = 1.1
"""How far above the least variance × time the choice may lie."""
BATCH = 100
"""Rows that steps are priced for, at most, and where the number of rows is not known: a usual minibatch."""


class Trial(NamedTuple):
    """A number of particles: the plan, variance relative to that of one sample, and microseconds of a step."""

    particles: int
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
        The number cannot vary, or nothing is known of what steps take: no data, carried values that random nodes move,
        a CUDA target; or no number admits the estimators that were named.
    """
    trials: list[Trial] = []
    refused: EstimatorError | None = None
    known: dict[str, Counts] = {}
    for number in NUMBERS:
        program = make(replace(settings, particles=number))
        try:
            compiled = _prepared(program, examples)
        except EstimatorError as error:
            refused = refused or error
            continue
        _require_free(compiled)
        if _exact(compiled.plan):
            return replace(settings, particles=1, particles_because="no estimate has noise that more would average")
        trials.append(_trial(compiled, number, known, _rows(compiled, examples)))
    if not trials:
        assert refused is not None
        raise refused
    best = min(t.product for t in trials)
    found = next(t for t in trials if t.product <= SLACK * best)
    return replace(settings, particles=found.particles, particles_because=_because(found, trials))


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


def _trial(compiled: Compiled, number: int, known: dict[str, Counts], rows: Mapping[str, int]) -> Trial:
    """Plans that are the same at several numbers are scheduled once, with particles as an axis."""
    estimators = compiled.plan.estimators
    key = repr(sorted((name, e.label) for name, e in estimators.items()))
    if key not in known:
        known[key] = counted(compiled.request("gradient"), compiled.settings.dtype, compiled.target)
    time = nanoseconds(known[key], {**rows, "n_particles": number}) / 1000
    variance = sum(_variance(e, number) for e in estimators.values())
    return Trial(number, compiled.plan, variance, time)


def _variance(estimator: Estimator, number: int) -> float:
    """Of the mean over particles. Baselines from the others, at one sample less than there are, are no better."""
    others = estimator.validate(1) is not None
    return estimator.sampled / (number - 1 if others else number)


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
    """The trials in words: time, and variance × time relative to the choice."""
    listed = ", ".join(f"{t.particles}: {t.microseconds:.3g} µs, {t.product / found.product:.2g}" for t in trials)
    best = min(trials, key=lambda t: t.product)
    words = "the least variance × time" if best is found else f"within {SLACK - 1:.0%} of the least variance × time"
    return f"{words}, as estimated (time of a step, product relative to the choice; {listed})"
