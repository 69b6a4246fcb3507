"""Kernels: write one cluster, a loop tree, as one function.

Arrays are flat. Before an innermost loop, every array is cut to the contiguous part that the loop walks through
(`h_1_ = w[...]`), so that indices start at zero and
the loop vectorises; values that do not move are loaded to locals.

Rewrites of the written loops: `unroll_rows` takes several rows at a time in loops that add to the same few entries
(a regression's gradient); `block_double_sums` adds up
short blocks in float32 and their sums in float64, whose width would halve all vectors; `split_kernel` cuts long
kernels, because LLVM takes more than twice as long
for a function of twice as many loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

from ppl.compiler.emit.addresses import AddressWriter, HoistedLocals, KernelArguments
from ppl.compiler.emit.code import (
    Argument,
    Assign,
    Binary,
    Call,
    Choice,
    Do,
    Expression,
    For,
    Function,
    Index,
    Literal,
    Name,
    Record,
    Statement,
    assign,
    call,
    compare,
    do,
    loop,
    names_in,
    rewrite_records,
    sum_of,
    walk_records,
    when,
)
from ppl.compiler.emit.scalar import INF, ONE, ZERO, literal, scalar_call, scalar_expression, to_float, to_int
from ppl.compiler.lower.sizes import Poly, axis_size, identifier
from ppl.compiler.schedule.loop_fusion import reads_from_local
from ppl.compiler.schedule.stages import Access, Cluster, Loop, Op, Value, remaining_dims
from ppl.ir.node import Node
from ppl.ir.types import Axis, Kind
from ppl.tuning import FLOAT32_ROWS, LONG_KERNEL, ROLLED_LEAST, ROWS_ABREAST

LOOP_VARIABLES = {Kind.REPEATS: "q", Kind.PLATE: "r", Kind.PARTICLES: "k", Kind.ENUM: "e", Kind.BRANCH: "c"}


class KernelWriter:
    """Writes the kernel of one cluster, and then knows what it is passed."""

    def __init__(self, cluster: Cluster, row: Axis | None):
        self.cluster, self.row = cluster, row
        self.passed = KernelArguments()
        self.addresses = AddressWriter(cluster, row, self.passed)
        self.makers: dict[Value, list[Op]] = {}
        for op in cluster.ops:
            self.makers.setdefault(op.target, []).append(op)
        self.read: set[Value] = set()
        for op in cluster.ops:
            self.read |= {r.value for r in op.reads if reads_from_local(self.makers.get(r.value, ()), op)}

    def function(self, name: str, types: Mapping[str, str], form: str) -> Function:
        """The kernel; `types` are those of all that it may be passed and are no whole numbers."""
        body = self._block(self.cluster.items, None, ())
        made = sorted({op.node.op for op in self.cluster.ops})
        arguments = tuple(Argument(a, types.get(a, "int64")) for a in self.passed.values)
        doc = f"{len(self.cluster.ops)} fused operations: {', '.join(made)}."
        return Function(name, arguments, (do("prefer_full_width"), *body), doc, form, self._noalias_arguments())

    def _noalias_arguments(self) -> tuple[str, ...]:
        """Arguments with which buffers begin, if there are loops; what lies at a fixed place of a workspace has none.

        Nor have tables whose entries are read or written one by one where data say: LLVM would make vectors of such
        loops, and gathering takes longer.
        """
        if not any(isinstance(item, Loop) for item in self.cluster.items):
            return ()
        values = {v for op in self.cluster.ops for v in (op.target, *(r.value for r in op.reads))}
        values -= {v for op in self.cluster.ops for v in _scattered_values(op)}
        found = {b.array if b.literal else b.symbol for v in values if (b := v.buffer) is not None} - {"w", "v"}
        return tuple(sorted(found & self.passed.values.keys()))

    def call(self, function: Function) -> Do:
        """The statement that calls it, or a piece of it."""
        return do(function.name, *(self.passed.values[a.name] for a in function.arguments))

    # reads and writes

    def _gather(self, op: Op, gather: tuple[Access, int | Axis] | None, limit: int, value: Value,
                inner: Loop | None) -> tuple[Expression | None, bool]:  # fmt: skip
        """What an index adds to an address, and whether it moves with the loop `inner`."""
        if gather is None:
            return None, False
        index, target = gather
        row = self._load(op, index, inner)
        step = value.stride(target) if isinstance(target, int) else value.strides[target]
        held = self.addresses.before.memo.values()
        moving = inner is None or not (
            isinstance(row, Name) and (row in held or self._set_outside_loop(op, index, inner))
        )
        self.passed.size(step)
        return call("min", call("max", row, 0), limit - 1) * step, moving

    def _set_outside_loop(self, op: Op, access: Access, inner: Loop) -> bool:
        """Whether what `op` reads is a local that was set outside the loop `inner`."""
        makers = self.makers.get(access.value, [])
        return access.gather is None and reads_from_local(makers, op) and inner not in makers[0].complete

    def _load(self, op: Op, access: Access, inner: Loop | None) -> Expression:
        value, view = access.value, access.view
        if value in self.makers and access.gather is None and reads_from_local(self.makers[value], op):
            return Name(value.name)
        known = self._inline_value(value)
        if known is not None:
            return known
        gather, moving = self._gather(op, access.gather, access.limit, value, inner)
        where = self.addresses.terms(op, value, view.axes, view.coefs, view.offset)
        entry = self._converted(value, self.addresses.entry(value, where, inner, gather, moving))
        if inner is not None and inner not in where[1] and not moving:
            return self.addresses.hoist(entry, value.name)
        return entry

    def _converted(self, value: Value, entry: Expression) -> Expression:
        if value.dtype == "bool":
            return compare(entry, "!=", 0)
        if value.buffer is not None and value.buffer.array == "sums":
            return to_float(entry)
        if value.node.op == "input":
            return to_float(entry) if value.dtype == "float" else to_int(entry)
        return entry

    def _inline_value(self, value: Value) -> Expression | None:
        """Values that are no memory: literal constants, sizes, scales."""
        node = value.node
        if node.op == "const" and node.attrs["value"].value.size == 1:
            return literal(node.attrs["value"].value.ravel()[0], value.dtype)
        if node.op == "size":
            return to_float(self.passed.size(axis_size(node.attrs["axis"])))
        return self.passed.name(scale_name(node)) if node.op == "scale" else None

    def _stored(self, op: Op, inner: Loop | None) -> Expression:
        """The entry that `op` writes."""
        value = op.target
        gather, moving = self._gather(op, op.gather, op.limit, value, inner)
        where = self.addresses.terms(op, value, op.axes, op.coefs, op.offset)
        return self.addresses.entry(value, where, inner, gather, moving)

    # statements

    def _block(self, items: Sequence[Loop | Op], inner: Loop | None, path: tuple[Loop, ...]) -> list[Statement]:
        body: list[Statement] = []
        for item in items:
            if isinstance(item, Op):
                body += self._start(item) if item.outermost >= len(item.domain) else []
                body += self._statement(item, inner)
            else:
                body += self._loop(item, path)
        return body

    def _loop(self, item: Loop, path: tuple[Loop, ...]) -> list[Statement]:
        item.var = LOOP_VARIABLES[item.token.kind] if isinstance(item.token, Axis) else "i"
        if any(outer.var == item.var for outer in path):
            item.var += str(len(path))
        first = item.begun()
        lines: list[Statement] = [x for op in first for x in self._start(op)]
        inner = item if item.innermost else None
        outside, self.addresses.before = self.addresses.before, HoistedLocals()
        body = self._block(item.items, inner, (*path, item))
        size, sums = (
            self.addresses.size(item),
            [op.target.name for op in first if self._sums_in_float64(op)] if inner else [],
        )
        before, self.addresses.before = self.addresses.before, outside
        other = block_double_sums(item.var, size, before.views, body, sums) if sums else None
        if not inner and all(op.target.dtype == "float" for op in item.ops()):
            other = unroll_rows(item.var, size, body)
        lines += [*before.statements, *(other or [loop(item.var, size, body)])]
        return lines + [x for op in first for x in self._finish(op)]

    @staticmethod
    def _sums_in_float64(op: Op) -> bool:
        """Whether `op` adds up to float64 in a float32 program."""
        return op.in_register and op.target.buffer is not None and op.target.buffer.array == "sums"

    def _start(self, op: Op) -> list[Statement]:
        """Initialise what `op` accumulates."""
        if op.kind in ("map", "output", "piece"):
            return []
        value, kind = op.target, "int" if op.target.dtype == "int" else "float"
        zero = self._lowest(kind) if op.node.op == "amax" else literal(0, kind)
        if op.in_register:
            if op.outermost >= len(op.domain):
                return []
            if op.kind == "argmax":
                lowest = self._lowest(op.args[0].value.dtype)
                return [assign(value.name, to_int(0)), assign(running_best(op), lowest)]
            in_double = self._sums_in_float64(op) and op.node.op != "amax"
            return [assign(value.name, call(Name("np").dot("float64"), 0) if in_double else zero)]
        if value.accumulates or self.makers[value][0] is not op:
            return []
        return self._clear(value, *self._remaining_entries(op), zero)

    def _clear(self, value: Value, array: str, address: Expression, count: Expression, zero: Expression
               ) -> list[Statement]:  # fmt: skip
        """Set `count` entries of `value` from `address` on."""
        return [Assign(self.addresses.filled(value, array, address, count), zero)]

    def _remaining_entries(self, op: Op) -> tuple[str, Expression, Expression]:
        """All entries of its result that `op` makes in the loops that are still to come: array, first, how many."""
        value, depth, addresses = op.target, op.begins, self.addresses
        start, terms = addresses.terms(op, value, op.axes, op.coefs, 0)
        terms = {k: s for k, s in terms.items() if k in op.loops[:depth]}
        address = addresses.address(addresses.base(value), (start, terms))
        size = Poly.of(1)
        inside = remaining_dims(op, depth)
        assert inside is not None, f"{value.name} is not made in the order of its memory"
        for dim in inside:
            size = size * (Poly.of("n") if dim.key == self.row else dim.size)
        if "n" in size.names:
            self.passed.name("n")
        return addresses.array(value), address, self.passed.size(size)

    @staticmethod
    def _lowest(dtype: str) -> Expression:
        return -INF if dtype == "float" else to_int(-9223372036854775807)

    def _statement(self, op: Op, inner: Loop | None) -> list[Statement]:
        args = [self._load(op, a, inner) for a in op.args]
        if op.kind == "argmax":
            return self._argmax(op, args[0])
        if op.kind in ("map", "output"):
            return self._assign(op, self._computed(op, args) if op.kind == "map" else args[0], inner)
        if op.kind == "piece":
            pieces = sum_of(args) if args else literal(0, op.target.dtype)
            return [assign(self._stored(op, inner), self._as_stored(op.target, pieces))]
        (new,) = args
        if op.in_register:
            if op.outermost >= len(op.domain):
                return self._assign(op, new, inner)
            name = Name(op.target.name)
            return [assign(name, self._merge(op, name, new))]
        place = self._stored(op, inner)
        return [assign(place, self._merge(op, place, new) if op.kind != "pad" else new)]

    def _computed(self, op: Op, args: Sequence[Expression]) -> Expression:
        """The entry that `op` computes from those of its arguments."""
        return scalar_expression(op.node, args)

    def _argmax(self, op: Op, new: Expression) -> list[Statement]:
        name, best = op.target.name, running_best(op)
        if op.outermost >= len(op.domain):
            return [assign(name, to_int(0)), *self._finish(op)]
        found = [assign(best, new), assign(name, to_int(op.loops[-1].var))]
        return [when(compare(new, ">", best), found)]

    def _merge(self, op: Op, old: Expression, new: Expression) -> Expression:
        if op.node.op == "amax":
            return scalar_call("maximum", old, new) if op.target.dtype == "float" else call("max", old, new)
        return old + new

    def _as_stored(self, value: Value, x: Expression) -> Expression:
        if value.buffer is not None and value.buffer.array not in ("v", "iout") and value.dtype != "float":
            return Choice(x, ONE, ZERO) if value.dtype == "bool" else to_float(x)
        return x

    def _assign(self, op: Op, new: Expression, inner: Loop | None) -> list[Statement]:
        value = op.target
        if value.buffer is None:
            return [assign(value.name, new)]
        place = self._stored(op, inner)
        if value.accumulates:
            return [assign(place, self._merge(op, place, self._as_stored(value, new)))]
        if value in self.read:
            return [assign(value.name, new), assign(place, self._as_stored(value, Name(value.name)))]
        return [assign(place, self._as_stored(value, new))]

    def _finish(self, op: Op) -> list[Statement]:
        """Store what was accumulated in a register, once its loops have ended."""
        value, addresses = op.target, self.addresses
        if not op.in_register or value.buffer is None:
            return []
        where = addresses.terms(op, value, op.axes, op.coefs, op.offset)
        base = addresses.base(value)
        place = addresses.at(value, addresses.array(value), addresses.address(base, where))
        return [assign(place, self._merge(op, place, Name(value.name)) if value.accumulates else value.name)]


def _scattered_values(op: Op) -> list[Value]:
    """What `op` reads or writes at indices that differ from entry to entry: not whole rows, which fill vectors."""
    found = [(op.target, op.gather), *((r.value, r.gather) for r in op.reads)]
    return [value for value, gather in found if gather and not _moves_whole_rows(op, gather[0])]


def _moves_whole_rows(op: Op, index: Access) -> bool:
    """Whether an index stays what it is in the innermost loop of `op`, which LLVM does not write out."""
    if not op.domain:
        return True
    last, moving = op.domain[-1], {*index.view.axes.values(), *index.view.coefs}
    return not moving or (last.key not in moving and (last.size.constant or ROLLED_LEAST) >= ROLLED_LEAST)


def running_best(op: Op) -> str:
    """The local that holds the largest value so far."""
    return f"best_{op.target.name}"


def scale_name(node: Node) -> str:
    """The local that holds the factor N/B of a plate."""
    axis = node.attrs.get("axis")
    return "scale_" + identifier(axis.name if isinstance(axis, Axis) else str(node.attrs.get("name", axis)))


R = TypeVar("R", bound=Record)

CONVERSIONS = (Name("F"), Name("I"))
"""Functions that cost nothing beside an addition."""


def unroll_rows(var: str, size: Expression, body: Sequence[Statement]) -> list[Statement] | None:
    """``for var in range(size): body`` with `ROWS_ABREAST` turns in one; None where turns do more than to add.

    `body` sets locals, and then its loops multiply and add to entries that are the same ones in every turn.
    """
    loops = [x for x in body if isinstance(x, For)]
    before = list(body[: len(body) - len(loops)])
    if not loops or not all(_sets_local(x) for x in before):
        return None
    statements = (*before, *(y for x in loops for y in x.body))
    moved = _names_moved_by_loop(var, statements)
    if not all(isinstance(x, Assign) for x in statements) or _reads_previous_iteration(statements):
        return None
    if not all(_only_adds(x, moved) for x in loops):
        return None
    fixed = [x for x in before if not names_in(x).bound & moved]
    first = [x for x in before if x not in fixed]
    end = Binary("*", Binary("//", size, Literal(ROWS_ABREAST)), Literal(ROWS_ABREAST))
    several = [_copy_for_row(x, var, moved, k) for k in range(ROWS_ABREAST) for x in first]
    several += [loop(x.var, x.stop, list(_body_of_several_rows(x, var, moved))) for x in loops]
    return [*fixed, loop(var, end, several, 0, ROWS_ABREAST), loop(var, size, [*first, *loops], end)]


def _sets_local(x: Statement) -> bool:
    return isinstance(x, Assign) and isinstance(x.target, Name) and not x.op


def _reads_previous_iteration(statements: Sequence[Statement]) -> bool:
    """Whether a turn reads a local that an earlier turn has set."""
    to_come = names_in(*statements).bound
    for x in statements:
        assert isinstance(x, Assign)
        if names_in(x.value).used & to_come:
            return True
        to_come -= names_in(x).bound
    return False


def _names_moved_by_loop(var: str, statements: Sequence[Statement]) -> set[str]:
    """The loop's variable, and the locals whose values it moves."""
    moved = {var}
    for x in statements:
        found = names_in(x)
        if found.used - found.bound & moved:
            moved |= found.bound
    return moved


