"""Long events: run a program without plates over its long leading dimension as rows.

A million independent units then stream through tiles and threads as the rows of a plate would. The rewrite is local:
every node with the long dimension in front gets a form with a named axis instead, and `collect` and `distribute` turn
one form into the other. Uniforms stay the same numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from ppl.compiler.lower.target import Number
from ppl.ir import ops
from ppl.ir.node import Node, make, remake, topological
from ppl.ir.op_facts import GIVEN, POINTWISE
from ppl.ir.types import PARTICLES, Axis, Kind

ROWWISE_OPS = POINTWISE | {"route"}
"""Ops that can be done row by row."""


def long_dimension(nodes: Sequence[Node], least: Number) -> int | None:
    """The leading dimension that most of the work of a program without plates and loops has, if it is `least` long."""
    found: Counter[int] = Counter()
    for node in topological(nodes):
        if node.op in ("loop", "rowid") or any(a.kind in (Kind.PLATE, Kind.REPEATS) for a in node.type.axes):
            return None
        if node.type.shape and node.type.shape[0] >= least and node.op in ROWWISE_OPS | {"noise"}:
            found[node.type.shape[0]] += node.type.event_size
    return max(found, key=found.__getitem__) if found else None


class LongEventRewrite:
    """The rewrite over one leading dimension, `size`."""

    def __init__(self, size: int):
        self.size = size
        self.axis = Axis("units", Kind.PLATE, size)
        self.plain: dict[Node, Node] = {}
        self.rowed: dict[Node, Node] = {}

    def run(self, nodes: Sequence[Node]) -> list[Node]:
        """`nodes`, those with the long dimension in front in the form with the axis."""
        for node in topological(nodes):
            made = RULES.get(node.op, _pointwise if node.op in ROWWISE_OPS else _keep_as_event)(self, node)
            self.store(node, made)
        return [self.rowed.get(n) or self.plain[n] for n in nodes]

    def store(self, node: Node, made: Node) -> None:
        """Keep `made` under the form that it has."""
        form = self.rowed if self.axis in made.type.axes else self.plain
        form[node] = made

    def leads(self, node: Node) -> bool:
        """Whether the long dimension stands in front of `node`'s event."""
        return node.type.shape[:1] == (self.size,)

    def as_plain(self, node: Node) -> Node:
        """`node` as it was."""
        if node not in self.plain:
            self.plain[node] = ops.collect(self.rowed[node], self.axis)
        return self.plain[node]

    def as_rows(self, node: Node) -> Node:
        """`node` with the axis in place of its leading dimension."""
        if node not in self.rowed:
            self.rowed[node] = ops.distribute(self.plain[node], self.axis)
        return self.rowed[node]


def _keep_as_event(events: LongEventRewrite, node: Node) -> Node:
    return remake(node, tuple(events.as_plain(a) for a in node.args))


def _pointwise(events: LongEventRewrite, node: Node) -> Node:
    if not events.leads(node):
        return _keep_as_event(events, node)
    return remake(node, tuple(events.as_rows(a) for a in node.args))


def _leaf(events: LongEventRewrite, node: Node) -> Node:
    if not events.leads(node):
        return node
    events.plain[node] = node
    counts = node.op == "const" and node.type.shape == (events.size,) and node.type.dtype == "int"
    if counts and np.array_equal(node.attrs["value"].value, np.arange(events.size)):
        return make("rowid", axis=events.axis)
    return ops.distribute(node, events.axis)


def _noise(events: LongEventRewrite, node: Node) -> Node:
    if not events.leads(node) or any(a != PARTICLES for a in node.type.axes):
        return node
    attrs = {"name": node.attrs["name"], "purpose": node.attrs["purpose"], "shape": node.type.shape[1:]}
    return make("noise", *node.args, **attrs, axes=(events.axis, *node.type.axes), columns=events.size)


def _expand(events: LongEventRewrite, node: Node) -> Node:
    x = node.args[0]
    if not events.leads(node):
        return _keep_as_event(events, node)
    axes, shape = (events.axis, *node.type.axes), node.type.shape[1:]
    if len(x.type.shape) < len(node.type.shape):
        return ops.expand(events.as_plain(x), axes, shape)
    if events.leads(x):
        return ops.expand(events.as_rows(x), axes, shape)
    return ops.expand(ops.reshape(events.as_plain(x), x.type.shape[1:]), axes, shape)


def _sum(events: LongEventRewrite, node: Node) -> Node:
    x, dims = node.args[0], node.attrs["dims"]
    if not events.leads(x):
        return _keep_as_event(events, node)
    rest = tuple(d - 1 for d in dims if d)
    axes = (events.axis, *node.attrs["axes"]) if 0 in dims else node.attrs["axes"]
    return make("sum", events.as_rows(x), axes=axes, dims=rest)


def _reshape(events: LongEventRewrite, node: Node) -> Node:
    x = node.args[0]
    if not (events.leads(node) and events.leads(x)):
        return _keep_as_event(events, node)
    return ops.reshape(events.as_rows(x), node.type.shape[1:])


def _transpose(events: LongEventRewrite, node: Node) -> Node:
    perm = node.attrs["perm"]
    if not events.leads(node) or perm[0]:
        return _keep_as_event(events, node)
    return ops.transpose(events.as_rows(node.args[0]), tuple(p - 1 for p in perm[1:]))


def _contract(events: LongEventRewrite, node: Node) -> Node:
    """Sum or keep the leading label of operands that have the long dimension in front, nowhere else."""
    out, labels = node.attrs["out"], (node.attrs["a"], node.attrs["b"])
    lead = {s[0] for s, x in zip(labels, node.args, strict=True) if events.leads(x)}
    name = next(iter(lead), "")
    if len(lead) != 1 or any(name in s[1:] for s in (*labels, out)):
        return _keep_as_event(events, node)
    args, rest = [], []
    for s, x in zip(labels, node.args, strict=True):
        here = s.startswith(name)
        args.append(events.as_rows(x) if here else ops.expand(events.as_plain(x), (events.axis,), x.type.shape))
        rest.append(s[1:] if here else s)
    over = tuple(node.attrs["over"])
    attrs = {"a": rest[0], "b": rest[1], "out": out.removeprefix(name)}
    return make("contract", *args, **attrs, over=over if name in out else (events.axis, *over))


RULES: dict[str, Callable[[LongEventRewrite, Node], Node]] = {
    **dict.fromkeys(GIVEN, _leaf),
    "noise": _noise,
    "expand": _expand,
    "sum": _sum,
    "reshape": _reshape,
    "transpose": _transpose,
    "contract": _contract,
}


def run_as_rows(nodes: Sequence[Node], least: Number) -> list[Node] | None:
    """Run the program over its longest leading dimension; None where there is none of at least this length."""
    size = long_dimension(nodes, least)
    return None if size is None else LongEventRewrite(size).run(nodes)
