"""The schedule builder: from nodes to values and operations, before loops are chosen.

`ScheduleBuilder` keeps the stored value of every node, its buffer and its readers; `OPERATION_RULES` says what each op
reads, over which loops, and where it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppl.compiler.lower.loops import iteration_nodes, loop_bodies
from ppl.compiler.lower.sizes import Poly, axis_size, identifier, value_stem
from ppl.compiler.lower.target import Target
from ppl.compiler.lower.views import (
    FixedIndex,
    LoopKey,
    View,
    dims_of,
    identity_view,
    is_view,
    resolve_view,
    row_axis,
    strides_of,
)
from ppl.compiler.schedule.stages import Access, Buffer, Op, Value, identity_store
from ppl.ir.external import python_callback
from ppl.ir.node import Node, topological
from ppl.ir.op_facts import OWN_STEP
from ppl.ir.types import Axis, Kind

if TYPE_CHECKING:
    from ppl.compiler.lower.request import Output
    from ppl.compiler.schedule.stages import Opaque, Stage


class ScheduleBuilder:
    """Makes the values and operations of one program; knows where leaves lie (`offsets`: (op, name) → offset)."""

    def __init__(self, outputs: Sequence[Node], offsets: dict[tuple[str, str], int], target: Target):
        self.offsets, self.target = offsets, target
        self.memo: dict[Node, View | None] = {}
        self.values: dict[Node, Value] = {}
        self.names: dict[str, int] = {}
        self.users: dict[Node, list[Node]] = {}
        self.gets: dict[Node, list[Node]] = {}
        self.consts: dict[str, list[np.ndarray]] = {"w": [], "v": []}
        self.globals: list[Value] = []
        self.inputs: dict[str, str] = {}
        self.functions: dict[str, Any] = {}
        self.called: dict[tuple[Any, ...], str] = {}
        self.windowed = False
        self.in_double: set[Node] = set()
        self.outputs = [self.base(o) for o in outputs]
        for nodes in (topological(outputs), *loop_bodies(outputs)):
            self._register_readers(nodes)

    def _register_readers(self, nodes: Sequence[Node]) -> None:
        """Note who reads what among the nodes of the program, or of the body of a loop."""
        own = set(nodes)
        for node in nodes:
            if node.op == "get":
                self.gets.setdefault(node.args[0], []).append(node)
            if not is_view(node):
                for arg in node.args:
                    if (base := self.base(arg)) in own:
                        self.users.setdefault(base, []).append(node)

    def is_step(self, node: Node) -> bool:
        """Whether `node` is a step of its own; noise shares loops where the target computes it entry by entry."""
        return node.op in OWN_STEP and not (
            node.op == "noise"
            and self.target.fusion.noise
            and not self.windowed
            and "columns" not in node.attrs
            and sum(a.kind in (Kind.REPEATS, Kind.PLATE) for a in node.type.axes) < 2
        )

    def base(self, node: Node) -> Node:
        """The stored node below a chain of views."""
        while is_view(node):
            node = node.args[0]
        return node

    def _name(self, node: Node) -> str:
        return self.numbered(value_stem(str(node.attrs.get("name", node.op))))

    def numbered(self, first: str) -> str:
        """A name that no other value has."""
        count = self.names[first] = self.names.get(first, 0) + 1
        return f"{first}_{count}"

    def value(self, node: Node) -> Value:
        """The stored value of `node` (which is not a view)."""
        if node not in self.values:
            t = node.type
            value = self.values[node] = Value(node, self._name(node), t.axes, t.shape, t.dtype)
            value.buffer = self._buffer_of_leaf(node, value)
        return self.values[node]

    def _buffer_of_leaf(self, node: Node, value: Value) -> Buffer | None:
        if node.op in ("param", "aux", "hyper"):
            array = {"param": "params"}.get(node.op, node.op)
            return Buffer(array, Poly.of(self.offsets[node.op, node.attrs["name"]]), literal=True)
        if node.op == "input":
            array = self.inputs.setdefault(node.attrs["name"], "x_" + identifier(node.attrs["name"]))
            return Buffer(array, Poly(), rows=True, literal=row_axis(value.axes) is None, symbol=f"{value.name}_o")
        if node.op == "const" and node.attrs["value"].value.size != 1:
            data = node.attrs["value"].value
            where = "v" if node.type.dtype == "int" else "w"
            start = sum(c.size for c in self.consts[where])
            self.consts[where].append(data.ravel())
            return Buffer(where, Poly.of(f"c_{where}"), symbol=f"{value.name}_o", shift=start)
        return None

    def results_of(self, node: Node) -> list[Value]:
        """The values that the step of `node` makes (a loop makes one per `get`)."""
        return [self.value(n) for n in (self.gets.get(node, []) if node.op == "turns" else [node])]

    def touched(self, step: Opaque) -> list[Value]:
        """What a step that is no loop nest of ours writes or reads itself."""
        return [*self.results_of(step.node), *(self.value(self.base(a)) for a in step.node.args)]

    def accumulator(self, value: Value) -> None:
        """Give `value`, a sum over rows, its place among the accumulators of each slab.

        Where it has a row axis of another region, it has all rows of that.
        """
        value.accumulates = True
        array = "sums" if value.node in self.in_double else "v" if value.dtype == "int" else "w"
        value.buffer = Buffer(array, Poly.of(f"{value.name}_a"), rows=True, symbol=f"{value.name}_a")

    def store_all_rows(self, value: Value) -> None:
        """Give `value` memory for all rows of the call, because another region reads it."""
        if value.buffer is None:
            self._global(value, rows=True)

    def whole(self, value: Value) -> None:
        """Give `value`, which has no rows of its region, memory of its own."""
        self._global(value, rows=row_axis(value.axes) is not None)

    def _global(self, value: Value, rows: bool) -> Buffer:
        array = "v" if value.dtype == "int" else "w"
        name = f"{value.name}_g"
        value.buffer = Buffer(array, Poly.of(name), rows=rows, symbol=f"{value.name}_o", size=value.extent())
        self.globals.append(value)
        return value.buffer

    def plain(self, value: Value, stage: Stage) -> Buffer:
        """Memory for a value that other steps of its stage read."""
        if stage.row is None:
            return self._global(value, rows=False)
        if self.target.buffers.whole and stage.row in value.axes:
            return self._global(value, rows=True)
        symbol = f"{value.name}_o"
        return Buffer("v" if value.dtype == "int" else "w", Poly.of(symbol), symbol=symbol)

    def stack_rows(self, value: Value, stage: Stage) -> Poly | None:
        """`Value.stack` of a value in tile memory: set for stacks of a loop that only loops read, step by step."""
        node, readers = value.node, self.users.get(value.node, [])
        if node.op != "get" or not readers or any(r.op != "turns" for r in readers) or node in self.outputs:
            return None
        if node.attrs["index"] < len(node.args[0].attrs["carries"]) or stage.row not in value.axes:
            return None
        if not all(self._read_step_by_step(node, reader) for reader in readers):
            return None
        assert stage.row is not None and value.buffer is not None
        total = axis_size(stage.row) if value.buffer.rows else Poly.of(f"tile_{stage.outer or stage.name}")
        for axis in value.axes:
            total = total if axis == stage.row else total * axis_size(axis)
        return total

    def _read_step_by_step(self, stack: Node, turns: Node) -> bool:
        """Whether a loop reads a stack one step at a time."""
        inits = turns.args[: len(turns.attrs["carries"])]
        if any(self.base(a) is stack for a in (*inits, *iteration_nodes(turns))):
            return False
        for user in topological(iteration_nodes(turns)):
            if any(self.base(a) is stack for a in user.args):
                step = user.op == "take" and user.args[0] is stack
                if not (step or (user.op == "turns" and self._read_step_by_step(stack, user))):
                    return False
        return True

    def access(self, node: Node) -> Access:
        """How `node` is read."""
        view = resolve_view(node, self.memo)
        assert view is not None, f"{node} has no affine view"
        return Access(self.value(view.base), view)

    def operations_of(self, node: Node) -> list[Op]:
        """The operations that compute `node`."""
        return OPERATION_RULES.get(node.op, elementwise_operation)(self, node)

    def output_operation(self, out: Output) -> Op:
        """Write an output where the caller wants it."""
        t = out.node.type
        value = Value(out.node, self.numbered(f"out_{value_stem(out.name)}"), t.axes, t.shape, t.dtype, in_memory=True)
        literal = out.offset.constant is not None and not (out.rows and row_axis(t.axes))
        value.buffer = Buffer(out.array, out.offset, out.rows, f"{value.name}_o", literal)
        axes, coefs = identity_store(out.node)
        domain = dims_of(t.axes, t.shape)
        return Op("output", out.node, value, domain, [self.access(out.node)], axes=axes, coefs=coefs)

    def loop_result_values(self, turns: Node) -> list[Value | None]:
        """Where each result of a loop is kept: for a carry also what its placeholder reads; None if nobody reads it."""
        attrs = turns.attrs
        found: dict[int, Value] = {g.attrs["index"]: self.value(g) for g in self.gets.get(turns, [])}
        slots: list[Value | None] = []
        for number in (attrs["index"], *(slot for _, (_, slot) in attrs["every"]), *(attrs["idle"] or ())[1:]):
            self.value(number).in_memory = True
        for i, type_ in enumerate(attrs["types"]):
            if i < len(attrs["carries"]) and i not in attrs["summed"]:
                carry = attrs["carries"][i]
                value = found.get(i) or self.value(carry)
                self.values[carry] = value
                value.in_memory = True
                assert value.axes == type_.axes
                slots.append(value)
            else:
                slots.append(found.get(i))
        return slots

    def accumulate_into(self, node: Node, total: Value) -> bool:
        """Let a loop whose sum over rows is `node` add to `total` itself, if nothing else reads it."""
        if node.op != "get" or node.args[0].op != "turns" or self.users.get(node):
            return False
        turns, i = node.args[0], node.attrs["index"]
        if i not in turns.attrs["summed"] or i >= len(turns.attrs["carries"]) or node in self.values:
            return False
        self.values[node] = total
        return True

    def store_operation(self, node: Node, target: Value, time: Node | None = None) -> Op:
        """Write `node` to `target`: whole, or as entry `time` of its leading event dimension."""
        axes: dict[Axis, LoopKey | FixedIndex] = {a: a for a in node.type.axes}
        steps = strides_of(target.shape)
        coefs: dict[LoopKey, int] = dict(enumerate(steps if time is None else steps[1:]))
        gather = None if time is None else (self.access(time), steps[0])
        limit = 0 if time is None else target.shape[0]
        domain = dims_of(node.type.axes, node.type.shape)
        scattered = frozenset(range(len(node.type.shape)))
        return Op("output", node, target, domain, [self.access(node)], scattered if time else frozenset(), axes, coefs,
                  gather=gather, limit=limit)  # fmt: skip

    def function(self, node: Node) -> str:
        """The global name under which what op `external` calls, a function or its gradient, is known."""
        fn = node.attrs["fn"]
        target = fn.function if node.attrs["output"] is None else fn.gradient
        key = (target, *((fn, node.attrs["output"], node.type) if fn.python else ()))
        if key not in self.called:
            plain = getattr(target, "py_func", target)
            name = value_stem(str(getattr(plain, "__name__", "function")))
            self.called[key] = f"{name}_fn{len(self.functions)}"
            self.functions[self.called[key]] = python_callback(node) if fn.python else target
        return self.called[key]

    def draw_into_output(self, out: Output, row: Axis | None) -> bool:
        """Let noise that is itself an output array be drawn where it is wanted."""
        node = out.node
        if node.op != "noise" or out.array != "out" or row_axis(node.type.axes) != row:
            return False
        value = self.value(node)
        axes = list(node.type.axes)
        if value.buffer is not None or (row is not None and axes[0] != row):
            return False
        value.buffer = Buffer("out", out.offset, True, f"{value.name}_o", out.offset.constant == 0 and row is None)
        return True

    def direct(self, out: Output) -> Value | None:
        """The accumulator that `out` is, unchanged, if nothing else reads it."""
        base = self.base(out.node)
        value = self.values.get(base)
        if (
            value is None
            or not value.accumulates
            or value.dtype != "float"
            or out.array != "grad"
            or base in self.in_double
        ):
            return None
        shared = bool(self.users.get(base)) or self.outputs.count(base) > 1 or base.op == "amax"
        view, plain = resolve_view(out.node, self.memo), identity_view(out.node)
        same = view is not None and view.coefs == plain.coefs and not view.offset and not value.axes
        same = same and base.type.event_size == out.node.type.event_size
        return value if same and not shared else None


def elementwise_operation(builder: ScheduleBuilder, node: Node) -> list[Op]:
    """Entry by entry."""
    axes, coefs = identity_store(node)
    domain, args = dims_of(node.type.axes, node.type.shape), [builder.access(a) for a in node.args]
    return [Op("map", node, builder.value(node), domain, args, axes=axes, coefs=coefs)]


def _reduce(builder: ScheduleBuilder, node: Node) -> list[Op]:
    arg = node.args[0]
    rank = len(arg.type.shape)
    dims = {rank - 1} if node.op == "argmax" else set(node.attrs["dims"])
    over = set() if node.op == "argmax" else set(node.attrs["axes"])
    steps = strides_of(node.type.shape)
    coefs: dict[LoopKey, int] = {}
    for new, old in enumerate(d for d in range(rank) if d not in dims):
        if node.type.shape[new] != 1:
            coefs[old] = steps[new]
    axes: dict[Axis, LoopKey | FixedIndex] = {a: a for a in node.type.axes}
    kind = "argmax" if node.op == "argmax" else "reduce"
    domain = dims_of(arg.type.axes, arg.type.shape)
    return [Op(kind, node, builder.value(node), domain, [builder.access(arg)], frozenset((*over, *dims)), axes, coefs)]


def _take(builder: ScheduleBuilder, node: Node) -> list[Op]:
    table, index = node.args
    inner = builder.access(table)
    shift = len(index.type.shape) - 1
    moving = next((a for a, k in inner.view.axes.items() if k == 0 and isinstance(k, int)), None)
    target: int | Axis = moving if moving is not None else inner.view.coefs.get(0, 0)
    axes = {a: FixedIndex(0) if a == moving else k for a, k in inner.view.axes.items()}
    coefs = {k: c for k, c in inner.view.coefs.items() if not (isinstance(k, int) and k == 0)}
    view = View(inner.view.base, axes, coefs, inner.view.offset)
    view = view.renamed({k: k + shift for k in range(1, len(table.type.shape))})
    read = Access(inner.value, view, (builder.access(index), target), table.type.shape[0])
    store_axes, store = identity_store(node)
    domain = dims_of(node.type.axes, node.type.shape)
    return [Op("map", node, builder.value(node), domain, [read], axes=store_axes, coefs=store)]


def _put(builder: ScheduleBuilder, node: Node) -> list[Op]:
    value, index = node.args
    lead, steps = len(index.type.shape), strides_of(node.type.shape)
    coefs: dict[LoopKey, int] = {lead + k: s for k, s in enumerate(steps[1:])}
    scattered = frozenset((*node.attrs["over"], *range(len(value.type.shape))))
    return [Op("put", node, builder.value(node), dims_of(value.type.axes, value.type.shape), [builder.access(value)],
               scattered, {a: a for a in node.type.axes}, coefs, gather=(builder.access(index), steps[0]),
               limit=node.attrs["size"])]  # fmt: skip


def _pad(builder: ScheduleBuilder, node: Node) -> list[Op]:
    arg = node.args[0]
    steps, coefs, offset = strides_of(node.type.shape), {}, 0
    for k, (start, _, step) in enumerate(node.attrs["window"]):
        offset += start * steps[k]
        coefs[k] = step * steps[k]
    return [
        _scattered_piece(
            builder, node, "pad", arg, {a: a for a in node.type.axes}, coefs, offset, [builder.access(arg)]
        )
    ]


def _scattered_piece(
    builder: ScheduleBuilder,
    node: Node,
    kind: str,
    like: Node,
    axes: Any,
    coefs: Any,
    offset: int,
    args: list[Access],
    shape: tuple[int, ...] | None = None,
    over: tuple[Axis, ...] | None = None,
) -> Op:
    shape, over = (like.type.shape if shape is None else shape), (like.type.axes if over is None else over)
    scattered = frozenset(range(len(shape)))
    return Op(kind, node, builder.value(node), dims_of(over, shape), args, scattered, axes, coefs, offset)


def _concat(builder: ScheduleBuilder, node: Node) -> list[Op]:
    steps, start, out = strides_of(node.type.shape), 0, []
    axes = {a: a for a in node.type.axes}
    for arg in node.args:
        offset = start * steps[node.attrs["dim"]]
        out.append(
            _scattered_piece(builder, node, "piece", arg, axes, dict(enumerate(steps)), offset, [builder.access(arg)])
        )
        start += arg.type.shape[node.attrs["dim"]]
    return out


def _route(builder: ScheduleBuilder, node: Node) -> list[Op]:
    to, t = node.attrs["to"], node.type
    plain = tuple(a for a in t.axes if a != to)
    store = dict(identity_store(node)[1])
    out = []
    for entry, pairs in enumerate(node.attrs["terms"]):
        args = [_branch_entry(builder, node.args[i], s) for i, s in pairs]
        axes: dict[Axis, LoopKey | FixedIndex] = {a: a for a in plain}
        if to is None:
            domain = dims_of(plain, t.shape)
            return [Op("map", node, builder.value(node), domain, args, axes=axes, coefs=store)]
        axes[to] = FixedIndex(entry)
        out.append(_scattered_piece(builder, node, "piece", node, axes, store, 0, args, over=plain))
    return out


def _branch_entry(builder: ScheduleBuilder, arg: Node, entry: int) -> Access:
    read, branch = builder.access(arg), arg.type.branch
    axes = {a: FixedIndex(entry) if k == branch and branch is not None else k for a, k in read.view.axes.items()}
    return Access(read.value, View(read.view.base, axes, read.view.coefs, read.view.offset))


OPERATION_RULES: Mapping[str, Callable[[ScheduleBuilder, Node], list[Op]]] = {
    **dict.fromkeys(("sum", "amax", "argmax"), _reduce),
    "take": _take,
    "put": _put,
    "pad": _pad,
    "concat": _concat,
    "route": _route,
}
"""Ops that are not computed entry by entry."""
