"""Plans as data, and as tables of text: the estimator of every random node, its reason, and the other candidates.

`choose_estimators` (`decision_table`) makes a plan; the choosers (`ppl.choosing`) add measurements to it. Rich is
imported when a plan is printed."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from ppl.estimators.base import Estimator
from ppl.lazy import notebook_plans, rich_box, rich_console, rich_markup, rich_table
from ppl.names import Named
from ppl.records import dataclass


@dataclass(frozen=True)
class MeasuredCandidate:
    """One candidate for one node: variance of the whole gradient (trace), seconds per step, or why it was left out.

    `clock` says where the seconds come from: "compiled" steps that were timed, the "priced" schedule, or the
    "interpreter" (only ratios mean something).
    `squared_bias` is the squared distance of the mean gradient from the reference, 0 of unbiased ones.
    """

    estimator: Estimator
    variance: float = 0.0
    variance_error: float = 0.0
    seconds: float = 0.0
    repeats: int = 0
    clock: str = "compiled"
    rejected: str = ""
    particles: int = 1
    squared_bias: float = 0.0

    @property
    def cost(self) -> float:
        """Variance × seconds; of a biased estimator, mean squared error × seconds."""
        return (self.variance + self.squared_bias) * self.seconds


@dataclass(frozen=True)
class JointChoice:
    """Estimators of all nodes and a number of particles, measured together; see `Measured` for the figures."""

    estimators: tuple[tuple[str, Estimator], ...]
    particles: int
    variance: float
    variance_error: float
    squared_bias: float
    seconds: float
    repeats: int
    clock: str
    taken: bool = False

    @property
    def cost(self) -> float:
        """Variance × seconds; with a biased estimator, mean squared error × seconds."""
        return (self.variance + self.squared_bias) * self.seconds

    @property
    def label(self) -> str:
        """The estimators by node, and the particles."""
        return describe_choice(self.estimators, self.particles)


def describe_choice(estimators: Sequence[tuple[str, Estimator]], particles: int) -> str:
    """Estimators by node and particles in words."""
    nodes = ", ".join(f"{name}: {e.label}" for name, e in estimators) or "no random nodes"
    return f"{nodes}; {particles} particle{'s' if particles > 1 else ''}"


@dataclass(frozen=True)
class TuningReport:
    """What `ppl.tune` measured of whole choices, the last round, and what it took.

    Seconds are those of measuring, and those of tracing, pricing and compiling.
    `untried` are pairs of nodes that interact and were not tried together, because time was up.
    """

    joint: tuple[JointChoice, ...]
    measuring: float
    compiling: float
    untried: tuple[tuple[str, str], ...] = ()


def _with_measurement(candidate: Candidate, found: MeasuredCandidate | None) -> Candidate:
    refused = found is not None and bool(found.rejected)
    verdict = found.rejected if found is not None and found.rejected else candidate.verdict
    return replace(candidate, measured=found, verdict=verdict, admissible=candidate.admissible and not refused)


def tuning_table(tuning: TuningReport) -> Any:
    """Return the last round over whole choices; the one that was taken is marked."""
    rows = [
        ("→" if j.taken else "", j.label, j.variance, j.variance_error, j.squared_bias, j.seconds, j.clock)
        for j in tuning.joint
    ]
    return _figures_table("choice", rows)


def measured_table(rows: Sequence[MeasuredCandidate], chosen: str) -> Any:
    """Return every candidate that was measured, with standard errors; the chosen one is marked."""
    found = [
        ("→" if m.estimator.label == chosen else "", m.estimator.label, m.variance, m.variance_error, m.squared_bias,
         m.seconds, m.clock)
        for m in rows if not m.rejected
    ]  # fmt: skip
    return _figures_table("estimator", found)


def _figures_table(what: str, rows: Sequence[tuple[str, str, float, float, float, float, str]]) -> Any:
    """Return rows of mark, label, variance, its error, squared bias, seconds and clock."""
    biased = any(row[4] for row in rows)
    columns = ["", what, "variance (trace)", *(["bias²"] if biased else []), "time per step"]
    table = rich_table.Table(box=rich_box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate([*columns, "error² × seconds" if biased else "variance × seconds"]):
        table.add_column(column, justify="right" if i > 1 else "left", overflow="fold")
    for mark, label, variance, error, bias, seconds, clock in rows:
        time = f"{seconds * 1e6:.3g} µs" + ("" if clock == "compiled" else f" ({clock})")
        cost = _with_error((variance + bias) * seconds, error * seconds)
        cells = [_with_error(variance, error), *([f"{bias:.3g}"] if biased else []), time, cost]
        table.add_row(f"   {mark}", rich_markup.escape(label), *cells)
    return table


def _with_error(value: float, error: float) -> str:
    return f"{value:.4g} ± {error:.1g}"


@dataclass(frozen=True)
class Candidate:
    """One estimator beside others for a node: its cost in copies, the variance to expect, and the verdict on it.

    `taken` says whether it was chosen, `admissible` whether it could be; `measured` holds what `ppl.tune` found.
    """

    estimator: Estimator
    copies: int
    variance: str
    verdict: str
    admissible: bool = True
    taken: bool = False
    measured: MeasuredCandidate | None = None


@dataclass(frozen=True)
class Choice:
    """The decision for one random node; prints as a table of all candidates."""

    name: str
    distribution: str
    plates: tuple[str, ...]
    estimator: Estimator
    reason: str
    rejected: tuple[tuple[str, str], ...]
    costs: tuple[str, ...]
    copies: int
    candidates: tuple[Candidate, ...] = ()

    @property
    def biased(self) -> bool:
        """Whether the chosen estimator is biased."""
        return self.estimator.biased

    def __str__(self) -> str:
        return render_choice(self)

    def _repr_html_(self) -> str:
        return notebook_plans.choice_html(self)


@dataclass(frozen=True, eq=False)
class Plan(Mapping[str, Choice]):
    """The decisions for all random nodes: prints as a table, indexes as data (`plan["b"].estimator`)."""

    choices: dict[str, Choice]
    copies: int
    particles: int
    regions: int | None = None
    measured: Mapping[str, Sequence[MeasuredCandidate]] = field(default_factory=lambda: Named("node"))
    tuning: TuningReport | None = None
    particles_because: str = ""
    weighed: tuple[JointChoice, ...] = ()

    def __getitem__(self, name: str) -> Choice:
        return self.choices[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.choices)

    def __len__(self) -> int:
        return len(self.choices)

    @property
    def estimators(self) -> dict[str, Estimator]:
        """Node name → estimator."""
        return Named("node", {name: c.estimator for name, c in self.choices.items()})

    def as_dict(self) -> dict[str, Estimator]:
        """Return the choices in the form that `ppl.compile(estimators=...)` takes; its repr can be pasted into code.

        Nodes that need no estimator, or that the objective sums out, are left out.
        """
        return Named("node", {n: c.estimator for n, c in self.choices.items() if not c.estimator.imposed})

    def as_options(self) -> dict[str, Any]:
        """Estimators and particles, for `ppl.compile(objective, **options)`; the repr can be pasted into code."""
        return {"estimators": self.as_dict(), "particles": self.particles}

    def with_measurements(
        self,
        measured: Mapping[str, Sequence[MeasuredCandidate]],
        tuning: TuningReport | None = None,
        particles_because: str = "",
        weighed: tuple[JointChoice, ...] = (),
    ) -> Plan:
        """Return the plan with `measured` as the reason of the choices it led to, and with what else was weighed."""
        choices: dict[str, Choice] = Named("node", self.choices)
        known = {name: rows for name, rows in measured.items() if name in choices}
        for name, rows in known.items():
            rivals = sum(not m.rejected for m in rows)
            reason = (
                f"measured: least variance × time of {rivals}"
                if rivals > 1
                else "the only candidate that was admissible"
            )
            left = tuple((m.estimator.label, m.rejected) for m in rows if m.rejected)
            of = {m.estimator: m for m in rows}
            candidates = tuple(_with_measurement(c, of.get(c.estimator)) for c in choices[name].candidates)
            choices[name] = replace(choices[name], reason=reason, rejected=left, candidates=candidates)
        measured = Named("node", {**self.measured, **known})
        return replace(self, choices=choices, measured=measured, tuning=tuning, particles_because=particles_because,
                       weighed=weighed)  # fmt: skip

    def __str__(self) -> str:
        return render_plan(self)

    def _repr_html_(self) -> str:
        return notebook_plans.plan_html(self)

    __repr__ = __str__


LONGEST_LABEL = 44
"""Characters of a label on one line of the table of candidates."""


def render_plan(plan: Plan, width: int = 110) -> str:
    """Return the plan as text: a table with one row a node, then per node why, for which costs, and what ranks higher
    but fails.

    `print(plan[node])` shows all candidates.
    """
    out = io.StringIO()
    console = rich_console.Console(file=out, width=width, color_system=None, force_terminal=False)
    if plan.choices:
        console.print(_choices_table(plan))
    else:
        console.print("no random nodes: the gradient is exact")
    for c in plan.choices.values():
        _print_line(console, f"{c.name}: {c.reason}")
        _print_line(console, f"    costs downstream: {', '.join(c.costs) or 'none'}")
        for other in _refused_before_choice(c):
            _print_line(console, f"    not {other.estimator.label}: {other.verdict}")
        if spare := [o.estimator.label for o in c.candidates if o.admissible and not o.taken]:
            _print_line(console, f"    also possible: {', '.join(spare)}")
        if c.name in plan.measured:
            console.print(measured_table(plan.measured[c.name], c.estimator.label))
    if plan.tuning is not None:
        _print_tuning(console, plan.tuning)
    counts = [f"{plan.copies} {'copy' if plan.copies == 1 else 'copies'} of the downstream computation"]
    counts.append(f"{plan.particles} particle{'s' if plan.particles > 1 else ''}")
    if plan.regions is not None:
        counts.append(f"{plan.regions} parallel row region{'s' if plan.regions != 1 else ''}")
    _print_line(console, ", ".join(counts))
    if plan.particles_because:
        _print_line(
            console, f"{plan.particles} {'particle' if plan.particles == 1 else 'particles'}: {plan.particles_because}"
        )
    return out.getvalue().rstrip()


def _print_tuning(console: Any, tuning: TuningReport) -> None:
    """Print what was measured of whole choices, and how long that took."""
    _print_line(console, "nodes and particles together:")
    console.print(tuning_table(tuning))
    if tuning.untried:
        _print_line(console, f"    not tried together, for time: {', '.join(' and '.join(p) for p in tuning.untried)}")
    took = f"{tuning.measuring:.2g} s of measuring"
    _print_line(
        console, f"    {took}, {tuning.compiling:.2g} s of tracing and compiling" if tuning.compiling else f"    {took}"
    )


def render_choice(choice: Choice, width: int = 130) -> str:
    """List all candidates of one node: copies, bias, variance (measured where it was), and why it was taken or not."""
    out = io.StringIO()
    console = rich_console.Console(file=out, width=width, color_system=None, force_terminal=False)
    plates = f" in {', '.join(choice.plates)}" if choice.plates else ""
    _print_line(console, f"{choice.name}: {choice.distribution}{plates}, {choice.estimator.label}: {choice.reason}")
    table = rich_table.Table(box=rich_box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "candidate", "bias", "copies", "variance", "verdict"):
        table.add_column(column, overflow="fold", no_wrap=column in ("candidate", "variance"))
    for c in choice.candidates:
        copies = str(c.copies) if c.copies else "-"
        bias = "biased" if c.estimator.biased else "unbiased"
        cells = (_break_label(c.estimator.label), bias, copies, _variance_text(c), "taken" if c.taken else c.verdict)
        table.add_row("→" if c.taken else "", *map(rich_markup.escape, cells))
    if choice.candidates:
        console.print(table)
    return out.getvalue().rstrip()


def _break_label(label: str) -> str:
    """Return a long label, of an estimator made of others, with each of them on its line."""
    return label if len(label) <= LONGEST_LABEL else label.replace("), ", "),\n  ")


def _variance_text(candidate: Candidate) -> str:
    found = candidate.measured
    if found is None or found.rejected:
        return candidate.variance
    return f"{found.variance:.3g} ± {found.variance_error:.1g} in {found.seconds * 1e6:.3g} µs"


def _refused_before_choice(choice: Choice) -> list[Candidate]:
    """Refused candidates that rank before the one taken."""
    taken = next((i for i, c in enumerate(choice.candidates) if c.taken), 0)
    return [c for c in choice.candidates[:taken] if not c.admissible]


def _choices_table(plan: Plan) -> Any:
    table = rich_table.Table(box=rich_box.SIMPLE_HEAD, pad_edge=False)
    for column in ("node", "distribution", "plates", "estimator", "bias", "copies"):
        table.add_column(column, overflow="fold")
    for c in plan.choices.values():
        cells = (c.name, c.distribution, ", ".join(c.plates) or "-", c.estimator.label)
        table.add_row(*map(rich_markup.escape, cells), "biased" if c.biased else "unbiased", str(c.copies))
    return table


def _print_line(console: Any, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def pareto_frontier(points: Iterable[tuple[float, float]]) -> list[int]:
    """Return the indices of the points (seconds, variance) that no other beats in both, the fastest first."""
    found: list[int] = []
    least = math.inf
    for i, (_, variance) in sorted(enumerate(points), key=lambda item: item[1]):
        if variance < least:
            found.append(i)
            least = variance
    return found


@dataclass(frozen=True)
class Configuration:
    """Estimators by node, and a number of particles."""

    estimators: tuple[tuple[str, Estimator], ...]
    particles: int

    def having(self, **changes: Estimator) -> Configuration:
        """Return the same with other estimators for some nodes."""
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
