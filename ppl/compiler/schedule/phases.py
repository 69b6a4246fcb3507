"""Phases: which operations of one loop prefix share no loop, so that elementary functions run in loops of vectors.

An elementary function of one number in every turn of a loop fills no vectors beside operations that go on with loops
inside that turn: a regression's scalar product of a row, the logarithm of what it gives, the row's share of a gradient.
Such operations take phases of their own: products, functions, shares, each a loop over all rows. What one phase makes
and a later one reads then lies in memory; where that would cost more than vectors save, all stays together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ppl.compiler.schedule.fusion import Op
from ppl.ir.op_facts import VECTORS
from ppl.tuning import CARRIED_ENTRIES, ROWS_INNERMOST

FUNCTIONS = VECTORS | {"log_poisson", "log_poisson_log_rate"}
"""Functions without branches, which LLVM makes vectors of."""


def phases(ops: Sequence[Op]) -> dict[int, int]:
    """The phase of every operation that needs further loops, by its id; those of one prefix, in topological order.

    No phase waits for a later one. Where a loop has no use for phases, all of its operations have the same.
    """
    alone = [op for op in ops if _goes_on(op) and _one_number(op)]
    dear = {op.head.token for op in alone if op.node.op in FUNCTIONS}
    vectors = {id(op) for op in alone}
    if dear.isdisjoint(op.head.token for op in ops if _goes_on(op) and id(op) not in vectors):
        return {}
    found = _numbered(ops, vectors)
    vectors -= _idle(ops, vectors, found)
    found = _numbered(ops, vectors)
    many = {token for token, (carried, functions) in _accounts(ops, vectors, found).items()
            if carried > CARRIED_ENTRIES * functions}  # fmt: skip
    if many:
        vectors -= {id(op) for op in ops if id(op) in vectors and op.head.token in many}
        found = _numbered(ops, vectors)
    return found if vectors else {}


def _one_number(op: Op) -> bool:
    """Whether `op` fits a loop of vectors: its next loop is its last and long, walks through memory, and is of floats.

    Whole numbers have 64 bits: beside them LLVM makes vectors of half as many floats.
    """
    if len(op.domain) - len(op.loops) != 1 or op.kind in ("put", "argmax"):
        return False
    length = op.head.size.constant
    if length is not None and length < ROWS_INNERMOST:
        return False
    whole = "int" in (op.target.dtype, *(read.value.dtype for read in op.reads))
    return not whole and op.gather is None and not any(read.gather for read in op.reads)


def _numbered(ops: Sequence[Op], vectors: set[int]) -> dict[int, int]:
    """Odd numbers for `vectors`, even ones for others: after what they read, and as late as their readers allow."""
    makers: dict[int, list[Op]] = {}
    readers: dict[int, list[Op]] = {}
    for op in ops:
        makers.setdefault(id(op.target), []).append(op)
        for read in op.reads:
            readers.setdefault(id(read.value), []).append(op)
    found: dict[int, int] = {}
    for op in ops:
        before = [found[id(d)] for r in op.reads for d in makers.get(id(r.value), ()) if id(d) in found]
        if op.last:
            before += [found[id(d)] for d in readers.get(id(op.target), ()) if id(d) in found]
        least = max(before, default=0)
        found[id(op)] = least + ((least % 2 == 1) != (id(op) in vectors)) if _goes_on(op) else least
    if any(op.last for op in ops):
        return found
    for op in reversed(ops):
        users = [found[id(u)] for u in readers.get(id(op.target), ())]
        if users and _goes_on(op) and op.kind == "map" and not op.target.external:
            most = min(users)
            found[id(op)] = max(found[id(op)], most - ((most % 2 == 1) != (id(op) in vectors)))
    return found


def _goes_on(op: Op) -> bool:
    return len(op.loops) < len(op.domain)


def _idle(ops: Sequence[Op], vectors: set[int], found: dict[int, int]) -> set[int]:
    """Those of `vectors` in whose loop there is no elementary function."""
    groups: dict[Any, list[Op]] = {}
    for op in ops:
        if id(op) in vectors:
            groups.setdefault((op.head.token, found[id(op)]), []).append(op)
    return {id(op) for group in groups.values() if not any(o.node.op in FUNCTIONS for o in group) for op in group}


def _accounts(ops: Sequence[Op], vectors: set[int], found: dict[int, int]) -> dict[Any, tuple[int, int]]:
    """For every loop: entries that a turn carries from one phase to another, and its elementary functions."""
    made = {id(op.target): op for op in ops if _goes_on(op)}
    carried: dict[Any, dict[int, int]] = {}
    functions: dict[Any, int] = {}
    for op in ops:
        if id(op) in vectors and op.node.op in FUNCTIONS:
            functions[op.head.token] = functions.get(op.head.token, 0) + 1
        for read in op.reads:
            maker = made.get(id(read.value))
            if maker is not None and not read.value.external and _apart(op, maker, found):
                carried.setdefault(maker.head.token, {})[id(read.value)] = _entries(maker)
    return {token: (sum(carried.get(token, {}).values()), count) for token, count in functions.items()}


def _apart(op: Op, maker: Op, found: dict[int, int]) -> bool:
    """Whether phases alone keep both out of one loop."""
    return _goes_on(op) and op.head.token == maker.head.token and found[id(op)] != found[id(maker)]


def _entries(op: Op) -> int:
    """Entries of its result in one turn of its next loop; lengths known only at run time count as `ROWS_INNERMOST`."""
    total = 1
    for dim in op.domain[len(op.loops) + 1 :]:
        if dim.key not in op.scattered:
            total *= dim.size.constant or ROWS_INNERMOST
    return total
