"""What draws do not show: probabilities of exactly 0 and 1 that a parameter moves, and gaps between components.

At p = 1 the derivative of E f(b) is f(1) - f(0), but b = 0 is never drawn, so that no estimate made of draws has it.
The guard here makes the loss NaN there, and what looks into it raises a `ParameterError`. A probability that is 0 or 1
and stays so (a mask, a clipped ramp) has no such share, and passes: what counts is whether some parameter moves it.
A path through a mixture's cdf likewise misses what its weights move between components where samples hardly ever lie.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppl.compiler.surrogate.expansion import Expansion
from ppl.distributions.domain.conditions import Edge
from ppl.graph.stochastic import RandomNode
from ppl.ir import ops
from ppl.ir.differentiate import vjp
from ppl.ir.node import Node, topological
from ppl.ir.rewrites.loops import merge_loops
from ppl.ir.types import Kind
from ppl.lang.time.record import base_name

RAREST = 100.0
"""Largest relative variance of a path through a mixture's cdf: below, 1 % of the samples lie between its components."""
PURPOSE = 31
"""Purpose of the noise that weighs entries, so that what moves two of them in opposite ways does not cancel."""

Found = tuple[RandomNode, Edge]


def blind_penalty(expansion: Expansion) -> Node | None:
    """0, but NaN where draws do not show what a derivative consists of; None where that cannot be."""
    if "blind" not in expansion.known:
        expansion.known["blind"] = _penalty(expansion)
    return expansion.known["blind"]


def _penalty(expansion: Expansion) -> Node | None:
    total: Node | None = None
    if expansion.edges:
        total = ops.where(ops.less(0.0, movement(expansion, list(expansion.edges.values()))), np.nan, 0.0)
    for rn, spread in expansion.crossings.values():
        term = ops.where(crosses(expansion, spread), 0.0, np.nan)
        term = ops.reduce_sum(expansion.outside(term, rn.site.scan))
        term = ops.sum_axes(term, [a for a in term.type.axes if a.kind is not Kind.REPEATS])
        total = term if total is None else ops.add(total, term)
    return total


def sighted(surrogate: Node, expansion: Expansion) -> Node:
    """`surrogate`, whose gradient is NaN where the penalty is."""
    penalty = blind_penalty(expansion)
    return surrogate if penalty is None else ops.mul(surrogate, ops.add(1.0, penalty))


def sighted_gradients(surrogate: Node, expansion: Expansion, leaves: Sequence[Node]) -> list[Node | None]:
    """The gradients of `sighted(surrogate)`.

    The penalty, a sum over all rows, multiplies the gradients and not what they are made of: rows need not be gone
    through again once it is known. Gradients of tables stay sums of scattered rows.
    """
    penalty, one = blind_penalty(expansion), ops.const(1.0)
    found = vjp([(surrogate, one)], leaves)
    if penalty is None:
        return found
    if any(n.op == "put" for n in topological([g for g in found if g is not None])):
        return vjp([(sighted(surrogate, expansion), one)], leaves)
    factor = ops.add(1.0, penalty)
    return [g if g is None else ops.mul(g, ops.expand(factor, g.type.axes, g.type.shape)) for g in found]


def crosses(expansion: Expansion, spread: Node) -> Node:
    """Whether enough samples lie between the components of a mixture, wherever it is drawn."""
    return expansion.reducer.reached(ops.less_equal(spread, RAREST), True)


def movement(expansion: Expansion, edges: Sequence[Found]) -> Node:
    """The sum of absolute derivatives, in all parameters, of what lies at an edge, entries weighed at random."""
    seeds = []
    for rn, edge in edges:
        there = expansion.reducer.reached(edge.there, False)
        weighed = ops.mul(edge.value, ops.stop(ops.where(there, _weights(expansion, rn, edge.value), 0.0)))
        seeds.append(expansion.outside(weighed, rn.site.scan))
    total = ops.expand(ops.const(0.0), expansion.everywhere)
    for slope in vjp([(x, ops.const(1.0)) for x in merge_loops(seeds)], [*expansion.wrt.values()]):
        if slope is not None:
            total = ops.add(total, ops.reduce_sum(ops.absolute(slope)))
    return ops.stop(total)


def _weights(expansion: Expansion, rn: RandomNode, value: Node) -> Node:
    """Numbers between 0 and 1 for the entries of `value`: noise over rows, constants over enumerated states."""
    axes, shape = value.type.axes, value.type.shape
    times = expansion.walk(rn.site.times)
    weights = ops.noise(base_name(rn.name), PURPOSE, [a for a in axes if a.kind is not Kind.ENUM], shape, times)
    for axis in axes:
        if axis.kind is Kind.ENUM:
            levels = np.random.default_rng(axis.depth).uniform(0.5, 1.0, axis.size or 1)
            weights = ops.mul(weights, ops.distribute(ops.const(levels), axis))
    return weights
