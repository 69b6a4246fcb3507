"""Emission of one cluster for the threads of a block: a loop tree whose turns they share.

The outer loops inside which all results are whole are shared: one *team* of threads, a power of two of them, takes one
entry of these loops after another. Inside, the threads of a team share the innermost loops, and merge what they have
added up; what lies between is computed by all of them and stored by the first. A team of one thread needs neither.
All teams of a block take the same number of turns, so that they may wait for one another: one that has run out of
entries goes through the last turn without storing anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ppl.compiler.emit.code import (
    Argument,
    Assign,
    Both,
    Choice,
    Expression,
    For,
    Function,
    Given,
    Index,
    Literal,
    Name,
    Statement,
    While,
    assign,
    call,
    compare,
    do,
    loop,
    term,
    when,
)
from ppl.compiler.emit.code.expressions import Tuple
from ppl.compiler.emit.cuda.addresses import Unsigned
from ppl.compiler.emit.cuda.sharing import collides, one_loop, shared_loops, team_width
from ppl.compiler.emit.cuda.uniforms import uniform
from ppl.compiler.emit.loops import VARS, KernelWriter, best_of
from ppl.compiler.emit.scalar import to_int
from ppl.compiler.schedule.fusion import Loop, Op, Value, near
from ppl.compiler.schedule.stages import Cluster
from ppl.ir.types import Axis

TID, LANE, LIVE, ENTRY = Name("tid"), Name("lane"), Name("live"), Name("entry")

Across = tuple[Loop, ...] | None
"""Loops whose turns threads take side by side, as one loop; none if all do the same; None: one thread alone."""

TOGETHER = do("together")
"""The statement that waits for all threads of the block."""


class BlockWriter(KernelWriter):
    """Writes the kernel of one cluster for the `threads` of a block.

    `columns` says that the outer loops run over neighbouring entries in memory, and the inner ones over rows.
    """

    def __init__(self, cluster: Cluster, row: Axis | None, threads: int, dtype: str):
        super().__init__(cluster, row)
        self.addresses = Unsigned(cluster, row, self.passed)
        self.threads, self.dtype = threads, dtype
        self.columns = row is not None and any(row in op.scattered for op in cluster.ops)
        self.width = 1
        self.guarded = False
        self.reading: dict[Op, Across] = {}
        """The loops that tell threads apart which read what an operation needs, and which store its result."""
        self.storing: dict[Op, Across] = {}
        self._across: Across = ()
        self._first_across: Across = ()
        self.divided: set[Loop] = set()
        self.exchanged: set[Value] = set()
        for op in cluster.ops:
            for read in op.reads:
                makers = self.makers.get(read.value)
                if makers and (read.gather is not None or not near(makers, op)):
                    self.exchanged.add(read.value)

    def function(self, name: str, types: Mapping[str, str], form: str) -> Function:
        """The kernel, which all threads of a block call."""
        body = self._separate(self.cluster.items)
        made = sorted({op.node.op for op in self.cluster.ops})
        arguments = tuple(Argument(a, types.get(a, "int64")) for a in self.passed.values)
        doc = f"{len(self.cluster.ops)} fused operations: {', '.join(made)}."
        return Function(name, arguments, (assign(TID, call("here", call("thread"))), *body), doc, form)

    # shared loops

    def _separate(self, items: Sequence[Loop | Op]) -> list[Statement]:
        """The loops one after another, if they hand nothing to each other in locals; else all as one turn."""
        handed = any(not self.makers[value][0].complete for value in self.read)
        if handed or any(isinstance(item, Op) for item in items):
            return self._alone(items)
        lines: list[Statement] = []
        for number, item in enumerate(items):
            assert isinstance(item, Loop)
            lines += [TOGETHER] if number else []
            lines += self._shared(item)
        return lines

    def _alone(self, items: Sequence[Loop | Op]) -> list[Statement]:
        """What is no turn of a shared loop: one team of all threads."""
        self.width, self.guarded = self.threads, False
        self._across = self._first_across = ()
        return [assign(LANE, TID), *self._team(items)]

    def _shared(self, item: Loop) -> list[Statement]:
        prefix, items = shared_loops(item)
        if not prefix:
            return self._alone([item])
        for depth, outer in enumerate(prefix):
            self._name(outer, prefix[:depth])
        self.width = team_width(prefix, items, self.row, self.columns, self.threads)
        self.guarded = self.width > 1
        self._first_across = tuple(prefix)
        self._across = tuple(prefix) if self.width == 1 else ()
        total = self.addresses.size(prefix[0])
        for outer in prefix[1:]:
            total = total * self.addresses.size(outer)
        if self.width == 1:
            if len(prefix) == 1:
                return _strided(prefix[0].var, total, self._team(items, tuple(prefix)), TID, self.threads)
            body = [*self._positions(prefix, ENTRY), *self._team(items, tuple(prefix))]
            return _strided(ENTRY.name, total, body, TID, self.threads)
        teams = self.threads // self.width
        body = [
            assign(ENTRY, Name("turn") * teams + Name("team")),
            assign(LIVE, compare(ENTRY, "<", "entries")),
            assign(ENTRY, call("min", ENTRY, Name("entries") - 1)),
            *self._positions(prefix, ENTRY),
            *self._team(items, tuple(prefix)),
        ]
        turns = call("quotient", Name("entries") + (teams - 1), teams)
        return [
            assign("entries", total),
            assign("team", call("quotient", TID, self.width)),
            assign(LANE, TID - Name("team") * self.width),
            loop("turn", turns, body),
        ]

    def _name(self, item: Loop, path: Sequence[Loop]) -> None:
        item.var = VARS[item.token.kind] if isinstance(item.token, Axis) else "i"
        if any(outer.var == item.var for outer in path):
            item.var += str(len(path))

    def _positions(self, loops: Sequence[Loop], entry: Expression) -> list[Statement]:
        """The variables of nested loops from the number of their turn."""
        lines: list[Statement] = []
        left = entry
        for item in reversed(loops[1:]):
            size, whole = self.addresses.size(item), Name(f"{item.var}_before")
            lines += [assign(whole, call("quotient", left, size)), assign(item.var, left - whole * size)]
            left = whole
        return [*lines, assign(loops[0].var, left)]

    # what a team does in one turn

    def _team(self, items: Sequence[Loop | Op], path: tuple[Loop, ...] = ()) -> list[Statement]:
        lines: list[Statement] = []
        for item in items:
            if isinstance(item, Op):
                started = self._started([item]) if item.outermost >= len(item.domain) else []
                part = [*started, *self._by_first(self._statement(item, None))]
                ops = [item]
            else:
                part, ops = self._inside(item, path), list(item.ops())
            if self.width > 1 and any(op.last for op in ops):
                lines.append(self._wait())
            lines += part
            if self.width > 1 and any(op.target in self.exchanged for op in ops):
                lines.append(self._wait())
        return lines

    def _inside(self, item: Loop, path: tuple[Loop, ...]) -> list[Statement]:
        """A loop in a turn of a team."""
        chain, items = one_loop(item)
        for depth, part in enumerate(chain):
            self._name(part, (*path, *chain[:depth]))
        first = item.begun()
        before = self._started(first)
        if self.width == 1:
            self._name(item, path)
            body: list[Statement] = [loop(item.var, self.addresses.size(item), self._team(item.items, (*path, item)))]
        elif any(collides(op) for op in item.ops()):
            body = self._by_one(item, path)
        elif all(isinstance(i, Op) for i in items):
            body = self._lanes(chain, items)
        else:
            self._name(item, path)
            body = [loop(item.var, self.addresses.size(item), self._team(item.items, (*path, item)))]
        after = [x for op in first for x in (*self._merged(op), *self._by_first(self._finish(op)))]
        return [*before, *body, *after]

    def _started(self, ops: Sequence[Op]) -> list[Statement]:
        """The statements that begin sums; all threads of a team see what has been cleared."""
        lines = [x for op in ops for x in self._start(op)]
        cleared = any(isinstance(x, For | While) for x in lines)
        return [*lines, self._wait()] if cleared and self.width > 1 else lines

    def _lanes(self, chain: Sequence[Loop], items: Sequence[Loop | Op]) -> list[Statement]:
        """An innermost loop, shared by the threads of a team."""
        self.divided |= set(chain)
        size = self.addresses.size(chain[0])
        for part in chain[1:]:
            size = size * self.addresses.size(part)
        stop = Choice(LIVE, term(size), to_int(0)) if self.guarded else size
        outside, self._across = self._across, tuple(chain)
        body = [x for op in items if isinstance(op, Op) for x in self._statement(op, None)]
        self._across = outside
        if len(chain) == 1:
            return _strided(chain[0].var, stop, body, LANE, self.width)
        return _strided("spot", stop, [*self._positions(chain, Name("spot")), *body], LANE, self.width)

    def _by_one(self, item: Loop, path: tuple[Loop, ...]) -> list[Statement]:
        """A nest whose turns write to the same entries: the first thread of a team takes all of them."""
        width, self.width = self.width, 1
        across, self._across = self._across, None
        self._name(item, path)
        body = self._team(item.items, (*path, item))
        self.width, self._across = width, across
        for op in item.ops():
            self.divided |= set(op.loops[-1:])
        stop = Choice(self._first(), self.addresses.size(item), to_int(0))
        return [loop(item.var, stop, body)]

    def _merged(self, op: Op) -> list[Statement]:
        """The statement that merges what the threads of a team have found."""
        if self.width == 1 or op.kind not in ("reduce", "argmax") or not op.in_register:
            return []
        if op.loops[-1] not in self.divided:
            return []
        value, width = Name(op.target.name), Literal(self.width)
        kind = op.args[0].value.dtype if op.kind == "argmax" else op.target.dtype
        number = "int64" if kind == "int" else "float64" if self._in_double(op) else self.dtype
        if op.kind == "argmax":
            found = Tuple((value, Name(best_of(op))))
            return [Assign(found, call(f"argmax_{number}", value, best_of(op), width))]
        merge = "amax" if op.node.op == "amax" else "sum"
        return [assign(value, call(f"{merge}_{number}", value, width))]

    def _first(self) -> Expression:
        """Whether this is the first thread of a team that has an entry."""
        first = compare(LANE, "==", 0)
        return Both((first, LIVE)) if self.guarded else first

    def _by_first(self, lines: Sequence[Statement]) -> list[Statement]:
        """Statements of a turn, in which the first thread of a team stores."""
        if self.width == 1:
            return list(lines)
        stores = [x for x in lines if isinstance(x, Assign) and isinstance(x.target, Index)]
        return [x if x not in stores else when(self._first(), [x]) for x in lines]

    def _statement(self, op: Op, inner: Loop | None) -> list[Statement]:
        self.reading[op] = self._across
        self.storing[op] = self._storing()
        return super()._statement(op, inner)

    def _computed(self, op: Op, args: Sequence[Expression]) -> Expression:
        if op.node.op != "noise":
            return super()._computed(op, args)
        return uniform(op, self.row, args, self.passed, self.dtype)

    def _finish(self, op: Op) -> list[Statement]:
        self.storing[op] = self._storing()
        return super()._finish(op)

    def _storing(self) -> Across:
        """The loops that tell apart the first threads of teams, if these store."""
        return None if self._across is None else self._across or self._first_across

    def _wait(self) -> Statement:
        return do("team_together", Literal(self.width))

    def _clear(self, value: Value, array: str, address: Expression, count: Expression, zero: Expression
               ) -> list[Statement]:  # fmt: skip
        place = self.addresses.at(value, array, address + Name("z") if address != Literal(0) else Name("z"))
        if self.width == 1:
            return [loop("z", count, [assign(place, zero)])]
        stop = Choice(LIVE, term(count), to_int(0)) if self.guarded else count
        return _strided("z", stop, [assign(place, zero)], LANE, self.width)


def _strided(var: str, stop: Given, body: Sequence[Statement], start: Given, step: int) -> list[Statement]:
    """A loop from `start` to before `stop` by `step`, which is not unrolled."""
    inside = [*body, assign(var, Name(var) + f"{var}_step")]
    before = [
        assign(f"{var}_step", call("strides", step)),
        assign(f"{var}_stop", stop),
        assign(var, call("here", start)),
    ]
    return [*before, While(compare(var, "<", f"{var}_stop"), tuple(inside))]
