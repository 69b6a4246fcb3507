"""Unrolled programs: write tiny programs without rows or run-time sizes as scalar code over local variables.

The lowered graph is evaluated once at compile time on arrays of expressions: every entry of every value becomes one
local, so that a program of a dozen scalar
operations costs what its arithmetic costs (well under a microsecond). `RULES` says what every op does to arrays of
expressions; ops without a rule compute entry by
entry."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ppl.compiler.emit.code import Assign, Choice, Expression, Name, Return, Statement, assign, call, compare, sum_of
from ppl.compiler.emit.scalar import (
    ONE,
    ZERO,
    is_free_to_repeat,
    literal,
    noise_key,
    scalar_call,
    scalar_expression,
    to_float,
    to_int,
    to_word,
)
from ppl.compiler.lower.request import Output
from ppl.compiler.lower.sizes import value_stem
from ppl.ir.node import Node, topological
from ppl.ir.types import Kind

EntryArray = np.ndarray


def static_shape(node: Node) -> tuple[int, ...]:
    """Shape of a value, with one particle where their number is known only at run time."""
    return (*(1 if a.size is None else a.size for a in node.type.axes), *node.type.shape)


class UnrolledProgram:
    """What is known of a program's nodes: arrays of expressions, and the assignments that they stand on."""

    def __init__(self, offsets: dict[tuple[str, str], int], arrays: dict[str, str], dtype: str):
        self.offsets, self.arrays = offsets, arrays
        self.uniform = "uniform_f32" if dtype == "float32" else "uniform_f64"
        self.statements: list[Statement] = []
        self.names: dict[str, int] = {}
        self.known: dict[Expression, Name] = {}
        self.values: dict[Node, EntryArray] = {}

    def local(self, node: Node, value: Expression, first: str = "") -> Expression:
        """A local that holds `value`; equal ones share one."""
        if is_free_to_repeat(value):
            return value
        if value not in self.known:
            first = first or value_stem(str(node.attrs.get("name", node.op)))
            count = self.names[first] = self.names.get(first, 0) + 1
            self.known[value] = Name(f"{first}_{count}")
            self.statements.append(Assign(self.known[value], value))
        return self.known[value]

    def each(self, node: Node, values: Iterable[Expression]) -> EntryArray:
        """The entries of `node`, all of them locals."""
        return array_of_entries(static_shape(node), [self.local(node, x) for x in values])


def array_of_entries(shape: tuple[int, ...], values: Iterable[Expression]) -> EntryArray:
    """An array of expressions."""
    out = np.empty(shape, object)
    flat = out.reshape(-1)
    for i, x in enumerate(values):
        flat[i] = x
    return out


def node_entries(s: UnrolledProgram, node: Node) -> EntryArray:
    """The expressions of all entries of `node`, whose arguments are known."""
    args = [s.values[a] for a in node.args]
    rule = RULES.get(node.op)
    if rule is not None:
        return rule(s, node, args)
    flats = [a.reshape(-1) for a in args]
    return s.each(node, [scalar_expression(node, list(entry)) for entry in zip(*flats, strict=True)])