def _only_adds(x: For, moved: set[str]) -> bool:
    """Whether a loop of a known length sets locals by arithmetic, and adds to entries that no row moves."""
    if not isinstance(x.stop, Literal) or x.start is not None or x.step is not None:
        return False
    if any(isinstance(y, Call) and y.function not in CONVERSIONS for y in walk_records(*x.body)):
        return False
    return any(not _sets_local(y) for y in x.body) and all(_sets_local(y) or _added_value(y, moved) for y in x.body)


def _added_value(x: Statement, moved: set[str]) -> Expression | None:
    """What a statement adds to an entry that no row moves; None where it does something else."""
    if not (isinstance(x, Assign) and isinstance(x.target, Index) and not names_in(x.target).used & moved):
        return None
    value = x.value
    return value.right if isinstance(value, Binary) and value.op == "+" and value.left == x.target else None


def _body_of_several_rows(x: For, var: str, moved: set[str]) -> Iterator[Statement]:
    """The body of a loop for several rows: their sum is added to each entry."""
    for y in x.body:
        added = _added_value(y, moved)
        if added is None:
            rows_of = range(ROWS_ABREAST if names_in(y).bound & moved else 1)
            yield from (_copy_for_row(y, var, moved, k) for k in rows_of)
            continue
        assert isinstance(y, Assign)
        rows: list[Expression] = [_copy_for_row(added, var, moved, k) for k in range(ROWS_ABREAST)]
        while len(rows) > 1:
            rows = [scalar_call("plus", a, b) for a, b in zip(rows[::2], rows[1::2], strict=True)]
        yield Assign(y.target, y.target + rows[0])


