"""Measurements of a node's candidates by `ppl.tune`, as a plan keeps and prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ppl.estimators.base import Estimator
from ppl.records import dataclass

if TYPE_CHECKING:
    from rich.table import Table

    from ppl.compiler.plan.plan import Candidate, Plan


@dataclass(frozen=True)
class Measured:
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

    @property
    def cost_error(self) -> float:
        """Its standard error, from that of the variance."""
        return self.variance_error * self.seconds


@dataclass(frozen=True)
class Joint:
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
        return labelled(self.estimators, self.particles)


def labelled(estimators: Sequence[tuple[str, Estimator]], particles: int) -> str:
    """Estimators by node and particles in words."""
    nodes = ", ".join(f"{name}: {e.label}" for name, e in estimators) or "no random nodes"
    return f"{nodes}; {particles} particle{'s' if particles > 1 else ''}"


@dataclass(frozen=True)
class Tuning:
    """What `ppl.tune` measured of whole choices, the last round, and what it took.

    Seconds are those of measuring, and those of tracing, pricing and compiling.
    `untried` are pairs of nodes that interact and were not tried together, because time was up.
    """

    joint: tuple[Joint, ...]
    measuring: float
    compiling: float
    untried: tuple[tuple[str, str], ...] = ()


def record(
    plan: Plan,
    measured: Mapping[str, Sequence[Measured]],
    tuning: Tuning | None = None,
    particles_because: str = "",
    weighed: tuple[Joint, ...] = (),
) -> None:
    """Keep `measured` in `plan`, and give it as the reason of the choices it led to; and what else was weighed."""
    plan.tuning, plan.particles_because, plan.weighed = tuning, particles_because, weighed
    for name, rows in measured.items():
        choice = plan.choices.get(name)
        if choice is None:
            continue
        plan.measured[name] = rows
        rivals = sum(not m.rejected for m in rows)
        reason = (
            f"measured: least variance × time of {rivals}" if rivals > 1 else "the only candidate that was admissible"
        )
        left = tuple((m.estimator.label, m.rejected) for m in rows if m.rejected)
        of = {m.estimator: m for m in rows}
        candidates = tuple(_with(c, of.get(c.estimator)) for c in choice.candidates)
        plan.choices[name] = replace(choice, reason=reason, rejected=left, candidates=candidates)


def _with(candidate: Candidate, found: Measured | None) -> Candidate:
    refused = found is not None and bool(found.rejected)
    verdict = found.rejected if found is not None and found.rejected else candidate.verdict
    return replace(candidate, measured=found, verdict=verdict, admissible=candidate.admissible and not refused)


def tuning_table(tuning: Tuning) -> Table:
    """The last round over whole choices; the one that was taken is marked."""
    rows = [
        ("→" if j.taken else "", j.label, j.variance, j.variance_error, j.squared_bias, j.seconds, j.clock)
        for j in tuning.joint
    ]
    return _table("choice", rows)


def measured_table(rows: Sequence[Measured], chosen: str) -> Table:
    """Every candidate that was measured, with standard errors; the chosen one is marked."""
    found = [
        ("→" if m.estimator.label == chosen else "", m.estimator.label, m.variance, m.variance_error, m.squared_bias,
         m.seconds, m.clock)
        for m in rows if not m.rejected
    ]  # fmt: skip
    return _table("estimator", found)


def _table(what: str, rows: Sequence[tuple[str, str, float, float, float, float, str]]) -> Table:
    """Rows of mark, label, variance, its error, squared bias, seconds and clock."""
    from rich.box import SIMPLE_HEAD  # rich is slow to import, and only tables need it
    from rich.markup import escape
    from rich.table import Table

    biased = any(row[4] for row in rows)
    columns = ["", what, "variance (trace)", *(["bias²"] if biased else []), "time per step"]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate([*columns, "error² × seconds" if biased else "variance × seconds"]):
        table.add_column(column, justify="right" if i > 1 else "left", overflow="fold")
    for mark, label, variance, error, bias, seconds, clock in rows:
        time = f"{seconds * 1e6:.3g} µs" + ("" if clock == "compiled" else f" ({clock})")
        cost = _pair((variance + bias) * seconds, error * seconds)
        cells = [_pair(variance, error), *([f"{bias:.3g}"] if biased else []), time, cost]
        table.add_row(f"   {mark}", escape(label), *cells)
    return table


def _pair(value: float, error: float) -> str:
    return f"{value:.4g} ± {error:.1g}"
