"""Polynomials in a graph: the degree of an expression in one of its nodes, and its second derivative, forward.

Forward mode keeps every named axis of the expression apart, which reverse mode would sum over where the node lacks
it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ppl.ir import ops
from ppl.ir.node import Node, make, topological
from ppl.ir.op_facts import FACTS, LINEAR, LINEAR_ARGUMENTS, PRODUCTS
from ppl.ir.types import Axis

IMPOSSIBLE = "impossible"
"""Tag of a stop in states that nothing reaches: no derivative in parameters, but the value is that of its argument."""


def degree_of(node: Node, degrees: Sequence[float]) -> float:
    """Degree of `node` as a polynomial in something that its arguments have `degrees` in; inf where it is none.

    A sum or a linear op has the largest degree, a product the sum of both, a power its multiple; quotients and
    selections pass on a degree while denominator, index and condition do not vary. A value that only chooses between
    formulas of one function (a stop with tag "formula") counts as fixed.
    """
    if not any(degrees) or (node.op == "stop" and node.attrs["tag"] == "formula"):
        return 0.0
    if node.type.dtype == "bool" or (node.type.dtype == "int" and (len(node.args) > 1 or node.op == "cast")):
        return math.inf  # integers are only converted: a mean is not one
    if node.op in LINEAR:
        return max(degrees)
    if node.op in PRODUCTS:
        return sum(degrees)
    if node.op in LINEAR_ARGUMENTS:
        fixed = all(d == 0 for i, d in enumerate(degrees) if i not in LINEAR_ARGUMENTS[node.op])
        return max(degrees) if fixed else math.inf
    return _exponent(node) * degrees[0] if FACTS[node.op].degree == "power" and degrees[1] == 0 else math.inf


def _exponent(node: Node) -> float:
    """The exponent of a `pow` that is the same positive whole number everywhere, else inf."""
    base = node.args[1]
    while base.op == "expand":
        base = base.args[0]
    entries = np.unique(base.attrs["value"].value) if base.op == "const" else np.zeros(0)
    whole = entries.size == 1 and entries[0] >= 1 and entries[0] == np.floor(entries[0])
    return float(entries[0]) if whole else math.inf


class Jet(NamedTuple):
    """Derivatives of a value along u and along v, and the mixed second one; None is zero."""

    u: Node | None
    v: Node | None
    uv: Node | None


ZERO_JET = Jet(None, None, None)


def second_derivative(output: Node, source: Node, u: Node, v: Node) -> Node | None:
    """u^T H v, H the Hessian of `output` in `source`: one value for every entry of `output` and of a direction axis.

    `output` must be a polynomial of degree at most 2 in `source` by the rules of `degree_of`; the result is an
    expression in everything else, free of `source`. None where the degree is 1. `u` and `v` have the event shape of
    `source`, and beside its axes those that tell directions apart.
    """
    axes = tuple(a for a in (*u.type.axes, *v.type.axes) if a not in source.type.axes)
    u, v = (ops.expand(d, (*source.type.axes, *axes), source.type.shape) for d in (u, v))
    jets = {id(source): Jet(u, v, None)}
    for node in topological([output]):
        passes = node.op != "stop" or node.attrs["tag"] == IMPOSSIBLE
        if passes and id(node) not in jets and any(id(a) in jets for a in node.args):
            jets[id(node)] = _jet(node, [jets.get(id(a), ZERO_JET) for a in node.args], axes)
    return jets[id(output)].uv if id(output) in jets else None


def _jet(node: Node, jets: Sequence[Jet], axes: tuple[Axis, ...]) -> Jet:
    args, op, attrs = node.args, node.op, node.attrs
    if op == "pow":
        if _exponent(node) == 1:
            return jets[0]
        args, jets, op, attrs = (args[0], args[0]), (jets[0], jets[0]), "mul", {}
    if op in PRODUCTS:
        x, y = jets

        def product(p: Node | None, q: Node | None) -> Node | None:
            return None if p is None or q is None else make(op, ops.expand(p, axes), ops.expand(q, axes), **attrs)

        return Jet(
            _sum(product(x.u, args[1]), product(args[0], y.u)),
            _sum(product(x.v, args[1]), product(args[0], y.v)),
            _sum(product(x.uv, args[1]), product(x.u, y.v), product(x.v, y.u), product(args[0], y.uv)),
        )
    if op in LINEAR or op in LINEAR_ARGUMENTS or op == "stop":
        return Jet(*(_linear_derivative(node, [j[k] for j in jets], axes) for k in range(3)))
    raise AssertionError(f"{op} is no polynomial")


def _linear_derivative(node: Node, derivatives: Sequence[Node | None], axes: tuple[Axis, ...]) -> Node | None:
    """A linear op on derivatives: zeros where an argument has none, arguments that do not vary as they are."""
    if all(d is None for d in derivatives):
        return None
    varying = LINEAR_ARGUMENTS.get(node.op, range(len(node.args)))
    values = [
        d if d is not None else ops.expand(ops.zeros_like(a.type) if i in varying else a, axes)
        for i, (a, d) in enumerate(zip(node.args, derivatives, strict=True))
    ]
    return make(node.op, *values, **node.attrs)


def _sum(*terms: Node | None) -> Node | None:
    total = None
    for term in terms:
        total = term if total is None else total if term is None else ops.add(total, term)
    return total
