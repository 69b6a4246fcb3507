"""Columns: values of a tile that loops over rows walk through have their rows side by side in memory.

Elementary functions of few particles, states or entries take rows in their innermost loop (`regions.rows_innermost`,
`phases`). Where a value lies row by row, such a loop reads every fourth or fifth entry, which takes twice as long as
the function itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.lower.views import Entry
from ppl.compiler.schedule.fusion import Access, Loop, Op, Value
from ppl.compiler.schedule.memory import all_steps
from ppl.compiler.schedule.stages import Opaque, Stage
from ppl.compiler.schedule.values import Builder
from ppl.ir.types import Axis

Use = tuple[Op, Access | None]
"""An operation that reads a value, or makes it (None)."""


def by_columns(stages: Sequence[Stage], builder: Builder, short: int) -> None:
    """Let values of tiles lie column by column where their innermost loops are those over rows, or sums of fewer than
    `short` entries.

    Only fused operations may read and write them, and not where data say; not products, nor loops some of whose turns
    do not run.
    """
    uses: dict[Value, list[Use]] = {}
    elsewhere: set[Value] = set()
    for step in (step for stage in stages if stage.row is not None for step in all_steps(stage)):
        if isinstance(step, Opaque):
            if step.node.op != "turns" or step.test is not None or step.node.attrs["stop"] is not None:
                elsewhere.update(builder.touched(step))
            continue
        for op in step.ops:
            uses.setdefault(op.target, []).append((op, None))
            for read in op.reads:
                uses.setdefault(read.value, []).append((op, read))
    for value, row in ((v, stage.row) for stage in stages if stage.row is not None for v in stage.tiles):
        several = row in value.axes and value.extent(skip=(row,)).constant != value.turns
        if several and value not in elsewhere and value in uses:
            value.columns = _walked(uses[value], row, short)


def _walked(uses: Sequence[Use], row: Axis, short: int) -> bool:
    """Whether an innermost loop over rows walks through a value with these uses, and no other does, but short sums."""
    over_rows = False
    for op, read in uses:
        if not _plain(op, read):
            return False
        inner = op.loops[-1] if op.loops else None
        if inner is not None and inner.token == row:
            over_rows = True
        elif inner is not None and _moves(op, read, inner) and not _is_short_sum(op, short):
            return False
    return over_rows


def _is_short_sum(op: Op, short: int) -> bool:
    """Whether the innermost loop of `op` adds up a few entries, which fills no vectors."""
    last = op.domain[-1]
    return op.in_register and last.key in op.scattered and (last.size.constant or short) < short


def _plain(op: Op, read: Access | None) -> bool:
    """Whether `op` reads or makes entries that no data choose, but for the step of a stack, and clears none or all."""
    value, gather = (op.target, op.gather) if read is None else (read.value, read.gather)
    if gather is not None and (value.stack is None or gather[1] != value.block or gather[0].value.axes):
        return False
    return read is not None or op.kind in ("map", "output") or op.in_register or op.begins == 0


def _moves(op: Op, read: Access | None, inner: Loop) -> bool:
    """Whether the loop `inner` of `op` moves the entry that it writes, or reads through `read`."""
    axes, coefs = (op.axes, op.coefs) if read is None else (read.view.axes, read.view.coefs)
    keys = [k for k in axes.values() if not isinstance(k, Entry)] + [k for k, coef in coefs.items() if coef]
    return any(op.loop_of(key) is inner for key in keys)