def _copy_for_row(x: R, var: str, moved: set[str], k: int) -> R:
    """A statement or expression for the row that is `k` behind `var`, whose locals are its own."""

    def changed(y: Record) -> Record | None:
        if not isinstance(y, Name) or y.name not in moved:
            return None
        return (y + k if k else y) if y.name == var else Name(f"{y.name}x{k}")

    found: R = rewrite_records(x, changed)
    return found


def block_double_sums(var: str, size: Expression, slices: Sequence[str], body: Sequence[Statement], sums: Sequence[str]
            ) -> list[Statement] | None:  # fmt: skip
    """``for var in range(size): body`` in blocks, where `sums` are the float64 accumulators in `body`.

    `slices` are the views that it walks through. None where the body uses `var` otherwise than as an index of these.
    """
    entries: dict[Record, Record] = {Name(name).at(var): _block_local(name).at(var) for name in slices}
    others = rewrite_records(tuple(body), lambda x: Literal(0) if isinstance(x, Index) and x in entries else None)
    if var in names_in(*others).used:
        return None
    changed = entries | {Name(name): _block_local(name) for name in sums}
    inner = rewrite_records(tuple(body), lambda x: changed.get(x) if isinstance(x, Index | Name) else None)
    first, count = Name(f"{var}0"), Name(f"{var}n")
    lines: list[Statement] = [assign(count, call("min", FLOAT32_ROWS, size - first))]
    lines += [assign(_block_local(name), ZERO) for name in sums]
    lines += [assign(_block_local(name), call("part", name, first, count)) for name in slices]
    lines.append(loop(var, count, inner))
    lines += [assign(name, Name(name) + _block_local(name)) for name in sums]
    return [loop(first.name, size, lines, 0, FLOAT32_ROWS)]


