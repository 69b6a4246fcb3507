"""Rewrites of whole loops: the same recurrence is run once, and results that nobody reads are not stacked."""

from __future__ import annotations

from collections.abc import Sequence

from ppl.ir.loop import Body
from ppl.ir.node import Node, make, rebuild, remake, topological
from ppl.ir.rewrites.match import Rule


def merge_loops(outputs: Sequence[Node]) -> list[Node]:
    """Convert loops that carry the same values to one loop with the stacked results of both that are read.

    Reverse mode makes such pairs: the loop of the model, and one that also records its carries.
    """
    order = topological(outputs)
    groups: dict[tuple, dict[Node, None]] = {}
    for node in order:
        if node.op != "get":
            continue
        loop, i = node.args[0], node.attrs["index"]
        n = len(loop.attrs["body"].carries)
        ys = groups.setdefault(_recurrence(loop), {})
        if i >= n:
            ys[loop.attrs["body"].ys[i - n]] = None
    if not groups:
        return list(outputs)
    return rebuild(outputs, lambda node, args: _read(node, args, groups) if node.op == "get" else remake(node, args))


def _recurrence(loop: Node) -> tuple:
    """What two loops share when they carry the same values."""
    body = loop.attrs["body"]
    return (
        loop.args,
        body.index,
        body.args,
        body.carries,
        body.n_xs,
        *(v for k, v in sorted(loop.attrs.items()) if k != "body"),
    )


def _read(node: Node, args: tuple[Node, ...], groups: dict[tuple, dict[Node, None]]) -> Node:
    """`node`, reading from the merged loop of its group."""
    old, new, i = node.args[0], args[0], node.attrs["index"]
    body = old.attrs["body"]
    ys = tuple(groups[_recurrence(old)])
    n = len(body.carries)
    merged = Body(body.index, body.args, body.carries, ys, body.n_xs)
    loop = make("loop", *new.args, **{**old.attrs, "body": merged})
    index = i if i < n else n + ys.index(body.ys[i - n])
    return make("get", loop, index=index, type=node.type)


def constant_carry(n: Node) -> Node | None:
    """Convert a carry that the body hands on unchanged to a constant of the loop, its result to its start."""
    (loop,), i = n.args, n.attrs["index"]
    body = loop.attrs["body"]
    count = len(body.carries)
    fixed = [k for k in range(count) if body.carries[k] is body.args[k]]
    if not fixed:
        return None
    if i in fixed:
        return loop.args[i]
    kept = [k for k in range(count) if k not in fixed]
    order = [*kept, *range(count, len(body.args)), *fixed]
    new = Body(
        body.index,
        tuple(body.args[k] for k in order),
        tuple(body.carries[k] for k in kept),
        body.ys,
        body.n_xs,
    )
    args = (loop.args[k] for k in order)
    smaller = make("loop", *args, **{**loop.attrs, "body": new})
    return make("get", smaller, index=kept.index(i) if i < count else i - len(fixed), type=n.type)


RULES: dict[str, list[Rule]] = {"get": [constant_carry]}
