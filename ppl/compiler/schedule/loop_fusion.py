"""Loop fusion: arrange the operations of one cluster into one loop tree, whose bodies keep values in local variables.

Loops run in the canonical order (row, nested plates, particles, enumerations, branch, event). At each loop prefix,
operations without remaining loops become statements; of the others, as many as possible share the next loop
(`nest_loops`). Two operations share a loop if one reads the other's result at the very index of that loop. Elementwise
leaves with elementary functions are split from deeper nests into vector loops of their own (`vector_phases`).
`place_results` decides which results need memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

from ppl.compiler.lower.target import Fusion
from ppl.compiler.schedule.stages import Access, Loop, Op, Value, remaining_dims
from ppl.ir.op_facts import VECTORS
from ppl.tuning import CARRIED_ENTRIES, ROWS_INNERMOST


class _PendingOps:
    """Operations at one loop prefix that have no place yet: statements, and by their next loop those that need one.

    `makers` are the pending operations that write a value, by its id; `users` those that read one that is overwritten.
    `before` counts what an operation waits for, `after` has those that wait for it, and `free` those of a group that
    wait for nothing. `phases` are those of operations that must not share a loop with all others, by their ids.
    """

    def __init__(self, ops: Sequence[Op], apart: bool):
        self.phases = vector_phases(ops) if apart else {}
        self.place = {id(op): number for number, op in enumerate(ops)}
        self.statements: dict[int, Op] = {}
        self.groups: dict[Any, dict[int, Op]] = {}
        self.makers: dict[int, dict[int, Op]] = {}
        self.users: dict[int, dict[int, Op]] = {id(op.target): {} for op in ops if op.last}
        for op in ops:
            whole = len(op.loops) == len(op.domain)
            (self.statements if whole else self.groups.setdefault(self.group_of(op), {}))[id(op)] = op
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

    def group_of(self, op: Op) -> tuple[Any, int]:
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
            self._release_waiting(op)

    def _release_waiting(self, op: Op) -> None:
        """Nobody waits for `op` any more."""
        if len(op.loops) < len(op.domain):
            self.free[self.group_of(op)].pop(id(op), None)
        for other in self.after.pop(id(op), ()):
            self.before[id(other)] -= 1
            if not self.before[id(other)] and len(other.loops) < len(other.domain):
                self.free[self.group_of(other)][id(other)] = other

    def ready(self, op: Op) -> bool:
        """Whether nothing that is pending comes before a statement."""
        return not any(self.made(r.value) for r in op.reads) and not (op.last and self.users[id(op.target)])


def nest_loops(ops: Sequence[Op], limits: Fusion) -> list[Loop | Op]:
    """Arrange `ops` (in topological order, all at the same loop prefix) into statements and shared loops.

    `limits` are those of the target.
    """
    pending = _PendingOps(ops, limits.split_vector_loops)
    items: list[Loop | Op] = []
    while True:
        for op in list(pending.statements.values()):
            if pending.ready(op):
                items.append(op)
                pending.take(pending.statements, [op])
        if not pending.statements and not pending.groups:
            return items
        key, members = _choose_loop(pending, limits)
        pending.take(pending.groups[key], members)
        if not pending.groups[key]:
            del pending.groups[key]
        loop = Loop(key[0], members[0].head.size)
        for op in members:
            op.loops.append(loop)
        loop.items = nest_loops(members, limits)
        items.append(loop)


def _choose_loop(pending: _PendingOps, limits: Fusion) -> tuple[tuple[Any, int], list[Op]]:
    """The group whose loop can take in the most, complete groups first."""
    best: tuple[tuple[Any, int], list[Op]] | None = None
    rank = (False, 0)
    for key in pending.ordered():
        members = _ops_sharing_loop(key, pending, limits)
        score = (len(members) == len(pending.groups[key]), len(members))
        if members and (best is None or score > rank):
            best, rank = (key, members), score
    if best is None:
        raise AssertionError("the scheduler found a cycle")
    return best


def _ops_sharing_loop(key: tuple[Any, int], pending: _PendingOps, limits: Fusion) -> list[Op]:
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
        if not all(id(d) in inside and reads_same_iteration(op, r, d) for op, r, d in before):
            continue
        users = pending.users[id(op.target)].values() if op.last else ()
        after = ((d, r) for d in users for r in d.reads if r.value is op.target)
        if not all(id(d) in inside and reads_same_iteration(d, r, op) for d, r in after):
            continue
        if len(op.domain) - len(op.loops) == 1:
            touched = {id(r.value) for r in op.reads if not pending.made(r.value)}
            touched |= {id(op.target)} if op.target.in_memory or op.kind != "map" else set()
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


def reads_same_iteration(user: Op, read: Access, maker: Op) -> bool:
    """Whether `user`, in the loop that both need next, reads what `maker` has just written there."""
    mine, theirs = user.head.key, maker.head.key
    if theirs in maker.scattered or read.gather is not None:
        return False
    if isinstance(theirs, int):
        same = read.view.coefs.get(mine) == maker.coefs.get(theirs) is not None
        return same and read.view.offset == 0 and maker.offset == 0
    return read.view.axes.get(theirs) == mine and maker.axes.get(theirs) == theirs


VECTOR_FUNCTIONS = VECTORS | {"log_poisson", "log_poisson_log_rate"}
"""Functions without branches, which LLVM makes vectors of."""


def vector_phases(ops: Sequence[Op]) -> dict[int, int]:
    """The phase of every operation that needs further loops, by its id; those of one prefix, in topological order.

    No phase waits for a later one. Where a loop has no use for phases, all of its operations have the same.
    """
    alone = [op for op in ops if _needs_more_loops(op) and _fits_vector_loop(op)]
    dear = {op.head.token for op in alone if op.node.op in VECTOR_FUNCTIONS}
    vectors = {id(op) for op in alone}
    if dear.isdisjoint(op.head.token for op in ops if _needs_more_loops(op) and id(op) not in vectors):
        return {}
    found = _number_phases(ops, vectors)
    vectors -= _without_functions(ops, vectors, found)
    found = _number_phases(ops, vectors)
    many = {token for token, (carried, functions) in _phase_costs(ops, vectors, found).items()
            if carried > CARRIED_ENTRIES * functions}  # fmt: skip
    if many:
        vectors -= {id(op) for op in ops if id(op) in vectors and op.head.token in many}
        found = _number_phases(ops, vectors)
    return found if vectors else {}


def _fits_vector_loop(op: Op) -> bool:
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


def _number_phases(ops: Sequence[Op], vectors: set[int]) -> dict[int, int]:
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
        found[id(op)] = least + ((least % 2 == 1) != (id(op) in vectors)) if _needs_more_loops(op) else least
    if any(op.last for op in ops):
        return found
    for op in reversed(ops):
        users = [found[id(u)] for u in readers.get(id(op.target), ())]
        if users and _needs_more_loops(op) and op.kind == "map" and not op.target.in_memory:
            most = min(users)
            found[id(op)] = max(found[id(op)], most - ((most % 2 == 1) != (id(op) in vectors)))
    return found


def _needs_more_loops(op: Op) -> bool:
    return len(op.loops) < len(op.domain)


def _without_functions(ops: Sequence[Op], vectors: set[int], found: dict[int, int]) -> set[int]:
    """Those of `vectors` in whose loop there is no elementary function."""
    groups: dict[Any, list[Op]] = {}
    for op in ops:
        if id(op) in vectors:
            groups.setdefault((op.head.token, found[id(op)]), []).append(op)
    return {
        id(op) for group in groups.values() if not any(o.node.op in VECTOR_FUNCTIONS for o in group) for op in group
    }


def _phase_costs(ops: Sequence[Op], vectors: set[int], found: dict[int, int]) -> dict[Any, tuple[int, int]]:
    """For every loop: entries that a turn carries from one phase to another, and its elementary functions."""
    made = {id(op.target): op for op in ops if _needs_more_loops(op)}
    carried: dict[Any, dict[int, int]] = {}
    functions: dict[Any, int] = {}
    for op in ops:
        if id(op) in vectors and op.node.op in VECTOR_FUNCTIONS:
            functions[op.head.token] = functions.get(op.head.token, 0) + 1
        for read in op.reads:
            maker = made.get(id(read.value))
            if maker is not None and not read.value.in_memory and _split_by_phases(op, maker, found):
                carried.setdefault(maker.head.token, {})[id(read.value)] = _entries_per_iteration(maker)
    return {token: (sum(carried.get(token, {}).values()), count) for token, count in functions.items()}


def _split_by_phases(op: Op, maker: Op, found: dict[int, int]) -> bool:
    """Whether phases alone keep both out of one loop."""
    return _needs_more_loops(op) and op.head.token == maker.head.token and found[id(op)] != found[id(maker)]


def _entries_per_iteration(op: Op) -> int:
    """Entries of its result in one turn of its next loop; lengths known only at run time count as `ROWS_INNERMOST`."""
    total = 1
    for dim in op.domain[len(op.loops) + 1 :]:
        if dim.key not in op.scattered:
            total *= dim.size.constant or ROWS_INNERMOST
    return total


def place_results(ops: Sequence[Op]) -> list[Value]:
    """Decide which results of a cluster need memory; returns those that need only scratch, with their `prefix` set."""
    makers: dict[Value, list[Op]] = {}
    for op in ops:
        makers.setdefault(op.target, []).append(op)
    users: dict[Value, list[Op]] = {}
    for op in ops:
        for read in op.reads:
            if read.value in makers:
                users.setdefault(read.value, []).append(op)
    scratch = []
    for value, defs in makers.items():
        if value.in_memory or value.buffer is not None:
            continue
        far = [u for u in users.get(value, []) if not reads_from_local(defs, u)]
        if not far and all(d.in_register for d in defs):
            continue
        value.prefix = _common_loops([d.complete for d in defs] + [tuple(u.loops) for u in users.get(value, [])])
        while any(remaining_dims(d, len(value.prefix)) is None for d in defs):
            value.prefix = value.prefix[:-1]
        scratch.append(value)
    return scratch


def reads_from_local(defs: Sequence[Op], user: Op) -> bool:
    """Whether `user` can take the result of `defs` from a local variable."""
    if len(defs) != 1 or not defs[0].in_register:
        return False
    path = defs[0].complete
    return len(user.loops) >= len(path) and all(map(_same_iterations, user.loops, path))


def _same_iterations(a: Loop, b: Loop) -> bool:
    """Whether the turns of both loops are those of one, or of the same threads."""
    return a is b or (a.register_group is not None and a.register_group is b.register_group)


def _common_loops(paths: Sequence[tuple[Loop, ...]]) -> tuple[Loop, ...]:
    out = []
    for group in zip(*paths, strict=False):
        if any(g is not group[0] for g in group):
            break
        out.append(group[0])
    return tuple(out)
