"""Measurements of a node's candidates by `ppl.tune`, as a plan keeps and prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ppl.estimators.base import Estimator

if TYPE_CHECKING:
    from rich.table import Table

    from ppl.compiler.plan.plan import Candidate, Plan


@dataclass(frozen=True)
class Measured:
    """One candidate for one node: variance of the whole gradient (trace), seconds per step, or why it was left out.

    `clock` says where the seconds were taken: "compiled" steps, or the "interpreter" (only ratios mean something).
    """

    estimator: Estimator
    variance: float = 0.0
    variance_error: float = 0.0
    seconds: float = 0.0
    repeats: int = 0
    clock: str = "compiled"
    rejected: str = ""

    @property
    def cost(self) -> float:
        """Variance × seconds."""
        return self.variance * self.seconds

    @property
    def cost_error(self) -> float:
        """Its standard error, from that of the variance."""
        return self.variance_error * self.seconds


def record(plan: Plan, measured: Mapping[str, Sequence[Measured]]) -> None:
    """Keep `measured` in `plan`, and give it as the reason of the choices it led to."""
    for name, rows in measured.items():
        choice = plan.choices.get(name)
        if choice is None:
            continue
        plan.measured[name] = rows
        rivals = sum(not m.rejected for m in rows)
        reason = f"measured: least variance × time of {rivals}" if rivals > 1 else "the only unbiased candidate"
        left = tuple((m.estimator.label, m.rejected) for m in rows if m.rejected)
        of = {m.estimator: m for m in rows}
        candidates = tuple(_with(c, of.get(c.estimator)) for c in choice.candidates)
        plan.choices[name] = replace(choice, reason=reason, rejected=left, candidates=candidates)


def _with(candidate: Candidate, found: Measured | None) -> Candidate:
    refused = found is not None and bool(found.rejected)
    verdict = found.rejected if found is not None and found.rejected else candidate.verdict
    return replace(candidate, measured=found, verdict=verdict, admissible=candidate.admissible and not refused)


def measured_table(rows: Sequence[Measured], chosen: str) -> Table:
    """Every candidate that was measured, with standard errors; the chosen one is marked."""
    from rich.box import SIMPLE_HEAD  # rich is slow to import, and only tables need it
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(("", "estimator", "variance (trace)", "time per step", "variance × seconds")):
        table.add_column(column, justify="right" if i > 1 else "left", overflow="fold")
    for m in rows:
        if not m.rejected:
            mark = "→" if m.estimator.label == chosen else ""
            time = f"{m.seconds * 1e6:.3g} µs" + (" (interpreter)" if m.clock == "interpreter" else "")
            variance, cost = (_pair(*p) for p in ((m.variance, m.variance_error), (m.cost, m.cost_error)))
            table.add_row(f"   {mark}", escape(m.estimator.label), variance, time, cost)
    return table


def _pair(value: float, error: float) -> str:
    return f"{value:.4g} ± {error:.1g}"
