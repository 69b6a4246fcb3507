"""Print text tables, numbers with their errors, and durations."""

from __future__ import annotations

import io
from collections.abc import Sequence


def render_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = (), width: int = 110
) -> str:
    """A table whose first column is text and whose others are numbers, and lines below it."""
    from rich.box import SIMPLE_HEAD  # rich is slow to import, and only tables need it
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, force_terminal=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)
    for note in notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    return out.getvalue().rstrip()


def format_number(x: float, error: float | None = None) -> str:
    """Four significant digits, with ± the standard error."""
    return f"{x:.4g}" if error is None else f"{x:.4g} ± {error:.1g}"


def seconds(x: float) -> str:
    """A duration in the unit that reads best."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if x >= scale:
            return f"{x / scale:.3g} {unit}"
    return f"{x / 1e-9:.3g} ns"
