"""Emission of one cluster: a loop tree as one kernel function.

Arrays are flat. Before an innermost loop, every array is cut to the contiguous part that the loop walks through
(`h_1_ = w[...]`), so that indices start at zero and the loop vectorises; values that do not move are loaded to locals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ppl.compiler.emit.address import Addresses, Hoisted, Passed
from ppl.compiler.emit.code import (
    Argument,
    Assign,
    Choice,
    Do,
    Expression,
    Function,
    Name,
    Statement,
    assign,
    call,
    compare,
    do,
    loop,
    total,
    when,
)
from ppl.compiler.emit.rows.abreast import abreast
from ppl.compiler.emit.rows.blocks import blocked
from ppl.compiler.emit.scalar import INF, ONE, ZERO, expression, literal, scalar, to_float, to_int
from ppl.compiler.lower.identifiers import identifier
from ppl.compiler.lower.views import Poly, axis_size
from ppl.compiler.schedule.fusion import Access, Loop, Op, Value, near, rest
from ppl.compiler.schedule.stages import Cluster
from ppl.ir.node import Node
from ppl.ir.types import Axis, Kind
from ppl.tuning import ROLLED_LEAST

VARS = {Kind.REPEATS: "q", Kind.PLATE: "r", Kind.PARTICLES: "k", Kind.ENUM: "e", Kind.BRANCH: "c"}


class KernelWriter:
    """Writes the kernel of one cluster, and then knows what it is passed."""

    def __init__(self, cluster: Cluster, row: Axis | None):
        self.cluster, self.row = cluster, row
        self.passed = Passed()
        self.addresses = Addresses(cluster, row, self.passed)
        self.makers: dict[Value, list[Op]] = {}
        for op in cluster.ops:
            self.makers.setdefault(op.target, []).append(op)
        self.read: set[Value] = set()
        for op in cluster.ops:
            self.read |= {r.value for r in op.reads if near(self.makers.get(r.value, ()), op)}

    def function(self, name: str, types: Mapping[str, str], form: str) -> Function:
        """The kernel; `types` are those of all that it may be passed and are no whole numbers."""
        body = self._block(self.cluster.items, None, ())
        made = sorted({op.node.op for op in self.cluster.ops})
        arguments = tuple(Argument(a, types.get(a, "int64")) for a in self.passed.values)
        doc = f"{len(self.cluster.ops)} fused operations: {', '.join(made)}."
        return Function(name, arguments, (do("prefer_full_width"), *body), doc, form, self._apart())

    def _apart(self) -> tuple[str, ...]:
        """Arguments with which buffers begin, if there are loops; what lies at a fixed place of a workspace has none.

        Nor have tables whose entries are read or written one by one where data say: LLVM would make vectors of such
        loops, and gathering takes longer.
        """
        if not any(isinstance(item, Loop) for item in self.cluster.items):
            return ()
        values = {v for op in self.cluster.ops for v in (op.target, *(r.value for r in op.reads))}
        values -= {v for op in self.cluster.ops for v in _scattered(op)}
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
        step = value.stride(target) if isinstance(target, int) else value.steps[target]
        held = self.addresses.before.memo.values()
        moving = inner is None or not (isinstance(row, Name) and (row in held or self._fixed(op, index, inner)))
        self.passed.size(step)
        return call("min", call("max", row, 0), limit - 1) * step, moving

    def _fixed(self, op: Op, access: Access, inner: Loop) -> bool:
        """Whether what `op` reads is a local that was set outside the loop `inner`."""
        makers = self.makers.get(access.value, [])
        return access.gather is None and near(makers, op) and inner not in makers[0].complete

    def _load(self, op: Op, access: Access, inner: Loop | None) -> Expression:
        value, view = access.value, access.view
        if value in self.makers and access.gather is None and near(self.makers[value], op):
            return Name(value.name)
        known = self._known(value)
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

    def _known(self, value: Value) -> Expression | None:
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
        item.var = VARS[item.token.kind] if isinstance(item.token, Axis) else "i"
        if any(outer.var == item.var for outer in path):
            item.var += str(len(path))
        first = item.begun()
        lines: list[Statement] = [x for op in first for x in self._start(op)]
        inner = item if item.innermost else None
        outside, self.addresses.before = self.addresses.before, Hoisted()
        body = self._block(item.items, inner, (*path, item))
        size, sums = self.addresses.size(item), [op.target.name for op in first if self._in_double(op)] if inner else []
        before, self.addresses.before = self.addresses.before, outside
        other = blocked(item.var, size, before.views, body, sums) if sums else None
        if not inner and all(op.target.dtype == "float" for op in item.ops()):
            other = abreast(item.var, size, body)
        lines += [*before.statements, *(other or [loop(item.var, size, body)])]
        return lines + [x for op in first for x in self._finish(op)]

    @staticmethod
    def _in_double(op: Op) -> bool:
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
                return [assign(value.name, to_int(0)), assign(best_of(op), lowest)]
            in_double = self._in_double(op) and op.node.op != "amax"
            return [assign(value.name, call(Name("np").dot("float64"), 0) if in_double else zero)]
        if value.accumulates or self.makers[value][0] is not op:
            return []
        return self._clear(value, *self._to_come(op), zero)

    def _clear(self, value: Value, array: str, address: Expression, count: Expression, zero: Expression
               ) -> list[Statement]:  # fmt: skip
        """Set `count` entries of `value` from `address` on."""
        return [Assign(self.addresses.filled(value, array, address, count), zero)]

    def _to_come(self, op: Op) -> tuple[str, Expression, Expression]:
        """All entries of its result that `op` makes in the loops that are still to come: array, first, how many."""
        value, depth, addresses = op.target, op.begins, self.addresses
        start, terms = addresses.terms(op, value, op.axes, op.coefs, 0)
        terms = {k: s for k, s in terms.items() if k in op.loops[:depth]}
        address = addresses.address(addresses.base(value), (start, terms))
        size = Poly.of(1)
        inside = rest(op, depth)
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
            pieces = total(args) if args else literal(0, op.target.dtype)
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
        return expression(op.node, args)

    def _argmax(self, op: Op, new: Expression) -> list[Statement]:
        name, best = op.target.name, best_of(op)
        if op.outermost >= len(op.domain):
            return [assign(name, to_int(0)), *self._finish(op)]
        found = [assign(best, new), assign(name, to_int(op.loops[-1].var))]
        return [when(compare(new, ">", best), found)]

    def _merge(self, op: Op, old: Expression, new: Expression) -> Expression:
        if op.node.op == "amax":
            return scalar("maximum", old, new) if op.target.dtype == "float" else call("max", old, new)
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


def _scattered(op: Op) -> list[Value]:
    """What `op` reads or writes at indices that differ from entry to entry: not whole rows, which fill vectors."""
    found = [(op.target, op.gather), *((r.value, r.gather) for r in op.reads)]
    return [value for value, gather in found if gather and not _by_rows(op, gather[0])]


def _by_rows(op: Op, index: Access) -> bool:
    """Whether an index stays what it is in the innermost loop of `op`, which LLVM does not write out."""
    if not op.domain:
        return True
    last, moving = op.domain[-1], {*index.view.axes.values(), *index.view.coefs}
    return not moving or (last.key not in moving and (last.size.constant or ROLLED_LEAST) >= ROLLED_LEAST)


def best_of(op: Op) -> str:
    """The local that holds the largest value so far."""
    return f"best_{op.target.name}"


def scale_name(node: Node) -> str:
    """The local that holds the factor N/B of a plate."""
    axis = node.attrs.get("axis")
    return "scale_" + identifier(axis.name if isinstance(axis, Axis) else str(node.attrs.get("name", axis)))
