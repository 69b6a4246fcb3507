"""Shared loops: rewrites for targets whose threads share the loops of a region.

`rematerialise` repeats cheap operations where their result is read, for memory costs more than arithmetic.
`split_reductions` makes clusters of sums over rows, whose
outer loops threads share: threads that take different rows must not add to one number. `mark_register_reuse` marks
short loops side by side whose entries stay
with their threads, in registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ppl.compiler.lower.sizes import value_stem
from ppl.compiler.lower.views import LoopKey, View, strides_of
from ppl.compiler.schedule.stages import Access, Cluster, Loop, Op, Opaque, Value
from ppl.ir.op_facts import CHEAP
from ppl.ir.types import Axis

MOST_REPEATED = 4
"""Operations that are repeated for one read."""


def rematerialise(readers: Sequence[Op], makers: dict[Value, Op], name: Callable[[str], str], apart: bool) -> list[Op]:
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
            keys = (
                _matching_loops(read, makers[read.value])
                if read.value in makers and not _is_in_memory(read.value)
                else None
            )
            if keys is None or (not apart and _runs_along(keys, reader)):
                continue
            place = (read.value, *keys.items(), *reader.domain)
            made: list[Op] = []
            kept: list[Value] = []
            access = known.get(place) or _repeat_for_reader(read, reader, makers, name, made, kept)
            if access is not None and len(made) <= MOST_REPEATED:
                found += made
                makers.update((op.target, op) for op in made)
                for value in kept:
                    value.in_memory = True
                reader.args[i] = known[place] = access
        found.append(reader)
    return found


def drop_unread(ops: Sequence[Op]) -> list[Op]:
    """The operations whose results somebody reads."""
    kept: list[Op] = []
    read: set[Value] = set()
    for op in reversed(ops):
        if op.target in read or _is_in_memory(op.target) or op.kind != "map":
            kept.append(op)
            read |= {r.value for r in op.reads}
    return kept[::-1]


def unique_makers(ops: Sequence[Op]) -> dict[Value, Op]:
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


def _is_in_memory(value: Value) -> bool:
    """Whether a value lies in memory anyway."""
    return value.in_memory or value.buffer is not None


def _runs_along(keys: Mapping[LoopKey, LoopKey], reader: Op) -> bool:
    """Whether the loops of a maker, which `keys` translates, are the first of `reader`."""
    return list(keys.values()) == [d.key for d in reader.domain[: len(keys)]]


def _matching_loops(read: Access, maker: Op) -> dict[LoopKey, LoopKey] | None:
    """The loop of the reader that stands for each of the maker; None where there is none."""
    if read.gather is not None or read.view.offset:
        return None
    found: dict[LoopKey, LoopKey] = {}
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


def _repeat_for_reader(read: Access, reader: Op, makers: Mapping[Value, Op], name: Callable[[str], str], made: list[Op],
            kept: list[Value]) -> Access | None:  # fmt: skip
    """What `reader` reads instead, made by operations that are appended to `made` from values in memory.

    Values that have fewer entries are to lie there, too: they are appended to `kept`.
    """
    maker = makers[read.value]
    keys = _matching_loops(read, maker)
    if keys is None or maker.kind != "map" or maker.node.op not in CHEAP:
        return None
    args: list[Access] = []
    for arg in maker.args:
        if arg.gather is not None or any(k not in keys for k in (*arg.view.axis_keys(), *arg.view.coefs)):
            return None
        moved: Access | None = Access(arg.value, arg.view.renamed(keys))
        inner = None if _is_in_memory(arg.value) else makers.get(arg.value)
        if inner is not None and len(inner.domain) < len(maker.domain):
            kept.append(arg.value)
        elif inner is not None and moved is not None:
            moved = _repeat_for_reader(moved, reader, makers, name, made, kept)
        if moved is None:
            return None
        args.append(moved)
    axes = tuple(d.key for d in reader.domain if isinstance(d.key, Axis))
    events = sorted(d.key for d in reader.domain if isinstance(d.key, int))
    sizes = {d.key: d.size.constant for d in reader.domain}
    shape = tuple(sizes[k] or 1 for k in events)
    coefs: dict[LoopKey, int] = dict(zip(events, strides_of(shape), strict=True))
    target = Value(maker.node, name(value_stem(maker.node.op)), axes, shape, maker.target.dtype)
    moving: dict[Axis, LoopKey] = {a: a for a in axes}
    made.append(Op("map", maker.node, target, reader.domain, args, axes=moving, coefs=coefs))
    return Access(target, View(maker.node, moving, coefs))


def split_reductions(step: Cluster | Opaque, row: Axis | None, name: Callable[[str], str]) -> list[Cluster | Opaque]:
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
        _move_rows_inside(op)
        groups.setdefault((op.kind == "put", op.domain[: op.outermost]), []).append(op)
    makers = unique_makers(step.ops)
    apart = [Cluster(rematerialise(group, makers, name, apart=True)) for group in groups.values()]
    kept = set(drop_unread([*before, *(op for part in apart for op in part.ops), *behind]))
    step.ops = [op for op in before if op in kept]
    parts = [*([step] if step.ops else []), *apart, *([Cluster(behind)] if behind else [])]
    _store_between_clusters(parts)
    return list(parts)


def _store_between_clusters(parts: Sequence[Cluster]) -> None:
    """Let what one cluster makes and another reads lie in memory."""
    made: set[Value] = set()
    for part in parts:
        for op in part.ops:
            for read in op.reads:
                read.value.in_memory = read.value.in_memory or read.value in made
        made |= {op.target for op in part.ops}


def _move_rows_inside(op: Op) -> None:
    """Let the loops of `op` over entries of its result come first."""
    if op.kind == "put":  # the trailing dimensions of what is put at an index stay apart
        lead = len(op.node.args[1].type.shape)
        trailing = {d.key for d in op.domain if isinstance(d.key, int) and d.key >= lead}
        op.scattered = op.scattered - trailing
    first: Sequence[object] = [d for d in op.domain if d.key not in op.scattered]
    op.domain = (*(d for d in op.domain if d in first), *(d for d in op.domain if d not in first))


def mark_register_reuse(items: Sequence[Loop | Op], most: int) -> None:
    """Mark the innermost loops of up to `most` turns that lie side by side inside another loop.

    Nests that write to entries in an order that data tell are taken by one thread; with one of those, none is marked.
    """
    ops = [op for item in items for op in ([item] if isinstance(item, Op) else item.ops())]
    if most and not any(op.kind == "put" or (op.kind == "reduce" and not op.in_register) for op in ops):
        for item in items:
            if isinstance(item, Loop):
                _mark_loops_inside(item, most)


def _mark_loops_inside(outer: Loop, most: int) -> None:
    groups: dict[Any, list[Loop]] = {}
    for item in outer.items:
        if isinstance(item, Loop) and item.innermost and (item.size.constant or most + 1) <= most:
            groups.setdefault((item.token, item.size.constant), []).append(item)
        elif isinstance(item, Loop):
            _mark_loops_inside(item, most)
    for group in groups.values():
        for item in group if len(group) > 1 else ():
            item.register_group = group[0]
