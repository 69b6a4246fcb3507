"""Loops over rows that add up to float64: short blocks in float32, whose sums are added in float64.

A float64 accumulator in the loop itself would halve the width of all its vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppl.compiler.emit.code import (
    Expression,
    Index,
    Literal,
    Name,
    Record,
    Statement,
    assign,
    call,
    loop,
    names_in,
    rebuilt,
)
from ppl.compiler.emit.scalar import ZERO
from ppl.tuning import FLOAT32_ROWS


def blocked(var: str, size: Expression, slices: Sequence[str], body: Sequence[Statement], sums: Sequence[str]
            ) -> list[Statement] | None:  # fmt: skip
    """``for var in range(size): body`` in blocks, where `sums` are the float64 accumulators in `body`.

    `slices` are the views that it walks through. None where the body uses `var` otherwise than as an index of these.
    """
    entries: dict[Record, Record] = {Name(name).at(var): _of_block(name).at(var) for name in slices}
    others = rebuilt(tuple(body), lambda x: Literal(0) if isinstance(x, Index) and x in entries else None)
    if var in names_in(*others).used:
        return None
    changed = entries | {Name(name): _of_block(name) for name in sums}
    inner = rebuilt(tuple(body), lambda x: changed.get(x) if isinstance(x, Index | Name) else None)
    first, count = Name(f"{var}0"), Name(f"{var}n")
    lines: list[Statement] = [assign(count, call("min", FLOAT32_ROWS, size - first))]
    lines += [assign(_of_block(name), ZERO) for name in sums]
    lines += [assign(_of_block(name), call("part", name, first, count)) for name in slices]
    lines.append(loop(var, count, inner))
    lines += [assign(name, Name(name) + _of_block(name)) for name in sums]
    return [loop(first.name, size, lines, 0, FLOAT32_ROWS)]


def _of_block(name: str) -> Name:
    return Name(f"{name}b")
