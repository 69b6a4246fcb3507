"""Short last dimensions: functions that are worth vectors run over the whole event instead.

A loop over the ten classes of a categorical unit is shorter than a vector. What takes an exponential of every entry
of twenty such units does it in one loop of two hundred; sums and maxima over classes, and what is cheap, stay.
"""

from __future__ import annotations

from ppl.compiler.lower.target import Rewrites
from ppl.compiler.lower.views import resolve
from ppl.ir import ops
from ppl.ir.node import Node, make
from ppl.ir.op_facts import ELEMENTWISE, FUNCTIONS


def flattened(node: Node, args: tuple[Node, ...], rules: Rewrites) -> Node | None:
    """`node` with `args`, computed over its event as one dimension; None where that is not worth it."""
    shape, size = node.type.shape, node.type.event_size
    if node.op not in ELEMENTWISE or len(shape) < 2 or size < rules.flat or not 1 < shape[-1] < rules.short:
        return None
    if shape[-1] % rules.vector == 0:
        return None
    if node.op not in FUNCTIONS and not (any(map(_is_flat, args)) and all(_stays(a, size) for a in args)):
        return None
    return ops.reshape(make(node.op, *(_flat(a, size) for a in args), **node.attrs), shape)


def _is_flat(x: Node) -> bool:
    """Whether `x` is the result of a loop over a whole event."""
    return x.op == "reshape" and x.args[0].op in ELEMENTWISE and len(x.args[0].type.shape) == 1


def _stays(x: Node, size: int) -> bool:
    """Whether the entries of `x` can be read one after another without a copy."""
    return resolve(_flat(x, size), {}) is not None


def _flat(x: Node, size: int) -> Node:
    """`x` with one event dimension."""
    if x.op == "expand" and not x.args[0].type.shape:
        return ops.expand(x.args[0], x.type.axes, (size,)) if not x.type.branch else ops.reshape(x, (size,))
    if x.op == "reshape" and x.args[0].type.shape == (size,):
        return x.args[0]
    return ops.reshape(x, (size,))