def _block_local(name: str) -> Name:
    return Name(f"{name}b")


def split_kernel(function: Function) -> list[Function]:
    """The function, or several that do the same one after the other, each of about `LONG_KERNEL` loops.

    It is cut where no local lives on.
    """
    body = function.body
    if sum(isinstance(x, For) for x in body) <= LONG_KERNEL:
        return [function]
    parts = [body[start:end] for start, end in _cut_places(body)]
    return [_kernel_part(function, part, i, len(parts)) for i, part in enumerate(parts)]


def _kernel_part(function: Function, body: Sequence[Statement], i: int, count: int) -> Function:
    used = names_in(*body).used
    arguments = tuple(a for a in function.arguments if a.name in used)
    begin = () if i == 0 else (do("prefer_full_width"),)
    return replace(
        function,
        name=f"{function.name}_part_{i}" if i else function.name,
        arguments=arguments,
        body=(*begin, *body),
        doc=f"Part {i + 1} of {count}. {function.doc}",
        noalias=tuple(name for name in function.noalias if name in used),
    )


def _cut_places(body: Sequence[Statement]) -> list[tuple[int, int]]:
    """Where pieces begin and end."""
    names = [names_in(x) for x in body]
    last = {name: i for i, found in enumerate(names) for name in found.used}
    ends, loops, alive = [0], 0, -1
    for i, x in enumerate(body):
        counted = {y.var for y in walk_records(x) if isinstance(y, For)}
        alive = max([alive, *(last.get(name, i) for name in names[i].bound - counted)])
        loops += isinstance(x, For)
        if loops >= LONG_KERNEL and alive <= i:
            ends.append(i + 1)
            loops = 0
    if ends[-1] < len(body):
        ends.append(len(body))
    return list(pairwise(ends))
