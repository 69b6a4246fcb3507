"""How the threads of a block share a loop tree: which loops they share, in what teams, what one does alone."""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.schedule.fusion import Loop, Op
from ppl.ir.types import Axis

TEAMS = 4
"""Teams of a block at least where there are entries enough for all of them: 32 threads each, which run together."""


def shared_loops(item: Loop) -> tuple[list[Loop], Sequence[Loop | Op]]:
    """The outer loops of a nest inside which all results are whole, and what they contain."""
    prefix: list[Loop] = []
    items: Sequence[Loop | Op] = [item]
    while len(items) == 1 and isinstance(items[0], Loop) and all(items[0] in op.complete for op in items[0].ops()):
        prefix.append(items[0])
        items = items[0].items
    return prefix, items


def team_width(
    prefix: Sequence[Loop], items: Sequence[Loop | Op], row: Axis | None, columns: bool, threads: int
) -> int:
    """Threads of a team that takes one entry of the loops `prefix`, around `items`, of a block's `threads`.

    `columns` says that these loops run over neighbouring entries in memory, and the inner ones over rows.
    """
    loops = [item for item in items if isinstance(item, Loop)]
    if not loops:
        return 1
    lengths = [_length(item, row) for item in loops]
    inner = max(threads if n is None else n for n in lengths)
    outer: int | None = 1
    for item in prefix:
        size = _size(item, row)
        outer = None if outer is None or size is None else outer * size
    most = min(_power(inner), threads)
    spare = max(1, threads // _power(outer)) if outer is not None else 1
    held = max((_power(n) for item in loops if (n := _held(item))), default=1)
    if columns:
        return max(held, min(most, spare))
    return max(held, min(most, threads // TEAMS), min(most, spare))


def _held(item: Loop) -> int:
    """Turns of the longest loop in a nest whose entries stay with their threads; 0 if there is none."""
    own = item.size.constant or 0 if item.held is not None else 0
    return max([own, *(_held(i) for i in item.items if isinstance(i, Loop))])


def one_loop(item: Loop) -> tuple[list[Loop], Sequence[Loop | Op]]:
    """Loops of a nest that can be one, of every operation either all add up or none does, and what they contain."""
    chain, items = [item], item.items
    while len(items) == 1 and isinstance(items[0], Loop):
        inner = items[0]
        if any(_adds_up(op, inner) != _adds_up(op, item) for op in inner.ops()):
            break
        chain.append(inner)
        items = inner.items
    return chain, items


def collides(op: Op) -> bool:
    """Whether turns of the innermost loop of `op` write to the same entries of memory."""
    if op.kind == "put":
        return True
    return op.kind == "reduce" and not op.in_register and bool(op.loops) and _adds_up(op, op.loops[-1])


def _size(item: Loop, row: Axis | None) -> int | None:
    """How often a loop runs, None if only known at run time; rows are those of a slab."""
    return None if row is not None and item.token == row else item.size.constant


def _length(item: Loop, row: Axis | None) -> int | None:
    """Entries of the longest innermost loop of a nest, None if only known at run time."""
    chain, items = one_loop(item)
    inside = [_length(i, row) for i in items if isinstance(i, Loop)]
    if inside:
        return None if None in inside else max(n for n in inside if n is not None)
    total = 1
    for part in chain:
        size = _size(part, row)
        if size is None:
            return None
        total *= size
    return total


def _adds_up(op: Op, item: Loop) -> bool:
    """Whether `op` adds up over a loop."""
    return any(dim.key in op.scattered for dim, own in zip(op.domain, op.loops, strict=False) if own is item)


def _power(n: int) -> int:
    """The least power of two that is at least `n`."""
    return 1 << max(0, n - 1).bit_length()
