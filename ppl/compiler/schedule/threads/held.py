"""Short loops side by side whose entries stay with their threads, for targets whose threads share innermost loops.

Where a team of threads takes all turns of a loop at once, each thread one, the next loop of the same length finds what
it reads in the registers of the very thread that reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ppl.compiler.schedule.fusion import Loop, Op


def hold(items: Sequence[Loop | Op], most: int) -> None:
    """Mark the innermost loops of up to `most` turns that lie side by side inside another loop.

    Nests that write to entries in an order that data tell are taken by one thread; with one of those, none is marked.
    """
    ops = [op for item in items for op in ([item] if isinstance(item, Op) else item.ops())]
    if most and not any(op.kind == "put" or (op.kind == "reduce" and not op.in_register) for op in ops):
        for item in items:
            if isinstance(item, Loop):
                _inside(item, most)


def _inside(outer: Loop, most: int) -> None:
    groups: dict[Any, list[Loop]] = {}
    for item in outer.items:
        if isinstance(item, Loop) and item.innermost and (item.size.constant or most + 1) <= most:
            groups.setdefault((item.token, item.size.constant), []).append(item)
        elif isinstance(item, Loop):
            _inside(item, most)
    for group in groups.values():
        for item in group if len(group) > 1 else ():
            item.held = group[0]
