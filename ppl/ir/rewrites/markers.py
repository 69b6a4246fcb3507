"""Erasing what only differentiation needs, so that primal and gradient share their common subexpressions."""

from __future__ import annotations

from collections.abc import Sequence

from ppl.ir.loop import map_body
from ppl.ir.node import Node, make, rebuild, remake
from ppl.ir.op_facts import MARKERS


def _erase(n: Node, args: tuple[Node, ...]) -> Node:
    if n.op in MARKERS:
        return args[0]
    if n.op == "expand" and n.attrs["live"] is not None:
        return make("expand", *args, axes=n.attrs["axes"], shape=n.attrs["shape"], live=None)
    if n.op == "route" and not all(n.attrs["live"]):
        return make("route", *args, to=n.attrs["to"], terms=n.attrs["terms"], live=(True,) * len(n.attrs["live"]))
    return map_body(n, args, erase_markers) if n.op == "loop" else remake(n, args)


def erase_markers(outputs: Sequence[Node]) -> list[Node]:
    """Replace markers by their (first) argument and let every branch entry pass gradient, loop bodies too.

    Call it after the last differentiation: a graph without markers has the same values but other gradients.
    """
    return rebuild(outputs, _erase)
