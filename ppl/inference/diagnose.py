"""Diagnose the gradient of one program (mean, variance, signal to noise, seconds per step), and compare several
programs."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ppl.arguments import MANY, checked, integer, mapping, shown, within
from ppl.choosing.frozen_steps import FrozenSteps
from ppl.compiler.plan.plan import pareto_frontier
from ppl.errors import DataError, OptionError
from ppl.inference.gradient_samples import MEASUREMENT_RULES, Gradient, GradientSamples, step
from ppl.names import Named, keywords
from ppl.records import dataclass
from ppl.runtime.call import Call
from ppl.runtime.prepared import require_program
from ppl.runtime.state import State, require_state
from ppl.text_table import format_number, render_table, seconds


@dataclass(frozen=True, eq=False)
class Diagnosis(Mapping[str, Gradient]):
    """Gradient statistics per parameter: prints as a table, indexes as data (`diagnosis["logit"].trace`).

    Attributes
    ----------
    parameters : parameter name to its `Gradient` (mean, variance, standard_error, trace, trace_error, snr).
    total : the same of the whole gradient.
    loss, loss_error : mean loss and its standard error.
    seconds : median seconds of a training step in `ppl.fit` with Adam; of `program.step` where the call has
        `particles=` or `rows=`, or several ranks share it (None where it was not timed).
    repeats, particles, backend : how it was measured.
    """

    parameters: dict[str, Gradient]
    total: Gradient
    loss: float
    loss_error: float
    seconds: float | None
    repeats: int
    particles: int
    backend: str

    def __getitem__(self, name: str) -> Gradient:
        return self.parameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def __str__(self) -> str:
        rows = [_table_cells(name, g) for name, g in self.parameters.items()]
        rows += [_table_cells("all", self.total)] if len(self) > 1 else []
        notes = [f"loss {format_number(self.loss, self.loss_error)}"]
        notes += [] if self.seconds is None else [f"{seconds(self.seconds)} per step"]
        particles = f"{self.particles} particle{'s' if self.particles > 1 else ''}"
        notes.append(f"{self.repeats} repeats, {particles}, {self.backend}")
        columns = ("parameter", "‖mean‖", "standard error", "variance (trace)", "signal/noise")
        return render_table(columns, rows, [", ".join(notes)])

    __repr__ = __str__


def _l2_norm(x: Any) -> float:
    return float((x**2).sum()) ** 0.5


def _table_cells(name: str, g: Gradient) -> tuple[str, ...]:
    variance = format_number(g.trace, g.trace_error)
    return (
        name,
        format_number(_l2_norm(g.mean)),
        format_number(_l2_norm(g.standard_error)),
        variance,
        format_number(g.snr),
    )


def diagnose(program: Any, call: Call, repeats: int = 1000, timing: bool = True, backend: str = "auto") -> Diagnosis:
    """Diagnose the gradient of a program: see `Program.diagnose`."""
    source = GradientSamples(program, call, backend)
    return make_diagnosis(source, repeats, (lambda: seconds_per_step(program, call)) if timing else None)


def seconds_per_step(program: Any, call: Call, budget: float = 0.2, most: int = 200) -> float:
    """Median seconds of a training step, as `ppl.fit` takes it with Adam; compilation not counted.

    With `particles` or `rows` of the call's own, which `ppl.fit` has not, of `program.step`.
    """
    if call.particles is None and call.rows is None:
        frozen = FrozenSteps(program, call)
        frozen.take(1)
        timed = frozen.seconds
    else:
        step(program, call)
        timed = functools.partial(_seconds_of_call, program, call)
    found, until = [timed()], time.perf_counter() + budget
    while len(found) < 3 or (len(found) < most and time.perf_counter() < until):
        found.append(timed())
    return float(np.median(found))


def _seconds_of_call(program: Any, call: Call) -> float:
    began = time.perf_counter()
    step(program, call)
    return time.perf_counter() - began


def make_diagnosis(source: GradientSamples, repeats: int, clock: Callable[[], float] | None) -> Diagnosis:
    """Return the diagnosis from a source of gradients; `clock` gives the seconds of a step."""
    if repeats < 2:
        raise OptionError(f"repeats must be at least 2, not {repeats}")
    moments = source.moments(repeats)
    loss = moments.gradient("loss")
    return Diagnosis(
        Named("parameter", {name: moments.gradient(f"grad {name}") for name in moments.parameters}),
        moments.total(),
        float(loss.mean),
        float(loss.standard_error),
        None if clock is None else clock(),
        repeats,
        source.particles,
        source.used,
    )


@dataclass(frozen=True, eq=False)
class Comparison(Mapping[str, Diagnosis]):
    """Several programs side by side: prints as a table, indexes as data (`comparison["rebar"].total.trace`)."""

    programs: dict[str, Diagnosis]

    def __getitem__(self, label: str) -> Diagnosis:
        return self.programs[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self.programs)

    def __len__(self) -> int:
        return len(self.programs)

    @property
    def cost(self) -> dict[str, float]:
        """Variance × seconds per step: the variance left after one second of averaging. Less is better."""
        return Named("program", {label: d.total.trace * (d.seconds or 0.0) for label, d in self.programs.items()})

    @property
    def best(self) -> str:
        """Label of the smallest variance × seconds."""
        return min(self.cost, key=lambda label: self.cost[label])

    def table(self) -> str:
        """Return a table with one row a program."""
        rows = []
        for label, d in self.programs.items():
            variance = format_number(d.total.trace, d.total.trace_error)
            cost = format_number(self.cost[label])
            rows.append((label, variance, format_number(d.total.snr), seconds(d.seconds or 0.0), cost))
        some = next(iter(self.programs.values()))
        columns = ("program", "variance (trace)", "signal/noise", "time per step", "variance × seconds")
        return render_table(columns, rows, [f"{some.repeats} repeats each; least variance × seconds: {self.best}"])

    __str__ = table
    __repr__ = table

    def plot(self, ax: Any = None) -> Any:
        """Variance against seconds per step on logarithmic axes; returns the matplotlib axes (needs matplotlib).

        A line joins the programs that no other one beats in both. Along the dashed line variance × seconds is that of
        the best.
        """
        if ax is None:
            from matplotlib import pyplot  # slow to import, and optional

            ax = pyplot.subplots()[1]
        for label, d in self.programs.items():
            at = d.seconds or 0.0, d.total.trace
            ax.errorbar(*at, yerr=d.total.trace_error, fmt="o", label=label)
            ax.annotate(label, at, textcoords="offset points", xytext=(6, 4))
        places = [(d.seconds or 0.0, d.total.trace) for d in self.programs.values()]
        best, ends = (
            [places[i] for i in pareto_frontier(places)],
            np.array([f(s for s, _ in places) for f in (min, max)]),
        )
        ax.step(*zip(*best, strict=True), where="post", color="0.6", linewidth=1, zorder=0)
        if product := self.cost[self.best]:
            ax.plot(ends, product / ends, color="0.6", linewidth=1, linestyle="--", zorder=0)
        ax.set(xscale="log", xlabel="seconds per step", ylabel="variance of the gradient (trace)")
        ax.set_yscale("log" if all(d.total.trace > 0 for d in self.programs.values()) else "symlog")
        return ax


@keywords
@checked("compare", **MEASUREMENT_RULES, warmup=within(integer, low=0, high=MANY))
def compare(
    programs: Any,
    state: State | None = None,
    *data: Any,
    repeats: int = 1000,
    particles: int | None = None,
    seed: int | None = None,
    total_rows: Any = None,
    rows: Any = None,
    hyper: Any = None,
    warmup: int = 100,
    backend: str = "auto",
    over: Any = "seed",
    value: str | None = None,
) -> Any:
    """Measure several programs of one model at the same parameters and tabulate variance, time and their product.

    Of a `Sweep` it shows the settings side by side instead, by the results of their runs. The other parameters are
    those of `Program.diagnose`.

    Parameters
    ----------
    programs : label to program, all with the parameters of `state`, which gives a `Comparison`; or what `ppl.sweep`
        returned, which gives a `SweepComparison` and takes no state and data.
    particles : for all of them; None means each program's own.
    warmup : steps at fixed parameters that adapt baselines and control variates before measuring, for programs that
        have them. Auxiliary values of `state` are kept where they fit the program and made anew where not.
    over : of a sweep, the settings whose runs are put together: mean and standard error over them.
    value : of a sweep, the result by which settings are ordered (default: the best validation, else the loss).
    """
    if hasattr(programs, "compared"):
        if state is not None or data:
            raise OptionError("compare: a sweep has been measured: it takes no state and no data")
        return programs.compared(over, value)
    if not isinstance(programs, Mapping) or not programs:
        raise OptionError(f"compare takes at least one program by label, {{label: program}}, not {shown(programs)}")
    mapping("compare: programs", programs, "programs")
    require_state(state, "compare: state")
    assert state is not None
    call = Call(state, data, state.seed if seed is None else seed, particles, rows, total_rows, hyper)
    found = {}
    for label, program in programs.items():
        require_program("ppl.compare", program)
        own = warm_up(program, replace(call, state=adapt_state(program, state, data)), warmup)
        found[label] = diagnose(program, replace(call, state=own), repeats, backend=backend)
    return Comparison(Named("program", found))


def adapt_state(program: Any, state: State, data: Sequence[Any]) -> State:
    """Return `state` with the auxiliary variables and the dtype that `program` needs; carried values stay."""
    compiled = program.prepare(*data)
    require_state(state)
    if state._layouts[0] != compiled.layout:
        raise DataError(_describe_difference(dict(state._layouts[0].shapes), dict(compiled.layout.shapes)))
    if state._layouts[1] == compiled.aux_layout and state._flat.dtype == compiled.binder.dtype:
        return state
    fresh = program.init(state.seed, *data)
    return keep_step_and_carried(program, fresh.replace(params=state.params), state, data)


def _describe_difference(held: Mapping[str, tuple[int, ...]], asked: Mapping[str, tuple[int, ...]]) -> str:
    """Say how the parameters of a state differ from those of a program with its data: the first that does, by name."""
    name = next((n for n in [*asked, *held] if held.get(n) != asked.get(n)), None)
    if name is None:
        return f"the parameters stand in another order: the state has {list(held)}, the program {list(asked)}"
    has, wants = (f"has {name!r} of shape {of[name]}" if name in of else f"has no {name!r}" for of in (held, asked))
    return f"the parameters differ: the state {has}, the program with these data {wants}"


def warm_up(program: Any, call: Call, steps: int) -> State:
    """Return the state with auxiliaries after `steps` steps at fixed parameters; step and carried values as they were.

    The noise is that of the state's own seed: a seed given draws the same noise at every step.
    """
    state = moved = call.state
    if set(state.aux) <= set(program.prepare(*call.data).trace.carried):
        return state
    for _ in range(steps):
        moved = step(program, replace(call, state=moved, seed=None))
    return keep_step_and_carried(program, moved, state, call.data)


def keep_step_and_carried(program: Any, moved: State, state: State, data: Sequence[Any]) -> State:
    """Return `moved` with the step counter and the carried values of `state`."""
    kept = {name: state.aux[name] for name in program.prepare(*data).trace.carried if name in state.aux}
    return moved.replace(step=state.step, aux={**moved.aux, **kept})
