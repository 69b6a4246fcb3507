"""The plan as a table."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ppl.compiler.plan.measured import measured_table, tuning_table

if TYPE_CHECKING:
    from ppl.compiler.plan.measured import Tuning
    from ppl.compiler.plan.plan import Candidate, Choice, Plan


LABEL = 44
"""Characters of a label on one line of the table of candidates."""


def render(plan: Plan, width: int = 110) -> str:
    """The plan as text: a table with one row a node, then per node why, for which costs, and what ranks
    higher but fails.

    `print(plan[node])` shows all candidates.
    """
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, force_terminal=False)
    if plan.choices:
        console.print(_table(plan))
    else:
        console.print("no random nodes: the gradient is exact")
    for c in plan.choices.values():
        _line(console, f"{c.name}: {c.reason}")
        _line(console, f"    costs downstream: {', '.join(c.costs) or 'none'}")
        for other in _ahead(c):
            _line(console, f"    not {other.estimator.label}: {other.verdict}")
        if spare := [o.estimator.label for o in c.candidates if o.admissible and not o.taken]:
            _line(console, f"    also possible: {', '.join(spare)}")
        if c.name in plan.measured:
            console.print(measured_table(plan.measured[c.name], c.estimator.label))
    if plan.tuning is not None:
        _tuned(console, plan.tuning)
    counts = [f"{plan.copies} {'copy' if plan.copies == 1 else 'copies'} of the downstream computation"]
    counts.append(f"{plan.particles} particle{'s' if plan.particles > 1 else ''}")
    if plan.regions is not None:
        counts.append(f"{plan.regions} parallel row region{'s' if plan.regions != 1 else ''}")
    _line(console, ", ".join(counts))
    if plan.particles_because:
        _line(
            console, f"{plan.particles} {'particle' if plan.particles == 1 else 'particles'}: {plan.particles_because}"
        )
    return out.getvalue().rstrip()


def _tuned(console: Console, tuning: Tuning) -> None:
    """What was measured of whole choices, and how long that took."""
    _line(console, "nodes and particles together:")
    console.print(tuning_table(tuning))
    if tuning.untried:
        _line(console, f"    not tried together, for time: {', '.join(' and '.join(p) for p in tuning.untried)}")
    took = f"{tuning.measuring:.2g} s of measuring"
    _line(
        console, f"    {took}, {tuning.compiling:.2g} s of tracing and compiling" if tuning.compiling else f"    {took}"
    )


def render_choice(choice: Choice, width: int = 130) -> str:
    """All candidates of one node: copies, bias, variance (measured where it was), and why each was taken or not."""
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, force_terminal=False)
    plates = f" in {', '.join(choice.plates)}" if choice.plates else ""
    _line(console, f"{choice.name}: {choice.distribution}{plates}, {choice.estimator.label}: {choice.reason}")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("", "candidate", "bias", "copies", "variance", "verdict"):
        table.add_column(column, overflow="fold", no_wrap=column in ("candidate", "variance"))
    for c in choice.candidates:
        copies = str(c.copies) if c.copies else "-"
        bias = "biased" if c.estimator.biased else "unbiased"
        cells = (_lines(c.estimator.label), bias, copies, _variance(c), "taken" if c.taken else c.verdict)
        table.add_row("→" if c.taken else "", *map(escape, cells))
    if choice.candidates:
        console.print(table)
    return out.getvalue().rstrip()


def _lines(label: str) -> str:
    """A long label, of an estimator made of others, with each of them on its line."""
    return label if len(label) <= LABEL else label.replace("), ", "),\n  ")


def _variance(candidate: Candidate) -> str:
    found = candidate.measured
    if found is None or found.rejected:
        return candidate.variance
    return f"{found.variance:.3g} ± {found.variance_error:.1g} in {found.seconds * 1e6:.3g} µs"


def _ahead(choice: Choice) -> list[Candidate]:
    """Refused candidates that rank before the one taken."""
    taken = next((i for i, c in enumerate(choice.candidates) if c.taken), 0)
    return [c for c in choice.candidates[:taken] if not c.admissible]


def _table(plan: Plan) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("node", "distribution", "plates", "estimator", "bias", "copies"):
        table.add_column(column, overflow="fold")
    for c in plan.choices.values():
        cells = (c.name, c.distribution, ", ".join(c.plates) or "-", c.estimator.label)
        table.add_row(*map(escape, cells), "biased" if c.biased else "unbiased", str(c.copies))
    return table


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
