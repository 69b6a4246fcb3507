"""Questions to records, and changes of them, whatever kind they are of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, NamedTuple

from ppl.compiler.emit.code.expressions import Name, Record, Tuple
from ppl.compiler.emit.code.statements import Argument, Assign, For

PLAIN = ("str", "bool", "tuple[str, ...]", "Any")
"""Types of what records hold that is no record."""


_getters: dict[type, Callable[[Any], Any] | None] = {}


def _parts(x: Any) -> Any:
    """The records that `x` consists of; None where there are none."""
    if type(x) not in _getters:
        found = [f.name for f in dataclasses.fields(x) if f.type not in PLAIN]
        _getters[type(x)] = attrgetter(*found) if found else None
    parts = _getters[type(x)]
    return None if parts is None else parts(x)


def inside(*records: Record) -> Iterator[Record]:
    """The records and all that they consist of."""
    waiting: list[Any] = list(records)
    while waiting:
        x = waiting.pop()
        if isinstance(x, tuple):
            waiting += x
        elif x is not None:
            yield x
            waiting.append(_parts(x))


class Names(NamedTuple):
    """Names that occur somewhere, and those of them that get their values there: locals and arguments."""

    used: set[str]
    bound: set[str]


def names_in(*records: Record) -> Names:
    """The names in records."""
    found = Names(set(), set())
    for x in inside(*records):
        if isinstance(x, Name):
            found.used.add(x.name)
        elif isinstance(x, Argument):
            found.bound.add(x.name)
        elif isinstance(x, For):
            found.bound.add(x.var)
        elif isinstance(x, Assign):
            targets = x.target.items if isinstance(x.target, Tuple) else (x.target,)
            found.bound.update(t.name for t in targets if isinstance(t, Name))
    return found


def rebuilt(x: Any, rule: Callable[[Record], Record | None]) -> Any:
    """`x` with every record replaced for which `rule` has another one; what it gives is not looked into again."""
    if isinstance(x, tuple):
        return tuple(rebuilt(item, rule) for item in x)
    if not isinstance(x, Record):
        return x
    other = rule(x)
    if other is not None:
        return other
    assert dataclasses.is_dataclass(x)
    return type(x)(*(rebuilt(getattr(x, f.name), rule) for f in dataclasses.fields(x)))
