"""Sums over rows as clusters of their own, for targets whose threads share the loops of a region.

Threads that take different rows must not add to one number. So what is added up lies in memory first; the sums then
loop over their entries outside, which threads share, and over the rows inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ppl.compiler.schedule.fusion import Op, Value
from ppl.compiler.schedule.stages import Cluster, Opaque
from ppl.compiler.schedule.threads.again import again, needed, sole_makers
from ppl.ir.types import Axis


def sums_apart(step: Cluster | Opaque, row: Axis | None, name: Callable[[str], str]) -> list[Cluster | Opaque]:
    """A step, behind it the sums over rows that it contained, equal loops together, and then what reads them."""
    if isinstance(step, Opaque) or row is None:
        return [step]
    sums = [op for op in step.ops if row in op.scattered]
    if not sums:
        return [step]
    waiting = {op.target for op in sums}
    before: list[Op] = []
    behind: list[Op] = []
    for op in step.ops:
        if row not in op.scattered:
            waits = any(read.value in waiting for read in op.reads)
            (behind if waits else before).append(op)
            waiting |= {op.target} if waits else set()
    groups: dict[tuple[object, ...], list[Op]] = {}
    for op in sums:
        _rows_inside(op)
        groups.setdefault((op.kind == "put", op.domain[: op.outermost]), []).append(op)
    makers = sole_makers(step.ops)
    apart = [Cluster(again(group, makers, name, apart=True)) for group in groups.values()]
    kept = set(needed([*before, *(op for part in apart for op in part.ops), *behind]))
    step.ops = [op for op in before if op in kept]
    parts = [*([step] if step.ops else []), *apart, *([Cluster(behind)] if behind else [])]
    _in_memory(parts)
    return list(parts)


def _in_memory(parts: Sequence[Cluster]) -> None:
    """Let what one cluster makes and another reads lie in memory."""
    made: set[Value] = set()
    for part in parts:
        for op in part.ops:
            for read in op.reads:
                read.value.external = read.value.external or read.value in made
        made |= {op.target for op in part.ops}


def _rows_inside(op: Op) -> None:
    """Let the loops of `op` over entries of its result come first."""
    if op.kind == "put":  # the trailing dimensions of what is put at an index stay apart
        lead = len(op.node.args[1].type.shape)
        trailing = {d.key for d in op.domain if isinstance(d.key, int) and d.key >= lead}
        op.scattered = op.scattered - trailing
    first: Sequence[object] = [d for d in op.domain if d.key not in op.scattered]
    op.domain = (*(d for d in op.domain if d in first), *(d for d in op.domain if d not in first))
