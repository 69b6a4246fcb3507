"""Columns: values of a tile that loops over rows walk through have their rows side by side in memory.

Elementary functions of few particles, states or entries take rows in their innermost loop (`regions.rows_innermost`,
`phases`). Where a value lies row by row, such a loop reads every fourth or fifth entry, which takes twice as long as
the function itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.lower.views import Entry, Poly
from ppl.compiler.schedule.fusion import Access, Loop, Op, Value
from ppl.compiler.schedule.memory import all_steps
from ppl.compiler.schedule.stages import Opaque, Stage
from ppl.compiler.schedule.values import Builder
from ppl.ir.types import Axis

Use = tuple[Op, Access | None]
"""An operation that reads a value, or makes it (None)."""


def by_columns(stages: Sequence[Stage], builder: Builder) -> None:
    """Let values of tiles lie column by column where their innermost loops are those over rows.

    Only fused operations may read and write them, one entry at a time; not products, loops or gathers.
    """
    uses: dict[Value, list[Use]] = {}
    elsewhere: set[Value] = set()
    for step in (step for stage in stages if stage.row is not None for step in all_steps(stage)):
        if isinstance(step, Opaque):
            elsewhere.update(builder.touched(step))
            continue
        for op in step.ops:
            uses.setdefault(op.target, []).append((op, None))
            for read in op.reads:
                uses.setdefault(read.value, []).append((op, read))
    for stage in stages:
        for value in stage.tiles if stage.row is not None else ():
            several = stage.row in value.axes and value.extent(skip=(stage.row,)).constant != 1
            if several and value.stack is None and value not in elsewhere and _walked(uses[value], stage.row):
                value.columns = Poly.of(f"tile_{stage.name}")


def _walked(uses: Sequence[Use], row: Axis) -> bool:
    """Whether an innermost loop over rows walks through a value with these uses, and no other innermost loop does."""
    over_rows = False
    for op, read in uses:
        gathered = op.gather if read is None else read.gather
        if gathered is not None or op.last or (read is None and not op.in_register):
            return False
        inner = op.loops[-1] if op.loops else None
        if inner is not None and inner.token == row:
            over_rows = True
        elif inner is not None and _moves(op, read, inner):
            return False
    return over_rows


def _moves(op: Op, read: Access | None, inner: Loop) -> bool:
    """Whether the loop `inner` of `op` moves the entry that it writes, or reads through `read`."""
    axes, coefs = (op.axes, op.coefs) if read is None else (read.view.axes, read.view.coefs)
    keys = [k for k in axes.values() if not isinstance(k, Entry)] + [k for k, coef in coefs.items() if coef]
    return any(op.loop_of(key) is inner for key in keys)