def _leaf(array: str) -> Callable[[UnrolledProgram, Node, list[EntryArray]], EntryArray]:
    def rule(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
        start = s.offsets[node.op, node.attrs["name"]]
        size = int(np.prod(static_shape(node)))
        return s.each(node, [Name(array).at(start + i) for i in range(size)])

    return rule


def _input(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    size, array = int(np.prod(static_shape(node))), Name(s.arrays[node.attrs["name"]])
    read = {"float": to_float, "int": to_int, "bool": lambda x: compare(x, "!=", 0)}
    return s.each(node, [read[node.type.dtype](array.at(i)) for i in range(size)])


def _const(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    return array_of_entries(
        static_shape(node), [literal(x, node.type.dtype) for x in node.attrs["value"].value.reshape(-1)]
    )


def _noise_key(s: UnrolledProgram, node: Node) -> Expression:
    return s.local(node, noise_key(node), "key")


def _noise(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    key, size, purpose = _noise_key(s, node), int(np.prod(static_shape(node))), node.attrs["purpose"]
    *outer, time = _loop_times(args) or [to_int(0)]
    for t in outer:
        key = call("mix", key, to_word(t))
    return s.each(node, [call(s.uniform, e, key, time, "step", purpose) for e in range(size)])


def _loop_times(args: list[EntryArray]) -> list[Expression]:
    """The steps of loops over time, the outermost first."""
    return [to_int(a.reshape(-1)[0]) for a in args]


def _rowkey(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    key, size = _noise_key(s, node), int(np.prod(static_shape(node)))
    keys = [call("mix", key, to_word(e << 32) + to_word("step")) for e in range(size)]
    for t in _loop_times(args):
        keys = [call("mix", k, to_word(t)) for k in keys]
    return s.each(node, [to_int(k) for k in keys])


def _expand(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    t = node.args[0].type
    lead = [a.size if a in t.axes else 1 for a in node.type.axes]
    pad = [1] * (len(node.type.shape) - len(t.shape))
    shape = tuple(int(n or 1) for n in (*lead, *pad, *t.shape))
    return np.broadcast_to(args[0].reshape(shape), static_shape(node))


def _reduced_axes(node: Node) -> tuple[int, ...]:
    t = node.args[0].type
    named = [i for i, a in enumerate(t.axes) if a in node.attrs["axes"]]
    return (*named, *(len(t.axes) + d for d in node.attrs["dims"]))


def _reduce_entries(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    axes = _reduced_axes(node)
    moved = np.moveaxis(args[0], axes, range(len(axes))).reshape(-1, int(np.prod(static_shape(node))))
    join: Callable[[Any], Expression] = sum_of
    if node.op == "amax":
        function = Name("m").dot("maximum") if node.type.dtype == "float" else Name("max")

        def join(terms: Any) -> Expression:
            return functools.reduce(lambda a, b: call(function, a, b), terms)

    return s.each(node, map(join, moved.T))


def _argmax(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    texts = []
    for row in args[0].reshape(-1, args[0].shape[-1]):
        best: Expression = row[0]
        index: Expression = to_int(0)
        for i, x in enumerate(row[1:], 1):
            above = compare(x, ">", best)
            index = s.local(node, Choice(above, to_int(i), index))
            best = s.local(node, Choice(above, x, best), "best")
        texts.append(index)
    return s.each(node, texts)


def _route(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    entries = []
    for pairs in node.attrs["terms"]:
        parts = []
        for i, entry in pairs:
            branch = node.args[i].type.branch
            at = len(node.args[i].type.axes) - 1
            parts.append(args[i] if branch is None else np.asarray(np.take(args[i], entry, axis=at), object))
        entries.append(parts)
    lead = len(node.type.axes) - (node.attrs["to"] is not None)
    shape = (*static_shape(node)[:lead], *node.type.shape)
    done = []
    for parts in entries:
        flat = [p.reshape(-1) for p in parts]
        zero = [literal(0, node.type.dtype)] * int(np.prod(shape))
        sums = [sum_of(t) for t in zip(*flat, strict=True)] or zero
        done.append(array_of_entries(shape, [s.local(node, x) for x in sums]))
    return np.stack(done, axis=lead) if node.attrs["to"] is not None else done[0]


def _window_slices(window: Any) -> Any:
    out: list[Any] = [...]
    for start, length, step in window:
        stop = start + length * step
        out.append(slice(start, None if stop < 0 else stop, step))
    return tuple(out)


def _slice(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    return args[0][_window_slices(node.attrs["window"])] if node.type.shape else args[0]


def _pad(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    out = array_of_entries(static_shape(node), [literal(0, node.type.dtype)] * int(np.prod(static_shape(node))))
    if node.type.shape:
        out[_window_slices(node.attrs["window"])] = args[0]
    return out


def _transpose(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    lead = len(node.type.axes)
    return np.transpose(args[0], (*range(lead), *(lead + p for p in node.attrs["perm"])))


def _take(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    lead = len(node.type.axes)
    out = np.empty(static_shape(node), object)
    ints = len(node.args[1].type.shape)
    for at in np.ndindex(*out.shape):
        index: Any = args[1][at[: lead + ints]]
        column = args[0][(*at[:lead], slice(None), *at[lead + ints :])]
        found = column[0]
        for i, x in enumerate(column[1:], 1):
            found = Choice(compare(index, ">=", i), x, found)
        out[at] = s.local(node, found)
    return out


def _put(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    value, index = args
    t, over = node.args[0].type, node.attrs["over"]
    lead, ints = len(t.axes), len(node.args[1].type.shape)
    zero = literal(0, t.dtype)
    sums: dict[tuple[int, ...], list[Expression]] = {}
    for at in np.ndindex(*value.shape):
        kept = tuple(i for i, a in zip(at[:lead], t.axes, strict=True) if a not in over)
        number: Any = index[at[: lead + ints]]
        term: Any = value[at]
        for row in range(node.attrs["size"]):
            chosen = Choice(compare(number, "==", row), term, zero)
            sums.setdefault((*kept, row, *at[lead + ints :]), []).append(chosen)
    out = array_of_entries(static_shape(node), [zero] * int(np.prod(static_shape(node))))
    for place, terms in sums.items():
        out[place] = s.local(node, sum_of(terms))
    return out


def _solve(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    out, d, back = np.empty(static_shape(node), object), node.type.shape[-1], node.attrs["transposed"]
    for at in np.ndindex(*out.shape[:-1]):
        matrix, x = (args[0][at].T if back else args[0][at]), out[at]
        for i in reversed(range(d)) if back else range(d):
            done = range(i + 1, d) if back else range(i)
            rest = args[1][(*at, i)]
            for j in done:
                rest = rest - matrix[i, j] * x[j]
            x[i] = s.local(node, rest / matrix[i, i])
    return out


def _cumsum(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    out = np.array(args[0])
    for k in range(1, out.shape[-1]):
        for at in np.ndindex(*out.shape[:-1]):
            out[(*at, k)] = s.local(node, out[(*at, k - 1)] + args[0][(*at, k)])
    return out


def _draw_rows(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    out, stream = np.empty(static_shape(node), object), to_int(node.attrs["stream"])
    event = out.reshape(-1, node.type.event_size)
    *parameters, keys = args
    rows = zip(*(p.reshape(event.shape) for p in parameters), keys.reshape(-1), strict=True)
    for r, (*given, key) in enumerate(rows):
        for i, entry in enumerate(zip(*given, strict=True)):
            event[r, i] = s.local(node, scalar_call(node.attrs["draw"], *entry, to_word(key), to_int(i), stream))
    return out


def _lanes(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    given = [a.reshape(-1) for a in args]
    if "stream" not in node.attrs:
        return s.each(node, [scalar_call(node.attrs["draw"], *entry) for entry in zip(*given, strict=True)])
    *parameters, key, column = given
    rows, stream = zip(*parameters, key, column, strict=True), to_int(node.attrs["stream"])
    return s.each(node, [scalar_call(node.attrs["draw"], *entry, to_word(k), i, stream) for *entry, k, i in rows])


def _concat(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    return np.concatenate(args, axis=len(node.type.axes) + node.attrs["dim"])


def _collect(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    t = node.args[0].type
    return np.moveaxis(args[0], t.axes.index(node.attrs["axis"]), len(t.axes) - 1)


def _distribute(s: UnrolledProgram, node: Node, args: list[EntryArray]) -> EntryArray:
    lead = len(node.args[0].type.axes)
    return np.moveaxis(args[0], lead, node.type.axes.index(node.attrs["axis"]))


RULES: dict[str, Callable[[UnrolledProgram, Node, list[EntryArray]], EntryArray]] = {
    "param": _leaf("params"),
    "aux": _leaf("aux"),
    "hyper": _leaf("hyper"),
    "input": _input,
    "const": _const,
    "noise": _noise,
    "rowkey": _rowkey,
    "size": lambda s, node, args: array_of_entries((), [ONE]),
    "expand": _expand,
    "sum": _reduce_entries,
    "amax": _reduce_entries,
    "argmax": _argmax,
    "route": _route,
    "reshape": lambda s, node, args: args[0].reshape(static_shape(node)),
    "transpose": _transpose,
    "slice": _slice,
    "pad": _pad,
    "take": _take,
    "put": _put,
    "concat": _concat,
    "solve": _solve,
    "cumsum": _cumsum,
    "draw_rows": _draw_rows,
    "lanes": _lanes,
    "collect": _collect,
    "distribute": _distribute,
}


def can_unroll(outputs: Sequence[Node], most: int) -> bool:
    """Whether a program, run with one particle, is static, and computes `most` entries at most: it is then unrolled."""
    total = 0
    for node in topological(outputs):
        if node.op in ("loop", "get", "external", "gemm", "cholesky", "lu", "lu_solve"):
            return False
        if node.op == "solve" and len(node.type.shape) == len(node.args[0].type.shape):
            return False
        if any(a.size is None and a.kind is not Kind.PARTICLES for a in node.type.axes):
            return False
        if node.op == "size" and node.attrs["axis"].kind is not Kind.PARTICLES:
            return False
        if node.op in ("scale", "rowid") or (node.op == "input" and node.type.axes) or node.attrs.get("by_row"):
            return False
        if node.op not in ("param", "input", "aux"):
            work = 4 if node.op == "noise" else 1
            total += work * int(np.prod(static_shape(node)))
    return total <= most


def _noise_first(outputs: Sequence[Node]) -> list[Node]:
    """All nodes, first those that do not wait for parameters: in a loop of steps they can start before a step ends."""
    waiting: dict[Node, bool] = {}
    for node in topological(outputs):
        waiting[node] = node.op in ("param", "aux") or any(waiting[a] for a in node.args)
    return sorted(waiting, key=waiting.__getitem__)


def unrolled_body(outputs: Sequence[Output], offsets: dict[tuple[str, str], int], arrays: dict[str, str], dtype: str,
         n_aux: int, aux_at: int) -> list[Statement]:  # fmt: skip
    """The statements of the whole program."""
    s = UnrolledProgram(offsets, arrays, dtype)
    for node in _noise_first([o.node for o in outputs]):
        s.values[node] = node_entries(s, node)
    writes = []
    for out in outputs:
        start, array = out.offset.constant, out.array
        assert start is not None
        if array == "w" and start >= aux_at and n_aux:
            start, array = start - aux_at, "aux"
        for i, x in enumerate(s.values[out.node].reshape(-1)):
            writes.append(assign(Name(array).at(start + i), x))
    first = next((o for o in outputs if o.array == "w"), None)
    result = s.values[first.node].reshape(-1)[0] if first is not None else ZERO
    return [*s.statements, *writes, Return(result)]
