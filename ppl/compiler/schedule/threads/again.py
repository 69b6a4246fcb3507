"""Cheap values computed again where they are read, for targets on which memory costs more than arithmetic.

A loop that cannot share the one that makes a value would read it from memory. A few cheap operations on what lies in
memory anyway are repeated there instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ppl.compiler.lower.identifiers import stem
from ppl.compiler.lower.views import Key, View, strides_of
from ppl.compiler.schedule.fusion import Access, Op, Value
from ppl.ir.op_facts import CHEAP
from ppl.ir.types import Axis

MOST = 4
"""Operations that are repeated for one read."""


def again(readers: Sequence[Op], makers: dict[Value, Op], name: Callable[[str], str], apart: bool) -> list[Op]:
    """`readers`, before each of them what is repeated for it.

    Parameters
    ----------
    readers : operations, in order
    makers : the only operation that makes a value, by value; what is repeated is added
    name : makes names of values
    apart : whether the readers share no loop with the makers; else those are asked whose loops differ
    """
    found: list[Op] = []
    known: dict[object, Access] = {}
    for reader in readers:
        for i, read in enumerate(reader.args):
            keys = _keys(read, makers[read.value]) if read.value in makers and not _stored(read.value) else None
            if keys is None or (not apart and _along(keys, reader)):
                continue
            place = (read.value, *keys.items(), *reader.domain)
            made: list[Op] = []
            kept: list[Value] = []
            access = known.get(place) or _repeat(read, reader, makers, name, made, kept)
            if access is not None and len(made) <= MOST:
                found += made
                makers.update((op.target, op) for op in made)
                for value in kept:
                    value.external = True
                reader.args[i] = known[place] = access
        found.append(reader)
    return found


def needed(ops: Sequence[Op]) -> list[Op]:
    """The operations whose results somebody reads."""
    kept: list[Op] = []
    read: set[Value] = set()
    for op in reversed(ops):
        if op.target in read or _stored(op.target) or op.kind != "map":
            kept.append(op)
            read |= {r.value for r in op.reads}
    return kept[::-1]


def sole_makers(ops: Sequence[Op]) -> dict[Value, Op]:
    """The operation that makes a value, for those that one makes alone, of what none overwrites."""
    changed = {op.target for op in ops if op.last}
    makers: dict[Value, list[Op]] = {}
    for op in ops:
        makers.setdefault(op.target, []).append(op)
    return {
        value: made[0]
        for value, made in makers.items()
        if len(made) == 1 and not any(r.value in changed for r in made[0].reads)
    }


def _stored(value: Value) -> bool:
    """Whether a value lies in memory anyway."""
    return value.external or value.buffer is not None


def _along(keys: Mapping[Key, Key], reader: Op) -> bool:
    """Whether the loops of a maker, which `keys` translates, are the first of `reader`."""
    return list(keys.values()) == [d.key for d in reader.domain[: len(keys)]]


def _keys(read: Access, maker: Op) -> dict[Key, Key] | None:
    """The loop of the reader that stands for each of the maker; None where there is none."""
    if read.gather is not None or read.view.offset:
        return None
    found: dict[Key, Key] = {}
    for dim in maker.domain:
        if isinstance(dim.key, Axis):
            key = read.view.axes.get(dim.key)
        else:
            step = maker.coefs.get(dim.key)
            fitting = [k for k, c in read.view.coefs.items() if c == step]
            key = fitting[0] if len(fitting) == 1 else None
        if key is None or not isinstance(key, Axis | int):
            return None
        found[dim.key] = key
    whole = set(found.values()) == {*read.view.axis_keys(), *read.view.coefs}
    return found if whole and len(set(found.values())) == len(found) else None


def _repeat(read: Access, reader: Op, makers: Mapping[Value, Op], name: Callable[[str], str], made: list[Op],
            kept: list[Value]) -> Access | None:  # fmt: skip
    """What `reader` reads instead, made by operations that are appended to `made` from values in memory.

    Values that have fewer entries are to lie there, too: they are appended to `kept`.
    """
    maker = makers[read.value]
    keys = _keys(read, maker)
    if keys is None or maker.kind != "map" or maker.node.op not in CHEAP:
        return None
    args: list[Access] = []
    for arg in maker.args:
        if arg.gather is not None or any(k not in keys for k in (*arg.view.axis_keys(), *arg.view.coefs)):
            return None
        moved: Access | None = Access(arg.value, arg.view.renamed(keys))
        inner = None if _stored(arg.value) else makers.get(arg.value)
        if inner is not None and len(inner.domain) < len(maker.domain):
            kept.append(arg.value)
        elif inner is not None and moved is not None:
            moved = _repeat(moved, reader, makers, name, made, kept)
        if moved is None:
            return None
        args.append(moved)
    axes = tuple(d.key for d in reader.domain if isinstance(d.key, Axis))
    events = sorted(d.key for d in reader.domain if isinstance(d.key, int))
    sizes = {d.key: d.size.constant for d in reader.domain}
    shape = tuple(sizes[k] or 1 for k in events)
    coefs: dict[Key, int] = dict(zip(events, strides_of(shape), strict=True))
    target = Value(maker.node, name(stem(maker.node.op)), axes, shape, maker.target.dtype)
    moving: dict[Axis, Key] = {a: a for a in axes}
    made.append(Op("map", maker.node, target, reader.domain, args, axes=moving, coefs=coefs))
    return Access(target, View(maker.node, moving, coefs))
