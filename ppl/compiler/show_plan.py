"""The plan as a table."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from ppl.compiler.plan import Plan


def render(plan: Plan, width: int = 110) -> str:
    """The plan as text: one row a node, then what was rejected and why."""
    table = Table(title="gradient estimators", title_justify="left", show_lines=False)
    for column in ("node", "distribution", "estimator", "bias", "copies", "costs", "why"):
        table.add_column(column, overflow="fold")
    for c in plan.choices.values():
        where = f"{c.distribution}" + (f" [{', '.join(c.plates)}]" if c.plates else "")
        table.add_row(
            c.name,
            where.replace("[", "\\["),
            c.estimator.label,
            "biased" if c.biased else "unbiased",
            str(c.copies),
            ", ".join(c.costs) or "none",
            c.reason,
        )
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, force_terminal=False)
    console.print(table)
    for c in plan.choices.values():
        if c.rejected:
            console.print(f"rejected for {c.name}:", markup=False)
            for label, why in c.rejected:
                console.print(f"  {label}: {why}", markup=False, highlight=False)
    regions = "" if plan.regions is None else f", {plan.regions} row regions"
    console.print(f"{plan.copies} copies of the downstream computation, {plan.particles} particles{regions}", markup=False)
    for note in plan.notes:
        console.print(note, markup=False)
    return out.getvalue().rstrip()
