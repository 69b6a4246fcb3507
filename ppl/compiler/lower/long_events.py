"""Wide events: a program without plates whose nodes have a long leading dimension is run over that dimension as rows.

A million independent units then stream through tiles and threads as the rows of a plate would. The rewrite is local:
every node with the long dimension in front gets a form with the named axis instead (`rowed`), and either form becomes
the other where something needs it, by the views `collect` and `distribute`. The uniforms stay the same numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from ppl.compiler.lower.target import Number
from ppl.ir import ops
from ppl.ir.node import Node, make, remake, topological
from ppl.ir.op_facts import GIVEN, POINTWISE
from ppl.ir.types import PARTICLES, Axis, Kind

LOCAL = POINTWISE | {"route"}
"""Ops that can be done row by row."""


def long_dimension(nodes: Sequence[Node], least: Number) -> int | None:
    """The leading dimension that most of the work of a program without plates and loops has, if it is `least` long."""
    found: Counter[int] = Counter()
    for node in topological(nodes):
        if node.op in ("loop", "rowid") or any(a.kind in (Kind.PLATE, Kind.REPEATS) for a in node.type.axes):
            return None
        if node.type.shape and node.type.shape[0] >= least and node.op in LOCAL | {"noise"}:
            found[node.type.shape[0]] += node.type.event_size
    return max(found, key=found.__getitem__) if found else None


class Wide:
    """The rewrite over one leading dimension, `size`."""

    def __init__(self, size: int):
        self.size = size
        self.axis = Axis("units", Kind.PLATE, size)
        self.plain: dict[Node, Node] = {}
        self.rowed: dict[Node, Node] = {}

    def run(self, nodes: Sequence[Node]) -> list[Node]:
        """`nodes`, those with the long dimension in front in the form with the axis."""
        for node in topological(nodes):
            made = RULES.get(node.op, _pointwise if node.op in LOCAL else _leave)(self, node)
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


def _leave(wide: Wide, node: Node) -> Node:
    return remake(node, tuple(wide.as_plain(a) for a in node.args))


def _pointwise(wide: Wide, node: Node) -> Node:
    if not wide.leads(node):
        return _leave(wide, node)
    return remake(node, tuple(wide.as_rows(a) for a in node.args))


def _leaf(wide: Wide, node: Node) -> Node:
    if not wide.leads(node):
        return node
    wide.plain[node] = node
    counts = node.op == "const" and node.type.shape == (wide.size,) and node.type.dtype == "int"
    if counts and np.array_equal(node.attrs["value"].value, np.arange(wide.size)):
        return make("rowid", axis=wide.axis)
    return ops.distribute(node, wide.axis)


def _noise(wide: Wide, node: Node) -> Node:
    if not wide.leads(node) or any(a != PARTICLES for a in node.type.axes):
        return node
    attrs = {"name": node.attrs["name"], "purpose": node.attrs["purpose"], "shape": node.type.shape[1:]}
    return make("noise", *node.args, **attrs, axes=(wide.axis, *node.type.axes), columns=wide.size)


def _expand(wide: Wide, node: Node) -> Node:
    x = node.args[0]
    if not wide.leads(node):
        return _leave(wide, node)
    axes, shape = (wide.axis, *node.type.axes), node.type.shape[1:]
    if len(x.type.shape) < len(node.type.shape):
        return ops.expand(wide.as_plain(x), axes, shape)
    if wide.leads(x):
        return ops.expand(wide.as_rows(x), axes, shape)
    return ops.expand(ops.reshape(wide.as_plain(x), x.type.shape[1:]), axes, shape)


def _sum(wide: Wide, node: Node) -> Node:
    x, dims = node.args[0], node.attrs["dims"]
    if not wide.leads(x):
        return _leave(wide, node)
    rest = tuple(d - 1 for d in dims if d)
    axes = (wide.axis, *node.attrs["axes"]) if 0 in dims else node.attrs["axes"]
    return make("sum", wide.as_rows(x), axes=axes, dims=rest)


def _reshape(wide: Wide, node: Node) -> Node:
    x = node.args[0]
    if not (wide.leads(node) and wide.leads(x)):
        return _leave(wide, node)
    return ops.reshape(wide.as_rows(x), node.type.shape[1:])


def _transpose(wide: Wide, node: Node) -> Node:
    perm = node.attrs["perm"]
    if not wide.leads(node) or perm[0]:
        return _leave(wide, node)
    return ops.transpose(wide.as_rows(node.args[0]), tuple(p - 1 for p in perm[1:]))


def _contract(wide: Wide, node: Node) -> Node:
    """Sum or keep the leading label of operands that have the long dimension in front, nowhere else."""
    out, labels = node.attrs["out"], (node.attrs["a"], node.attrs["b"])
    lead = {s[0] for s, x in zip(labels, node.args, strict=True) if wide.leads(x)}
    name = next(iter(lead), "")
    if len(lead) != 1 or any(name in s[1:] for s in (*labels, out)):
        return _leave(wide, node)
    args, rest = [], []
    for s, x in zip(labels, node.args, strict=True):
        here = s.startswith(name)
        args.append(wide.as_rows(x) if here else ops.expand(wide.as_plain(x), (wide.axis,), x.type.shape))
        rest.append(s[1:] if here else s)
    over = tuple(node.attrs["over"])
    attrs = {"a": rest[0], "b": rest[1], "out": out.removeprefix(name)}
    return make("contract", *args, **attrs, over=over if name in out else (wide.axis, *over))


RULES: dict[str, Callable[[Wide, Node], Node]] = {
    **dict.fromkeys(GIVEN, _leaf),
    "noise": _noise,
    "expand": _expand,
    "sum": _sum,
    "reshape": _reshape,
    "transpose": _transpose,
    "contract": _contract,
}


def widen_events(nodes: Sequence[Node], least: Number) -> list[Node] | None:
    """Run the program over its longest leading dimension; None where there is none of at least this length."""
    size = long_dimension(nodes, least)
    return None if size is None else Wide(size).run(nodes)
