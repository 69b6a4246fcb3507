"""From nodes to operations: what each op reads, over which loops, and where it writes; a table by op."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ppl.compiler.lower.views import Entry, Key, View, dims_of, strides_of
from ppl.compiler.schedule.fusion import Access, Op, identity_store
from ppl.ir.node import Node
from ppl.ir.types import Axis

if TYPE_CHECKING:
    from ppl.compiler.schedule.values import Builder


def mapped(builder: Builder, node: Node) -> list[Op]:
    """Entry by entry."""
    axes, coefs = identity_store(node)
    domain, args = dims_of(node.type.axes, node.type.shape), [builder.access(a) for a in node.args]
    return [Op("map", node, builder.value(node), domain, args, axes=axes, coefs=coefs)]


def _reduce(builder: Builder, node: Node) -> list[Op]:
    arg = node.args[0]
    rank = len(arg.type.shape)
    dims = {rank - 1} if node.op == "argmax" else set(node.attrs["dims"])
    over = set() if node.op == "argmax" else set(node.attrs["axes"])
    steps = strides_of(node.type.shape)
    coefs: dict[Key, int] = {}
    for new, old in enumerate(d for d in range(rank) if d not in dims):
        if node.type.shape[new] != 1:
            coefs[old] = steps[new]
    axes: dict[Axis, Key | Entry] = {a: a for a in node.type.axes}
    kind = "argmax" if node.op == "argmax" else "reduce"
    domain = dims_of(arg.type.axes, arg.type.shape)
    return [Op(kind, node, builder.value(node), domain, [builder.access(arg)], frozenset((*over, *dims)), axes, coefs)]


def _take(builder: Builder, node: Node) -> list[Op]:
    table, index = node.args
    inner = builder.access(table)
    shift = len(index.type.shape) - 1
    moving = next((a for a, k in inner.view.axes.items() if k == 0 and isinstance(k, int)), None)
    target: int | Axis = moving if moving is not None else inner.view.coefs.get(0, 0)
    axes = {a: Entry(0) if a == moving else k for a, k in inner.view.axes.items()}
    coefs = {k: c for k, c in inner.view.coefs.items() if not (isinstance(k, int) and k == 0)}
    view = View(inner.view.base, axes, coefs, inner.view.offset)
    view = view.renamed({k: k + shift for k in range(1, len(table.type.shape))})
    read = Access(inner.value, view, (builder.access(index), target), table.type.shape[0])
    store_axes, store = identity_store(node)
    domain = dims_of(node.type.axes, node.type.shape)
    return [Op("map", node, builder.value(node), domain, [read], axes=store_axes, coefs=store)]


def _put(builder: Builder, node: Node) -> list[Op]:
    value, index = node.args
    lead, steps = len(index.type.shape), strides_of(node.type.shape)
    coefs: dict[Key, int] = {lead + k: s for k, s in enumerate(steps[1:])}
    scattered = frozenset((*node.attrs["over"], *range(len(value.type.shape))))
    return [Op("put", node, builder.value(node), dims_of(value.type.axes, value.type.shape), [builder.access(value)],
               scattered, {a: a for a in node.type.axes}, coefs, gather=(builder.access(index), steps[0]),
               limit=node.attrs["size"])]  # fmt: skip


def _pad(builder: Builder, node: Node) -> list[Op]:
    arg = node.args[0]
    steps, coefs, offset = strides_of(node.type.shape), {}, 0
    for k, (start, _, step) in enumerate(node.attrs["window"]):
        offset += start * steps[k]
        coefs[k] = step * steps[k]
    return [_piece(builder, node, "pad", arg, {a: a for a in node.type.axes}, coefs, offset, [builder.access(arg)])]


def _piece(builder: Builder, node: Node, kind: str, like: Node, axes: Any, coefs: Any, offset: int, args: list[Access],
           shape: tuple[int, ...] | None = None, over: tuple[Axis, ...] | None = None) -> Op:  # fmt: skip
    shape, over = (like.type.shape if shape is None else shape), (like.type.axes if over is None else over)
    scattered = frozenset(range(len(shape)))
    return Op(kind, node, builder.value(node), dims_of(over, shape), args, scattered, axes, coefs, offset)


def _concat(builder: Builder, node: Node) -> list[Op]:
    steps, start, out = strides_of(node.type.shape), 0, []
    axes = {a: a for a in node.type.axes}
    for arg in node.args:
        offset = start * steps[node.attrs["dim"]]
        out.append(_piece(builder, node, "piece", arg, axes, dict(enumerate(steps)), offset, [builder.access(arg)]))
        start += arg.type.shape[node.attrs["dim"]]
    return out


def _route(builder: Builder, node: Node) -> list[Op]:
    to, t = node.attrs["to"], node.type
    plain = tuple(a for a in t.axes if a != to)
    store = dict(identity_store(node)[1])
    out = []
    for entry, pairs in enumerate(node.attrs["terms"]):
        args = [_entry(builder, node.args[i], s) for i, s in pairs]
        axes: dict[Axis, Key | Entry] = {a: a for a in plain}
        if to is None:
            domain = dims_of(plain, t.shape)
            return [Op("map", node, builder.value(node), domain, args, axes=axes, coefs=store)]
        axes[to] = Entry(entry)
        out.append(_piece(builder, node, "piece", node, axes, store, 0, args, over=plain))
    return out


def _entry(builder: Builder, arg: Node, entry: int) -> Access:
    read, branch = builder.access(arg), arg.type.branch
    axes = {a: Entry(entry) if k == branch and branch is not None else k for a, k in read.view.axes.items()}
    return Access(read.value, View(read.view.base, axes, read.view.coefs, read.view.offset))


RULES: Mapping[str, Callable[[Builder, Node], list[Op]]] = {
    **dict.fromkeys(("sum", "amax", "argmax"), _reduce),
    "take": _take,
    "put": _put,
    "pad": _pad,
    "concat": _concat,
    "route": _route,
}
"""Ops that are not computed entry by entry."""
