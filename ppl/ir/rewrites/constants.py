"""Rules that fold constants. Everything is folded in float64, by the reference interpreter."""

from __future__ import annotations

import numpy as np

from ppl.ir.node import Node
from ppl.ir.op_facts import ELEMENTWISE
from ppl.ir.reference.interpret import Env, evaluate
from ppl.ir.rewrites.match import FOLD_LIMIT, Rule, constant, spread_like, strip

FOLDED_SHAPES = {
    "sum",
    "amax",
    "argmax",
    "reshape",
    "transpose",
    "slice",
    "pad",
    "concat",
    "take",
    "put",
    "contract",
}


def uniform_constant(n: Node) -> Node | None:
    """Convert a constant array with equal entries to a broadcast number."""
    value = n.attrs["value"].value
    if not value.ndim or not value.size:
        return None
    first = value.reshape(-1)[:1]
    same = value.tobytes() == np.broadcast_to(first, value.shape).tobytes()
    return spread_like(constant(first[0], n.type.dtype), n.type) if same else None


def fixed_size(n: Node) -> Node | None:
    """Convert the length of an axis of known size to a constant."""
    size = n.attrs["axis"].size
    return None if size is None else constant(float(size))


def fold(n: Node) -> Node | None:
    """Convert an op on constants to a constant when the result and the arguments are small."""
    if n.type.axes or n.type.event_size > FOLD_LIMIT or not n.args:
        return None
    for a in n.args:
        if a.type.axes or a.type.event_size > FOLD_LIMIT or strip(a).core.op != "const":
            return None
    return constant(evaluate([n], Env())[0], n.type.dtype)


RULES: dict[str, list[Rule]] = {
    "const": [uniform_constant],
    "size": [fixed_size],
    **{op: [fold] for op in sorted(ELEMENTWISE | FOLDED_SHAPES)},
}
