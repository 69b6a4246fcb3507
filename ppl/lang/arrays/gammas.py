"""log |gamma| and its derivative on the whole line: by reflection where the argument may not be positive."""

from __future__ import annotations

import numpy as np

from ppl.distributions.domain.bounds import bounds_of
from ppl.distributions.domain.intervals import POSITIVE
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.ops import Operand


def gammaln(x: Operand) -> Node:
    """log |gamma(x)|; infinite at 0, -1, -2, …"""
    x = ops.cast(x, "float")
    if bounds_of(x).within(POSITIVE):
        return ops.lgamma(x)
    above, mirrored, rest = _reflection(x)
    positive = ops.lgamma(mirrored)
    return ops.where(above, positive, ops.sub(ops.log(ops.div(np.pi, ops.absolute(ops.sin(rest)))), positive))


def digamma(x: Operand) -> Node:
    """The derivative of `gammaln`; -inf at 0, NaN at -1, -2, …"""
    x = ops.cast(x, "float")
    if bounds_of(x).within(POSITIVE):
        return ops.polygamma(0, x)
    above, mirrored, rest = _reflection(x)
    positive = ops.polygamma(0, mirrored)
    pole = ops.where(ops.equal(x, 0.0), -np.inf, np.nan)
    below = ops.sub(positive, ops.div(np.pi, ops.tan(rest)))
    return ops.where(above, positive, ops.where(ops.equal(rest, 0.0), pole, below))


def betaln(a: Operand, b: Operand) -> Node:
    """log |beta(a, b)|."""
    return ops.sub(ops.add(gammaln(a), gammaln(b)), gammaln(ops.add(a, b)))


def _reflection(x: Node) -> tuple[Node, Node, Node]:
    """Whether x > 0; x there and 1 - x elsewhere; pi x elsewhere without whole periods, at most pi / 2 in size."""
    above = ops.less(0.0, x)
    rest = ops.mul(np.pi, ops.sub(x, ops.floor(ops.add(x, 0.5))))
    return above, ops.where(above, x, ops.sub(1.0, x)), ops.where(above, np.pi / 2, rest)
