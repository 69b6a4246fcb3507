"""A cost as a sum of terms, cut at additions where it reads something behind `stop_gradient`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ppl.ir.node import Node
from ppl.ir.types import Axis
from tests.oracle.exact import ops
from tests.oracle.exact.evaluate import Evaluation
from tests.oracle.exact.walk import Term, ancestors, is_stop, walk

Array = np.ndarray
Piece = Callable[[Evaluation], Array]
LINEAR = ("sum", "expand", "reshape", "neg", "transpose", "slice", "collect", "distribute", "cumsum")


def split(name: str, plates: tuple[Axis, ...], node: Node) -> list[Term]:
    """The terms of a cost."""
    if not any(is_stop(n) for n, _ in walk([node])):
        return [Term(name, plates, (node,), lambda ev: ev(node))]
    return [Term(f"{name}[{i}]", plates, roots, piece) for i, (piece, roots) in enumerate(_pieces(node))]


def _pieces(node: Node) -> list[tuple[Piece, tuple[Node, ...]]]:
    if node.op in ("add", "sub"):
        sign = -1.0 if node.op == "sub" else 1.0
        first, second = _pieces(node.args[0]), _pieces(node.args[1])
        return first + [(partial(_scaled, piece, sign), roots) for piece, roots in second]
    if node.op in LINEAR:
        return [(partial(_applied, node, 0, piece), roots) for piece, roots in _pieces(node.args[0])]
    if node.op in ("mul", "div", "contract"):
        for i in (0, 1) if node.op != "div" else (0,):
            if not ancestors(node.args[1 - i]):
                other = node.args[1 - i]
                return [(partial(_applied, node, i, piece), (*roots, other)) for piece, roots in _pieces(node.args[i])]
    return [(lambda ev: ev(node), (node,))]


def _scaled(piece: Piece, sign: float, ev: Evaluation) -> Array:
    return sign * piece(ev)


def _applied(node: Node, place: int, piece: Piece, ev: Evaluation) -> Array:
    """`node` with one argument replaced by a piece of it."""
    args = [piece(ev) if i == place else ev(a) for i, a in enumerate(node.args)]
    return ops.apply(ev.layout, node, args)
