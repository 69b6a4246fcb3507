"""Emission of tiny programs without rows or run-time sizes: straight-line code over local variables.

The lowered graph is evaluated once at compile time on arrays of expressions: every entry of every value becomes one
local, so that a program of a dozen scalar operations costs what its arithmetic costs (well under a microsecond).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ppl.compiler.emit.scalar import expression, literal
from ppl.compiler.lower.layout import identifier
from ppl.compiler.lower.request import Output
from ppl.ir.node import Node, topological
from ppl.ir.reference.noise import node_hash
from ppl.ir.types import Kind

Entries = np.ndarray


def _shape(node: Node) -> tuple[int, ...]:
    """Shape of a value, with one particle where their number is known only at run time."""
    return (*(1 if a.size is None else a.size for a in node.type.axes), *node.type.shape)


def suits(outputs: Sequence[Node], most: int) -> bool:
    """Whether a program, run with one particle, is static, and computes `most` entries at most: it is then unrolled."""
    total = 0
    for node in topological(outputs):
        if node.op in ("loop", "get", "external", "gemm"):
            return False
        if any(a.size is None and a.kind is not Kind.PARTICLES for a in node.type.axes):
            return False
        if node.op == "size" and node.attrs["axis"].kind is not Kind.PARTICLES:
            return False
        if node.op in ("scale", "rowid") or (node.op == "input" and node.type.axes) or node.attrs.get("by_row"):
            return False
        if node.op not in ("param", "input", "aux"):
            work = 4 if node.op == "noise" else 1
            total += work * int(np.prod(_shape(node)))
    return total <= most


class Straight:
    """Turns nodes into arrays of expressions, writing assignments on the way."""

    def __init__(self, offsets: dict[tuple[str, str], int], arrays: dict[str, str], dtype: str):
        self.offsets, self.arrays = offsets, arrays
        self.uniform = "uniform_f32" if dtype == "float32" else "uniform_f64"
        self.lines: list[str] = []
        self.names: dict[str, int] = {}
        self.known: dict[str, str] = {}
        self.values: dict[Node, Entries] = {}

    def _local(self, node: Node, text: str, stem: str = "") -> str:
        """A local that holds `text`; equal texts share one."""
        if text.isidentifier() or (text[:2] in ("F(", "I(") and text.count("(") == 1):
            return text
        if text not in self.known:
            stem = stem or identifier(str(node.attrs.get("name", node.op)))
            count = self.names[stem] = self.names.get(stem, 0) + 1
            self.known[text] = f"{stem}_{count}"
            self.lines.append(f"{self.known[text]} = {text}")
        return self.known[text]

    def _each(self, node: Node, texts: Any) -> Entries:
        out = np.empty(_shape(node), object)
        flat = np.asarray(texts, object).reshape(-1)
        out.reshape(-1)[:] = [self._local(node, t) for t in flat] if flat.size else []
        return out

    def value(self, node: Node) -> Entries:
        """The expressions of all entries of `node`, whose arguments are known."""
        args = [self.values[a] for a in node.args]
        rule = RULES.get(node.op)
        if rule is not None:
            return rule(self, node, args)
        flats = [a.reshape(-1) for a in args]
        return self._each(node, [expression(node, list(entry)) for entry in zip(*flats, strict=True)])


def _leaf(array: str) -> Callable[[Straight, Node, list[Entries]], Entries]:
    def rule(s: Straight, node: Node, args: list[Entries]) -> Entries:
        start = s.offsets[node.op, node.attrs["name"]]
        size = int(np.prod(_shape(node)))
        return s._each(node, [f"{array}[{start + i}]" for i in range(size)])

    return rule


def _input(s: Straight, node: Node, args: list[Entries]) -> Entries:
    size, array = int(np.prod(_shape(node))), s.arrays[node.attrs["name"]]
    form = {"float": "F({}[{}])", "int": "I({}[{}])", "bool": "({}[{}] != 0)"}[node.type.dtype]
    return s._each(node, [form.format(array, i) for i in range(size)])


def _const(s: Straight, node: Node, args: list[Entries]) -> Entries:
    out = np.empty(_shape(node), object)
    out.reshape(-1)[:] = [literal(x, node.type.dtype) for x in node.attrs["value"].value.reshape(-1)]
    return out


def _noise(s: Straight, node: Node, args: list[Entries]) -> Entries:
    key = s._local(node, f"U(mix(U(seed), U({node_hash(node.attrs['name']):#x})))", "key")
    size = int(np.prod(_shape(node)))
    purpose = node.attrs["purpose"]
    return s._each(node, [f"{s.uniform}({e}, {key}, 0, step, {purpose})" for e in range(size)])


def _rowkey(s: Straight, node: Node, args: list[Entries]) -> Entries:
    key = s._local(node, f"U(mix(U(seed), U({node_hash(node.attrs['name']):#x})))", "key")
    size = int(np.prod(_shape(node)))
    return s._each(node, [f"I(mix({key}, U({e << 32}) + U(step)))" for e in range(size)])


def _expand(s: Straight, node: Node, args: list[Entries]) -> Entries:
    t = node.args[0].type
    lead = [a.size if a in t.axes else 1 for a in node.type.axes]
    pad = [1] * (len(node.type.shape) - len(t.shape))
    shape = tuple(int(n or 1) for n in (*lead, *pad, *t.shape))
    return np.broadcast_to(args[0].reshape(shape), _shape(node))


def _reduced(node: Node) -> tuple[int, ...]:
    t = node.args[0].type
    named = [i for i, a in enumerate(t.axes) if a in node.attrs["axes"]]
    return (*named, *(len(t.axes) + d for d in node.attrs["dims"]))


def _fold(s: Straight, node: Node, args: list[Entries]) -> Entries:
    axes = _reduced(node)
    moved = np.moveaxis(args[0], axes, range(len(axes))).reshape(-1, int(np.prod(_shape(node))))
    join = " + ".join
    if node.op == "amax":
        form = "m.maximum({}, {})" if node.type.dtype == "float" else "max({}, {})"

        def join(terms: Any) -> str:
            text, *rest = terms
            for term in rest:
                text = form.format(text, term)
            return text

    return s._each(node, [f"({join(column)})" if len(column) > 1 else column[0] for column in moved.T])


def _argmax(s: Straight, node: Node, args: list[Entries]) -> Entries:
    texts = []
    for row in args[0].reshape(-1, args[0].shape[-1]):
        best, index = row[0], "I(0)"
        for i, x in enumerate(row[1:], 1):
            index = s._local(node, f"(I({i}) if {x} > {best} else {index})")
            best = s._local(node, f"({x} if {x} > {best} else {best})", "best")
        texts.append(index)
    return s._each(node, texts)


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
    shape = (*_shape(node)[:lead], *node.type.shape)
    done = []
    for parts in entries:
        flat = [p.reshape(-1) for p in parts]
        zero = [literal(0, node.type.dtype)] * int(np.prod(shape))
        texts = [" + ".join(t) if len(t) == 1 else f"({' + '.join(t)})" for t in zip(*flat, strict=True)] or zero
        made = np.empty(shape, object)
        made.reshape(-1)[:] = [s._local(node, t) for t in texts]
        done.append(made)
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
    out = np.full(_shape(node), literal(0, node.type.dtype), object)
    if node.type.shape:
        out[_window(node.attrs["window"])] = args[0]
    return out


def _transpose(s: Straight, node: Node, args: list[Entries]) -> Entries:
    lead = len(node.type.axes)
    return np.transpose(args[0], (*range(lead), *(lead + p for p in node.attrs["perm"])))


def _take(s: Straight, node: Node, args: list[Entries]) -> Entries:
    lead = len(node.type.axes)
    out = np.empty(_shape(node), object)
    ints = len(node.args[1].type.shape)
    for at in np.ndindex(*out.shape):
        index = args[1][at[: lead + ints]]
        column = args[0][(*at[:lead], slice(None), *at[lead + ints :])]
        text = column[0]
        for i, x in enumerate(column[1:], 1):
            text = f"({x} if {index} >= {i} else {text})"
        out[at] = s._local(node, text)
    return out


def _put(s: Straight, node: Node, args: list[Entries]) -> Entries:
    value, index = args
    t, over = node.args[0].type, node.attrs["over"]
    lead, ints = len(t.axes), len(node.args[1].type.shape)
    sums: dict[tuple[int, ...], list[str]] = {}
    for at in np.ndindex(*value.shape):
        kept = tuple(i for i, a in zip(at[:lead], t.axes, strict=True) if a not in over)
        for row in range(node.attrs["size"]):
            test = f"({value[at]} if {index[at[: lead + ints]]} == {row} else {literal(0, t.dtype)})"
            sums.setdefault((*kept, row, *at[lead + ints :]), []).append(test)
    out = np.full(_shape(node), literal(0, t.dtype), object)
    for place, terms in sums.items():
        out[place] = s._local(node, f"({' + '.join(terms)})" if len(terms) > 1 else terms[0])
    return out


def _solve(s: Straight, node: Node, args: list[Entries]) -> Entries:
    out, d, back = np.empty(_shape(node), object), node.type.shape[-1], node.attrs["transposed"]
    for at in np.ndindex(*out.shape[:-1]):
        matrix, x = (args[0][at].T if back else args[0][at]), out[at]
        for i in reversed(range(d)) if back else range(d):
            done = range(i + 1, d) if back else range(i)
            rest = " - ".join([args[1][(*at, i)], *(f"{matrix[i, j]} * {x[j]}" for j in done)])
            x[i] = s._local(node, f"({rest}) / {matrix[i, i]}")
    return out


def _cumsum(s: Straight, node: Node, args: list[Entries]) -> Entries:
    out = np.array(args[0])
    for k in range(1, out.shape[-1]):
        for at in np.ndindex(*out.shape[:-1]):
            out[(*at, k)] = s._local(node, f"({out[(*at, k - 1)]} + {args[0][(*at, k)]})")
    return out


def _draw_rows(s: Straight, node: Node, args: list[Entries]) -> Entries:
    draw, out = f"m.{node.attrs['draw']}", np.empty(_shape(node), object)
    event = out.reshape(-1, node.type.event_size)
    *parameters, keys = args
    rows = zip(*(p.reshape(event.shape) for p in parameters), keys.reshape(-1), strict=True)
    for r, (*given, key) in enumerate(rows):
        for i, entry in enumerate(zip(*given, strict=True)):
            event[r, i] = s._local(node, f"{draw}({', '.join(entry)}, U({key}), I({i}), I({node.attrs['stream']}))")
    return out


def _lanes(s: Straight, node: Node, args: list[Entries]) -> Entries:
    given = [a.reshape(-1) for a in args]
    if "stream" not in node.attrs:
        return s._each(node, [f"m.{node.attrs['draw']}({', '.join(entry)})" for entry in zip(*given, strict=True)])
    *parameters, key, column = given
    rows = zip(*parameters, key, column, strict=True)
    texts = (f"{', '.join(entry)}, U({k}), {i}, I({node.attrs['stream']})" for *entry, k, i in rows)
    return s._each(node, [f"m.{node.attrs['draw']}({text})" for text in texts])


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
    "size": lambda s, node, args: np.array("F(1.0)", object),
    "expand": _expand,
    "sum": _fold,
    "amax": _fold,
    "argmax": _argmax,
    "route": _route,
    "reshape": lambda s, node, args: args[0].reshape(_shape(node)),
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


def _noise_first(outputs: Sequence[Node]) -> list[Node]:
    """All nodes, first those that do not wait for parameters: in a loop of steps they can start before a step ends."""
    waiting: dict[Node, bool] = {}
    for node in topological(outputs):
        waiting[node] = node.op in ("param", "aux") or any(waiting[a] for a in node.args)
    return sorted(waiting, key=waiting.__getitem__)


def body(outputs: Sequence[Output], offsets: dict[tuple[str, str], int], arrays: dict[str, str], dtype: str,
         n_aux: int, aux_at: int) -> list[str]:  # fmt: skip
    """The statements of the whole program."""
    s = Straight(offsets, arrays, dtype)
    for node in _noise_first([o.node for o in outputs]):
        s.values[node] = s.value(node)
    writes = []
    for out in outputs:
        start, array = out.offset.constant, out.array
        assert start is not None
        if array == "w" and start >= aux_at and n_aux:
            start, array = start - aux_at, "aux"
        for i, text in enumerate(s.values[out.node].reshape(-1)):
            writes.append(f"{array}[{start + i}] = {text}")
    first = next((o for o in outputs if o.array == "w"), None)
    result = s.values[first.node].reshape(-1)[0] if first is not None else "F(0.0)"
    return [*s.lines, *writes, f"return {result}"]
