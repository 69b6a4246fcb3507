"""CUDA kernels: write one cluster for the threads of a block, a loop tree whose iterations they share.

The outer loops inside which all results are whole are shared: one *team* of threads, a power of two of them, takes
one entry of these loops after another. Inside,
the threads of a team share the innermost loops, and merge what they have added up; what lies between is computed by
all of them and stored by the first. A team of one
thread needs neither. All teams of a block take the same number of iterations, so that they may wait for one another:
one that has run out of entries goes through the
last iteration without storing anything. Uniforms are computed where they are read, from the loops around
(`uniform_expression`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ppl.compiler.emit.addresses import AddressWriter, EntryPlace, KernelArguments, OwnedRange, buffer_start
from ppl.compiler.emit.code import (
    And,
    Argument,
    Assign,
    Choice,
    Expression,
    ExpressionLike,
    For,
    Function,
    Index,
    Literal,
    Name,
    Statement,
    Tuple,
    While,
    as_expression,
    assign,
    call,
    compare,
    do,
    loop,
    sum_of,
    when,
)
from ppl.compiler.emit.kernels import LOOP_VARIABLES, KernelWriter, running_best
from ppl.compiler.emit.scalar import noise_key, to_int, to_word
from ppl.compiler.emit.steps import NoiseRows
from ppl.compiler.lower.sizes import Poly
from ppl.compiler.lower.views import FixedIndex, LoopKey, strides_of
from ppl.compiler.schedule.loop_fusion import reads_from_local
from ppl.compiler.schedule.stages import Cluster, Loop, Op, Value
from ppl.ir.types import Axis, Kind

LEAST_TEAMS = 4
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
    lengths = [_innermost_length(item, row) for item in loops]
    inner = max(threads if n is None else n for n in lengths)
    outer: int | None = 1
    for item in prefix:
        size = _loop_length(item, row)
        outer = None if outer is None or size is None else outer * size
    most = min(_power_of_two_above(inner), threads)
    spare = max(1, threads // _power_of_two_above(outer)) if outer is not None else 1
    held = max((_power_of_two_above(n) for item in loops if (n := _register_reuse_width(item))), default=1)
    if columns:
        return max(held, min(most, spare))
    return max(held, min(most, threads // LEAST_TEAMS), min(most, spare))


def _register_reuse_width(item: Loop) -> int:
    """Turns of the longest loop in a nest whose entries stay with their threads; 0 if there is none."""
    own = item.size.constant or 0 if item.register_group is not None else 0
    return max([own, *(_register_reuse_width(i) for i in item.items if isinstance(i, Loop))])


def collapsible_loops(item: Loop) -> tuple[list[Loop], Sequence[Loop | Op]]:
    """Loops of a nest that can be one, of every operation either all add up or none does, and what they contain."""
    chain, items = [item], item.items
    while len(items) == 1 and isinstance(items[0], Loop):
        inner = items[0]
        if any(_reduces_over(op, inner) != _reduces_over(op, item) for op in inner.ops()):
            break
        chain.append(inner)
        items = inner.items
    return chain, items


def writes_collide(op: Op) -> bool:
    """Whether turns of the innermost loop of `op` write to the same entries of memory."""
    if op.kind == "put":
        return True
    return op.kind == "reduce" and not op.in_register and bool(op.loops) and _reduces_over(op, op.loops[-1])


def _loop_length(item: Loop, row: Axis | None) -> int | None:
    """How often a loop runs, None if only known at run time; rows are those of a slab."""
    return None if row is not None and item.token == row else item.size.constant


def _innermost_length(item: Loop, row: Axis | None) -> int | None:
    """Entries of the longest innermost loop of a nest, None if only known at run time."""
    chain, items = collapsible_loops(item)
    inside = [_innermost_length(i, row) for i in items if isinstance(i, Loop)]
    if inside:
        return None if None in inside else max(n for n in inside if n is not None)
    total = 1
    for part in chain:
        size = _loop_length(part, row)
        if size is None:
            return None
        total *= size
    return total


def _reduces_over(op: Op, item: Loop) -> bool:
    """Whether `op` adds up over a loop."""
    return any(dim.key in op.scattered for dim, own in zip(op.domain, op.loops, strict=False) if own is item)


def _power_of_two_above(n: int) -> int:
    """The least power of two that is at least `n`."""
    return 1 << max(0, n - 1).bit_length()


class DeviceAddressWriter(AddressWriter):
    """Addresses for devices, which have few registers for many arrays, and multiply 32-bit numbers fastest.

    How far an entry lies from where its array begins for the slab is a 32-bit number. Addresses are known to be no
    negative number, which Numba would count from the end.
    """

    def address(self, base: Expression, place: EntryPlace, skip: Loop | None = None, extra: Expression | None = None
                ) -> Expression:  # fmt: skip
        """A place as an index of the array."""
        far = super().address(Literal(0), place, skip, extra)
        if isinstance(far, Literal):
            return super().address(base, place, skip, extra)
        return call("narrow", far) if base == Literal(0) else base + call("narrow", far)

    def base(self, value: Value) -> Expression:
        """Where the buffer of `value` begins: that of all rows, which a launch is told."""
        buffer = value.buffer
        assert buffer is not None
        if buffer.rows and not buffer.literal:
            return self.passed.name(buffer.symbol, buffer_start(value))
        return super().base(value)

    def terms(
        self, op: Op, value: Value, axes: Mapping[Axis, LoopKey | FixedIndex], coefs: Mapping[LoopKey, int], offset: int
    ) -> EntryPlace:
        """Where `op` reads or writes `value`, of all rows if its buffer holds them."""
        start, moved = super().terms(op, value, axes, coefs, offset)
        if (step := self._step(value)) is not None:
            self.passed.name("t0")
            start = start + Poly.of("t0") * step
        return start, moved

    def _owned(self, value: Value) -> OwnedRange | None:
        """What `value` owns of its array for the rows of this slab, in the checked build."""
        owned, step = super()._owned(value), self._step(value)
        if owned is None or value.node.op == "input" or step is None:
            return owned
        self.passed.name("t0")
        return owned._replace(start=as_expression(owned.start) + self.passed.size(Poly.of("t0") * step))

    def _step(self, value: Value) -> Poly | None:
        """The distance of neighbouring rows, where the buffer of `value` holds all rows."""
        buffer = value.buffer
        if buffer is None or not buffer.rows or buffer.literal or self.row is None:
            return None
        return value.strides.get(self.row)

    def at(self, value: Value, array: str, address: Expression) -> Expression:
        """The entry of `value` at `address`."""
        return super().at(value, array, to_word(address))


def uniform_expression(
    op: Op, row: Axis | None, times: Sequence[Expression], passed: KernelArguments, dtype: str
) -> Expression:
    """The uniform of the entry that `op` is at, in loops over time at `times`."""
    node, value, rows = op.node, op.target, NoiseRows(op.target, row)
    *around, time = times or [Literal(0)]
    # not known further outside: else the keys of all rounds would stay in registers
    key = to_word(call("here", passed.name(f"key_{value.name}", noise_key(node))))
    for turn in around:
        key = to_word(call("mix", key, to_word(turn)))
    counted = _numbered_axis(value, row)
    inside = sum_of(
        [Literal(0), *(_loop_offset(op, k, step, passed) for k, step in _noise_strides(value) if k != counted)]
    )
    if counted is None:
        entry = inside
    else:
        ids, start, first = (passed.name(f"{what}_{value.name}", x) for what, x in zip(
            ("ids", "start", "first"), (rows.ids, rows.start, rows.first), strict=True))  # fmt: skip
        number = call("numbered", ids, start, first, _loop_index(op, counted))
        entry = number * passed.size(rows.each) + inside
    given = to_word(entry), key, time, passed.name("step"), Literal(node.attrs["purpose"])
    return call(f"uniform_{'f32' if dtype == 'float32' else 'f64'}", *given)


def _numbered_axis(value: Value, row: Axis | None) -> Axis | None:
    """The axis whose entries have numbers of their own."""
    if row is not None:
        return row if row in value.axes else None
    plate = next((a for a in value.axes if a.kind is Kind.PLATE and a.size is None), None)
    return plate if plate is not None and value.axes[0] == plate else None


def _noise_strides(value: Value) -> list[tuple[Axis | int, Poly]]:
    """How far every axis and dimension of a value moves the entry of its noise."""
    events = [(k, Poly.of(s)) for k, s in enumerate(strides_of(value.shape))]
    return [*value.strides.items(), *((k, s) for k, s in events if value.shape[k] != 1)]


def _loop_index(op: Op, key: Axis | int) -> Expression:
    loop = op.loop_of(key)
    return Literal(0) if loop is None else Name(loop.var)


def _loop_offset(op: Op, key: Axis | int, step: Poly, passed: KernelArguments) -> Expression:
    """How far an axis or dimension has moved the entry."""
    return _loop_index(op, key) * passed.size(step)


THREAD_ID, TEAM_LANE, IS_LIVE, ENTRY_NUMBER = Name("tid"), Name("lane"), Name("live"), Name("entry")

BLOCK_BARRIER = do("together")
"""The statement that waits for all threads of the block."""


class BlockKernelWriter(KernelWriter):
    """Writes the kernel of one cluster for the `threads` of a block.

    `columns` says that the outer loops run over neighbouring entries in memory, and the inner ones over rows.
    """

    def __init__(self, cluster: Cluster, row: Axis | None, threads: int, dtype: str):
        super().__init__(cluster, row)
        self.addresses = DeviceAddressWriter(cluster, row, self.passed)
        self.threads, self.dtype = threads, dtype
        self.columns = row is not None and any(row in op.scattered for op in cluster.ops)
        self.width = 1
        self.guarded = False
        self.divided: set[Loop] = set()
        self.exchanged: set[Value] = set()
        for op in cluster.ops:
            for read in op.reads:
                makers = self.makers.get(read.value)
                if makers and (read.gather is not None or not reads_from_local(makers, op)):
                    self.exchanged.add(read.value)

    def function(self, name: str, types: Mapping[str, str], form: str) -> Function:
        """The kernel, which all threads of a block call."""
        body = self._write_separate_nests(self.cluster.items)
        made = sorted({op.node.op for op in self.cluster.ops})
        arguments = tuple(Argument(a, types.get(a, "int64")) for a in self.passed.values)
        doc = f"{len(self.cluster.ops)} fused operations: {', '.join(made)}."
        return Function(name, arguments, (assign(THREAD_ID, call("here", call("thread"))), *body), doc, form)

    # shared loops

    def _write_separate_nests(self, items: Sequence[Loop | Op]) -> list[Statement]:
        """The loops one after another, if they hand nothing to each other in locals; else all as one turn."""
        handed = any(not self.makers[value][0].complete for value in self.read)
        if handed or any(isinstance(item, Op) for item in items):
            return self._write_as_one_team(items)
        lines: list[Statement] = []
        for number, item in enumerate(items):
            assert isinstance(item, Loop)
            lines += [BLOCK_BARRIER] if number else []
            lines += self._write_shared_nest(item)
        return lines

    def _write_as_one_team(self, items: Sequence[Loop | Op]) -> list[Statement]:
        """What is no turn of a shared loop: one team of all threads."""
        self.width, self.guarded = self.threads, False
        return [assign(TEAM_LANE, THREAD_ID), *self._team(items)]

    def _write_shared_nest(self, item: Loop) -> list[Statement]:
        prefix, items = shared_loops(item)
        if not prefix:
            return self._write_as_one_team([item])
        for depth, outer in enumerate(prefix):
            self._name(outer, prefix[:depth])
        self.width = team_width(prefix, items, self.row, self.columns, self.threads)
        self.guarded = self.width > 1
        total = self.addresses.size(prefix[0])
        for outer in prefix[1:]:
            total = total * self.addresses.size(outer)
        if self.width == 1:
            if len(prefix) == 1:
                return _strided_loop(prefix[0].var, total, self._team(items, tuple(prefix)), THREAD_ID, self.threads)
            body = [*self._positions(prefix, ENTRY_NUMBER), *self._team(items, tuple(prefix))]
            return _strided_loop(ENTRY_NUMBER.name, total, body, THREAD_ID, self.threads)
        teams = self.threads // self.width
        body = [
            assign(ENTRY_NUMBER, Name("turn") * teams + Name("team")),
            assign(IS_LIVE, compare(ENTRY_NUMBER, "<", "entries")),
            assign(ENTRY_NUMBER, call("min", ENTRY_NUMBER, Name("entries") - 1)),
            *self._positions(prefix, ENTRY_NUMBER),
            *self._team(items, tuple(prefix)),
        ]
        turns = call("quotient", Name("entries") + (teams - 1), teams)
        return [
            assign("entries", total),
            assign("team", call("quotient", THREAD_ID, self.width)),
            assign(TEAM_LANE, THREAD_ID - Name("team") * self.width),
            loop("turn", turns, body),
        ]

    def _name(self, item: Loop, path: Sequence[Loop]) -> None:
        item.var = LOOP_VARIABLES[item.token.kind] if isinstance(item.token, Axis) else "i"
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
                started = self._initialise_sums([item]) if item.outermost >= len(item.domain) else []
                part = [*started, *self._stored_by_first(self._statement(item, None))]
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
        chain, items = collapsible_loops(item)
        for depth, part in enumerate(chain):
            self._name(part, (*path, *chain[:depth]))
        first = item.begun()
        before = self._initialise_sums(first)
        if self.width == 1:
            self._name(item, path)
            body: list[Statement] = [loop(item.var, self.addresses.size(item), self._team(item.items, (*path, item)))]
        elif any(writes_collide(op) for op in item.ops()):
            body = self._loop_of_one_thread(item, path)
        elif all(isinstance(i, Op) for i in items):
            body = self._loop_of_team(chain, items)
        else:
            self._name(item, path)
            body = [loop(item.var, self.addresses.size(item), self._team(item.items, (*path, item)))]
        after = [x for op in first for x in (*self._merged(op), *self._stored_by_first(self._finish(op)))]
        return [*before, *body, *after]

    def _initialise_sums(self, ops: Sequence[Op]) -> list[Statement]:
        """The statements that begin sums; all threads of a team see what has been cleared."""
        lines = [x for op in ops for x in self._start(op)]
        cleared = any(isinstance(x, For | While) for x in lines)
        return [*lines, self._wait()] if cleared and self.width > 1 else lines

    def _loop_of_team(self, chain: Sequence[Loop], items: Sequence[Loop | Op]) -> list[Statement]:
        """An innermost loop, shared by the threads of a team."""
        self.divided |= set(chain)
        size = self.addresses.size(chain[0])
        for part in chain[1:]:
            size = size * self.addresses.size(part)
        stop = Choice(IS_LIVE, as_expression(size), to_int(0)) if self.guarded else size
        body = [x for op in items if isinstance(op, Op) for x in self._statement(op, None)]
        if len(chain) == 1:
            return _strided_loop(chain[0].var, stop, body, TEAM_LANE, self.width)
        return _strided_loop("spot", stop, [*self._positions(chain, Name("spot")), *body], TEAM_LANE, self.width)

    def _loop_of_one_thread(self, item: Loop, path: tuple[Loop, ...]) -> list[Statement]:
        """A nest whose turns write to the same entries: the first thread of a team takes all of them."""
        width, self.width = self.width, 1
        self._name(item, path)
        body = self._team(item.items, (*path, item))
        self.width = width
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
        number = "int64" if kind == "int" else "float64" if self._sums_in_float64(op) else self.dtype
        if op.kind == "argmax":
            found = Tuple((value, Name(running_best(op))))
            return [Assign(found, call(f"argmax_{number}", value, running_best(op), width))]
        merge = "amax" if op.node.op == "amax" else "sum"
        return [assign(value, call(f"{merge}_{number}", value, width))]

    def _first(self) -> Expression:
        """Whether this is the first thread of a team that has an entry."""
        first = compare(TEAM_LANE, "==", 0)
        return And((first, IS_LIVE)) if self.guarded else first

    def _stored_by_first(self, lines: Sequence[Statement]) -> list[Statement]:
        """Statements of a turn, in which the first thread of a team stores."""
        if self.width == 1:
            return list(lines)
        stores = [x for x in lines if isinstance(x, Assign) and isinstance(x.target, Index)]
        return [x if x not in stores else when(self._first(), [x]) for x in lines]

    def _computed(self, op: Op, args: Sequence[Expression]) -> Expression:
        if op.node.op != "noise":
            return super()._computed(op, args)
        return uniform_expression(op, self.row, args, self.passed, self.dtype)

    def _wait(self) -> Statement:
        return do("team_together", Literal(self.width))

    def _clear(self, value: Value, array: str, address: Expression, count: Expression, zero: Expression
               ) -> list[Statement]:  # fmt: skip
        place = self.addresses.at(value, array, address + Name("z") if address != Literal(0) else Name("z"))
        if self.width == 1:
            return [loop("z", count, [assign(place, zero)])]
        stop = Choice(IS_LIVE, as_expression(count), to_int(0)) if self.guarded else count
        return _strided_loop("z", stop, [assign(place, zero)], TEAM_LANE, self.width)


def _strided_loop(
    var: str, stop: ExpressionLike, body: Sequence[Statement], start: ExpressionLike, step: int
) -> list[Statement]:
    """A loop from `start` to before `stop` by `step`, which is not unrolled."""
    inside = [*body, assign(var, Name(var) + f"{var}_step")]
    before = [
        assign(f"{var}_step", call("strides", step)),
        assign(f"{var}_stop", stop),
        assign(var, call("here", start)),
    ]
    return [*before, While(compare(var, "<", f"{var}_stop"), tuple(inside))]
