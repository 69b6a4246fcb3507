"""Questions to records, and changes of them, whatever kind they are of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ppl.compiler.emit.code.expressions import Name, Record, Tuple
from ppl.compiler.emit.code.statements import Argument, Assign, For


def parts_of(x: Record) -> tuple[str, ...]:
    """The names of what a record holds, in order."""
    return tuple(type(x).__slots__)


def inside(*records: Record) -> Iterator[Record]:
    """The records and all that they consist of."""
    waiting: list[Any] = list(records)
    while waiting:
        x = waiting.pop()
        if isinstance(x, Record):
            yield x
            waiting += [getattr(x, part) for part in parts_of(x)]
        elif isinstance(x, tuple):
            waiting += x


def used(*records: Record) -> set[str]:
    """All names that occur, variables of loops and what functions are passed included."""
    out: set[str] = set()
    for x in inside(*records):
        if isinstance(x, Name | Argument):
            out.add(x.name)
        elif isinstance(x, For):
            out.add(x.var)
    return out


def bound(*records: Record) -> set[str]:
    """Names that get their values in these records: locals, variables of loops, arguments."""
    out: set[str] = set()
    for x in inside(*records):
        if isinstance(x, Argument):
            out.add(x.name)
        elif isinstance(x, For):
            out.add(x.var)
        elif isinstance(x, Assign):
            targets = x.target.items if isinstance(x.target, Tuple) else (x.target,)
            out |= {t.name for t in targets if isinstance(t, Name)}
    return out


def rebuilt(x: Any, rule: Callable[[Record], Record | None]) -> Any:
    """`x` with every record replaced for which `rule` has another one; what it gives is not looked into again."""
    if isinstance(x, tuple):
        return tuple(rebuilt(item, rule) for item in x)
    if not isinstance(x, Record):
        return x
    other = rule(x)
    return type(x)(*(rebuilt(getattr(x, part), rule) for part in parts_of(x))) if other is None else other
