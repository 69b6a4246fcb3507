"""Nesting: the operations of one cluster are arranged into statements and shared loops.

At each loop prefix operations without remaining loops become statements; of the others, as many as possible share the
next loop (`ppl.compiler.schedule.fusion`), if they are of one phase (`phases`). Clusters may have thousands of
operations and hundreds of loops, so what waits for what is kept up to date and not looked up anew for every loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

from ppl.compiler.lower.target import Fusion
from ppl.compiler.schedule.fusion import Access, Loop, Op
from ppl.compiler.schedule.phases import phases


class _Pending:
    """Operations at one loop prefix that have no place yet: statements, and by their next loop those that need one.

    `makers` are the pending operations that write a value, by its id; `users` those that read one that is overwritten.
    `before` counts what an operation waits for, `after` has those that wait for it, and `free` those of a group that
    wait for nothing. `phases` are those of operations that must not share a loop with all others, by their ids.
    """

    def __init__(self, ops: Sequence[Op], apart: bool):
        self.phases = phases(ops) if apart else {}
        self.place = {id(op): number for number, op in enumerate(ops)}
        self.statements: dict[int, Op] = {}
        self.groups: dict[Any, dict[int, Op]] = {}
        self.makers: dict[int, dict[int, Op]] = {}
        self.users: dict[int, dict[int, Op]] = {id(op.target): {} for op in ops if op.last}
        for op in ops:
            whole = len(op.loops) == len(op.domain)
            (self.statements if whole else self.groups.setdefault(self.key(op), {}))[id(op)] = op
            if not op.last:
                self.makers.setdefault(id(op.target), {})[id(op)] = op
            for found in self._users(op):
                found[id(op)] = op
        self.before = dict.fromkeys(self.place, 0)
        self.after: dict[int, list[Op]] = {}
        for op in ops:
            for other in self._earlier(op):
                self.before[id(op)] += 1
                self.after.setdefault(id(other), []).append(op)
        self.free = {k: {i: op for i, op in g.items() if not self.before[i]} for k, g in self.groups.items()}

    def key(self, op: Op) -> tuple[Any, int]:
        """The group of an operation that needs a loop: all of one may share the next."""
        return op.head.token, self.phases.get(id(op), 0)

    def _earlier(self, op: Op) -> Iterator[Op]:
        """The pending operations that come before one, as often as it waits for them."""
        yield from (d for r in op.reads for d in self.made(r.value) if d is not op)
        if op.last:
            users = self.users[id(op.target)].values()
            yield from (d for d in users for r in d.reads if r.value is op.target)

    def _users(self, op: Op) -> list[dict[int, Op]]:
        return [self.users[id(r.value)] for r in op.reads if id(r.value) in self.users] if self.users else []

    def made(self, value: Any) -> Iterable[Op]:
        """Pending operations that write a value, those that overwrite it aside."""
        return self.makers.get(id(value), {}).values()

    def ordered(self) -> list[tuple[Any, int]]:
        """The groups, in the order of their operations."""
        return sorted(self.groups, key=lambda key: self.place[next(iter(self.groups[key]))])

    def take(self, group: dict[int, Op], ops: Iterable[Op]) -> None:
        """Remove `ops` of a group."""
        for op in ops:
            del group[id(op)]
            self.makers.get(id(op.target), {}).pop(id(op), None)
            for found in self._users(op):
                found.pop(id(op), None)
            self._go_on(op)

    def _go_on(self, op: Op) -> None:
        """Nobody waits for `op` any more."""
        if len(op.loops) < len(op.domain):
            self.free[self.key(op)].pop(id(op), None)
        for other in self.after.pop(id(op), ()):
            self.before[id(other)] -= 1
            if not self.before[id(other)] and len(other.loops) < len(other.domain):
                self.free[self.key(other)][id(other)] = other

    def ready(self, op: Op) -> bool:
        """Whether nothing that is pending comes before a statement."""
        return not any(self.made(r.value) for r in op.reads) and not (op.last and self.users[id(op.target)])


def nest(ops: Sequence[Op], limits: Fusion) -> list[Loop | Op]:
    """Arrange `ops` (in topological order, all at the same loop prefix) into statements and shared loops.

    `limits` are those of the target.
    """
    pending = _Pending(ops, limits.vectors_apart)
    items: list[Loop | Op] = []
    while True:
        for op in list(pending.statements.values()):
            if pending.ready(op):
                items.append(op)
                pending.take(pending.statements, [op])
        if not pending.statements and not pending.groups:
            return items
        key, members = _choose(pending, limits)
        pending.take(pending.groups[key], members)
        if not pending.groups[key]:
            del pending.groups[key]
        loop = Loop(key[0], members[0].head.size)
        for op in members:
            op.loops.append(loop)
        loop.items = nest(members, limits)
        items.append(loop)


def _choose(pending: _Pending, limits: Fusion) -> tuple[tuple[Any, int], list[Op]]:
    """The group whose loop can take in the most, complete groups first."""
    best: tuple[tuple[Any, int], list[Op]] | None = None
    rank = (False, 0)
    for key in pending.ordered():
        members = _together(key, pending, limits)
        score = (len(members) == len(pending.groups[key]), len(members))
        if members and (best is None or score > rank):
            best, rank = (key, members), score
    if best is None:
        raise AssertionError("the scheduler found a cycle")
    return best


def _together(key: tuple[Any, int], pending: _Pending, limits: Fusion) -> list[Op]:
    """The operations of a group that can share the next loop: in their order, those that wait for no others."""
    group = pending.groups[key]
    members: list[Op] = []
    inside: set[int] = set()
    arrays: set[int] = set()
    met: Counter[int] = Counter()
    waiting = [(pending.place[i], op) for i, op in pending.free[key].items()]
    heapify(waiting)
    while waiting and len(members) < limits.operations:
        op = heappop(waiting)[1]
        before = ((op, r, d) for r in op.reads for d in pending.made(r.value) if d is not op)
        if not all(id(d) in inside and aligned(op, r, d) for op, r, d in before):
            continue
        users = pending.users[id(op.target)].values() if op.last else ()
        after = ((d, r) for d in users for r in d.reads if r.value is op.target)
        if not all(id(d) in inside and aligned(d, r, op) for d, r in after):
            continue
        if len(op.domain) - len(op.loops) == 1:
            touched = {id(r.value) for r in op.reads if not pending.made(r.value)}
            touched |= {id(op.target)} if op.target.external or op.kind != "map" else set()
            if members and len(arrays | touched) > limits.arrays:
                continue
            arrays |= touched
        members.append(op)
        inside.add(id(op))
        for other in pending.after.get(id(op), ()):
            met[id(other)] += 1
            if met[id(other)] == pending.before[id(other)] and id(other) in group:
                heappush(waiting, (pending.place[id(other)], other))
    return members


def aligned(user: Op, read: Access, maker: Op) -> bool:
    """Whether `user`, in the loop that both need next, reads what `maker` has just written there."""
    mine, theirs = user.head.key, maker.head.key
    if theirs in maker.scattered or read.gather is not None:
        return False
    if isinstance(theirs, int):
        same = read.view.coefs.get(mine) == maker.coefs.get(theirs) is not None
        return same and read.view.offset == 0 and maker.offset == 0
    return read.view.axes.get(theirs) == mine and maker.axes.get(theirs) == theirs
