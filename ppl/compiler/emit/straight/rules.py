"""What every op does to arrays of expressions; ops without a rule compute entry by entry."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ppl.compiler.emit.code import Choice, Expression, Name, call, compare, total
from ppl.compiler.emit.scalar import ONE, expression, literal, noise_key, scalar, to_float, to_int, to_word
from ppl.compiler.emit.straight.entries import Entries, Straight, filled, shape_of
from ppl.ir.node import Node


def value(s: Straight, node: Node) -> Entries:
    """The expressions of all entries of `node`, whose arguments are known."""
    args = [s.values[a] for a in node.args]
    rule = RULES.get(node.op)
    if rule is not None:
        return rule(s, node, args)
    flats = [a.reshape(-1) for a in args]
    return s.each(node, [expression(node, list(entry)) for entry in zip(*flats, strict=True)])


def _leaf(array: str) -> Callable[[Straight, Node, list[Entries]], Entries]:
    def rule(s: Straight, node: Node, args: list[Entries]) -> Entries:
        start = s.offsets[node.op, node.attrs["name"]]
        size = int(np.prod(shape_of(node)))
        return s.each(node, [Name(array).at(start + i) for i in range(size)])

    return rule


def _input(s: Straight, node: Node, args: list[Entries]) -> Entries:
    size, array = int(np.prod(shape_of(node))), Name(s.arrays[node.attrs["name"]])
    read = {"float": to_float, "int": to_int, "bool": lambda x: compare(x, "!=", 0)}
    return s.each(node, [read[node.type.dtype](array.at(i)) for i in range(size)])


def _const(s: Straight, node: Node, args: list[Entries]) -> Entries:
    return filled(shape_of(node), [literal(x, node.type.dtype) for x in node.attrs["value"].value.reshape(-1)])


def _key(s: Straight, node: Node) -> Expression:
    return s.local(node, noise_key(node), "key")


def _noise(s: Straight, node: Node, args: list[Entries]) -> Entries:
    key, size, purpose = _key(s, node), int(np.prod(shape_of(node))), node.attrs["purpose"]
    *outer, time = _times(args) or [to_int(0)]
    for t in outer:
        key = call("mix", key, to_word(t))
    return s.each(node, [call(s.uniform, e, key, time, "step", purpose) for e in range(size)])


def _times(args: list[Entries]) -> list[Expression]:
    """The steps of loops over time, the outermost first."""
    return [to_int(a.reshape(-1)[0]) for a in args]


def _rowkey(s: Straight, node: Node, args: list[Entries]) -> Entries:
    key, size = _key(s, node), int(np.prod(shape_of(node)))
    keys = [call("mix", key, to_word(e << 32) + to_word("step")) for e in range(size)]
    for t in _times(args):
        keys = [call("mix", k, to_word(t)) for k in keys]
    return s.each(node, [to_int(k) for k in keys])


def _expand(s: Straight, node: Node, args: list[Entries]) -> Entries:
    t = node.args[0].type
    lead = [a.size if a in t.axes else 1 for a in node.type.axes]
    pad = [1] * (len(node.type.shape) - len(t.shape))
    shape = tuple(int(n or 1) for n in (*lead, *pad, *t.shape))
    return np.broadcast_to(args[0].reshape(shape), shape_of(node))


def _reduced(node: Node) -> tuple[int, ...]:
    t = node.args[0].type
    named = [i for i, a in enumerate(t.axes) if a in node.attrs["axes"]]
    return (*named, *(len(t.axes) + d for d in node.attrs["dims"]))


def _fold(s: Straight, node: Node, args: list[Entries]) -> Entries:
    axes = _reduced(node)
    moved = np.moveaxis(args[0], axes, range(len(axes))).reshape(-1, int(np.prod(shape_of(node))))
    join: Callable[[Any], Expression] = total
    if node.op == "amax":
        function = Name("m").dot("maximum") if node.type.dtype == "float" else Name("max")

        def join(terms: Any) -> Expression:
            return functools.reduce(lambda a, b: call(function, a, b), terms)

    return s.each(node, map(join, moved.T))


def _argmax(s: Straight, node: Node, args: list[Entries]) -> Entries:
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


def _route(s: Straight, node: Node, args: list[Entries]) -> Entries:
    entries = []
    for pairs in node.attrs["terms"]:
        parts = []
        for i, entry in pairs:
            branch = node.args[i].type.branch
            at = len(node.args[i].type.axes) - 1
            parts.append(args[i] if branch is None else np.asarray(np.take(args[i], entry, axis=at), object))
        entries.append(parts)
    lead = len(node.type.axes) - (node.attrs["to"] is not None)
    shape = (*shape_of(node)[:lead], *node.type.shape)
    done = []
    for parts in entries:
        flat = [p.reshape(-1) for p in parts]
        zero = [literal(0, node.type.dtype)] * int(np.prod(shape))
        sums = [total(t) for t in zip(*flat, strict=True)] or zero
        done.append(filled(shape, [s.local(node, x) for x in sums]))
    return np.stack(done, axis=lead) if node.attrs["to"] is not None else done[0]


def _window(window: Any) -> Any:
    out: list[Any] = [...]
    for start, length, step in window:
        stop = start + length * step
        out.append(slice(start, None if stop < 0 else stop, step))
    return tuple(out)


def _slice(s: Straight, node: Node, args: list[Entries]) -> Entries:
    return args[0][_window(node.attrs["window"])] if node.type.shape else args[0]


def _pad(s: Straight, node: Node, args: list[Entries]) -> Entries:
    out = filled(shape_of(node), [literal(0, node.type.dtype)] * int(np.prod(shape_of(node))))
    if node.type.shape:
        out[_window(node.attrs["window"])] = args[0]
    return out


def _transpose(s: Straight, node: Node, args: list[Entries]) -> Entries:
    lead = len(node.type.axes)
    return np.transpose(args[0], (*range(lead), *(lead + p for p in node.attrs["perm"])))


def _take(s: Straight, node: Node, args: list[Entries]) -> Entries:
    lead = len(node.type.axes)
    out = np.empty(shape_of(node), object)
    ints = len(node.args[1].type.shape)
    for at in np.ndindex(*out.shape):
        index: Any = args[1][at[: lead + ints]]
        column = args[0][(*at[:lead], slice(None), *at[lead + ints :])]
        found = column[0]
        for i, x in enumerate(column[1:], 1):
            found = Choice(compare(index, ">=", i), x, found)
        out[at] = s.local(node, found)
    return out


def _put(s: Straight, node: Node, args: list[Entries]) -> Entries:
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
    out = filled(shape_of(node), [zero] * int(np.prod(shape_of(node))))
    for place, terms in sums.items():
        out[place] = s.local(node, total(terms))
    return out


def _solve(s: Straight, node: Node, args: list[Entries]) -> Entries:
    out, d, back = np.empty(shape_of(node), object), node.type.shape[-1], node.attrs["transposed"]
    for at in np.ndindex(*out.shape[:-1]):
        matrix, x = (args[0][at].T if back else args[0][at]), out[at]
        for i in reversed(range(d)) if back else range(d):
            done = range(i + 1, d) if back else range(i)
            rest = args[1][(*at, i)]
            for j in done:
                rest = rest - matrix[i, j] * x[j]
            x[i] = s.local(node, rest / matrix[i, i])
    return out


def _cumsum(s: Straight, node: Node, args: list[Entries]) -> Entries:
    out = np.array(args[0])
    for k in range(1, out.shape[-1]):
        for at in np.ndindex(*out.shape[:-1]):
            out[(*at, k)] = s.local(node, out[(*at, k - 1)] + args[0][(*at, k)])
    return out


def _draw_rows(s: Straight, node: Node, args: list[Entries]) -> Entries:
    out, stream = np.empty(shape_of(node), object), to_int(node.attrs["stream"])
    event = out.reshape(-1, node.type.event_size)
    *parameters, keys = args
    rows = zip(*(p.reshape(event.shape) for p in parameters), keys.reshape(-1), strict=True)
    for r, (*given, key) in enumerate(rows):
        for i, entry in enumerate(zip(*given, strict=True)):
            event[r, i] = s.local(node, scalar(node.attrs["draw"], *entry, to_word(key), to_int(i), stream))
    return out


def _lanes(s: Straight, node: Node, args: list[Entries]) -> Entries:
    given = [a.reshape(-1) for a in args]
    if "stream" not in node.attrs:
        return s.each(node, [scalar(node.attrs["draw"], *entry) for entry in zip(*given, strict=True)])
    *parameters, key, column = given
    rows, stream = zip(*parameters, key, column, strict=True), to_int(node.attrs["stream"])
    return s.each(node, [scalar(node.attrs["draw"], *entry, to_word(k), i, stream) for *entry, k, i in rows])


def _concat(s: Straight, node: Node, args: list[Entries]) -> Entries:
    return np.concatenate(args, axis=len(node.type.axes) + node.attrs["dim"])


def _collect(s: Straight, node: Node, args: list[Entries]) -> Entries:
    t = node.args[0].type
    return np.moveaxis(args[0], t.axes.index(node.attrs["axis"]), len(t.axes) - 1)


def _distribute(s: Straight, node: Node, args: list[Entries]) -> Entries:
    lead = len(node.args[0].type.axes)
    return np.moveaxis(args[0], lead, node.type.axes.index(node.attrs["axis"]))


RULES: dict[str, Callable[[Straight, Node, list[Entries]], Entries]] = {
    "param": _leaf("params"),
    "aux": _leaf("aux"),
    "hyper": _leaf("hyper"),
    "input": _input,
    "const": _const,
    "noise": _noise,
    "rowkey": _rowkey,
    "size": lambda s, node, args: filled((), [ONE]),
    "expand": _expand,
    "sum": _fold,
    "amax": _fold,
    "argmax": _argmax,
    "route": _route,
    "reshape": lambda s, node, args: args[0].reshape(shape_of(node)),
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
