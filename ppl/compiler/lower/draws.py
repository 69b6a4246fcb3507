"""Draws by rejection and their slopes as steps of their own, which run blocks of lanes that vectorise.

`draw_rows` makes the draws of one event under the key of its row and particle, column after column. `lanes` takes all
entries of a value: those of short events, of rows whose event is one draw, and the slopes of draws.
"""

from __future__ import annotations

import numpy as np

from ppl.compiler.lower.copies import in_memory, stored
from ppl.compiler.lower.target import Rewrites
from ppl.compiler.lower.views import row_axis
from ppl.ir import ops
from ppl.ir.node import Node, make, remake
from ppl.ir.op_facts import DRAWS
from ppl.ir.types import Kind, Type


def lower_draw(node: Node, args: tuple[Node, ...], rules: Rewrites) -> Node:
    """The draws or slopes of `node` from lowered arguments, as a step of their own where they are many."""
    least = rules.lanes
    if node.op not in DRAWS:
        many = _entries(node, least) >= least
        return make("lanes", *map(stored, args), draw=node.op) if many else remake(node, args)
    *parameters, key, column = args
    own, place = _unexpanded(key), _unexpanded(column)
    count = node.type.event_size
    ordered = place.op == "const" and np.array_equal(place.attrs["value"].value.ravel(), np.arange(count))
    attrs = {"draw": node.op, "stream": node.attrs["stream"]}
    if count >= least and not own.type.shape and ordered:
        return make("draw_rows", *map(in_memory, parameters), ops.expand(own, node.type.axes), **attrs)
    if _entries(node, least) < least:
        return remake(node, args)
    if _counts_rows(place, node.type) and not own.type.axes and not own.type.shape:
        return make("lanes", *map(stored, parameters), own, **attrs, by_row=True)
    return make("lanes", *map(stored, (*parameters, key, column)), **attrs, by_row=False)


def _counts_rows(place: Node, t: Type) -> bool:
    """Whether `place` is the number of each entry of a value of type `t`, a row of one entry."""
    if place.op != "rowid" or t.axes != (place.attrs["axis"],) or t.event_size != 1:
        return False
    return place.attrs["axis"].size is not None and place.attrs["axis"].kind is Kind.PLATE


def _entries(node: Node, least: int) -> int:
    """Entries of a value, as many as `least` where they run over rows or a number known only at run time."""
    total = node.type.event_size
    for axis in node.type.axes:
        total *= least if axis.size is None else axis.size
    return least if row_axis(node.type.axes) is not None else total


def _unexpanded(x: Node) -> Node:
    """`x` before broadcasts and reshapes."""
    while x.op == "expand" or (x.op == "reshape" and x.args[0].type.event_size == x.type.event_size):
        x = x.args[0]
    return x
