"""Parameters that multiply a pole of noise: derivatives whose mean does not exist, though that of the cost may.

E[cos(t / z)] with z ~ N(0, 1) is finite, but its derivative along a draw is -sin(t / z) / z, whose absolute value has
no mean: no number of draws settles. What counts is a value without bounds behind a pole that is crossed
(1 / z, 1 / z^3, tan(z), digamma(z)), and a product, quotient or power that it enters together with a parameter.
A value that is bounded again (t * tanh(1 / z)) and a pole that a numerator made of the same noise may lift (z / |z|)
pass, and so does 1 / |z| of several entries, whose mean is finite.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ppl.distributions.domain.bound_rules import exponents
from ppl.distributions.domain.checks import constant_value
from ppl.errors import EstimatorError
from ppl.graph.edges import faults_of, is_flat
from ppl.graph.smoothness import ENDS
from ppl.ir.node import Node
from ppl.ir.op_facts import JUMP, POLES, PRODUCTS, VIEWS, where

if TYPE_CHECKING:
    from ppl.graph.stochastic import StochasticGraph

Apart = frozenset[Node]
"""Nodes that the condition of a `where` keeps away from 0."""
NONE: Apart = frozenset()

TAMES, GROWS = where("growth", "tames"), where("growth", "grows")
"""Ops behind which a pole has a mean, and those whose slope grows with their argument."""


def require_means(graph: StochasticGraph, parameters: Mapping[int, str], noisy: Mapping[int, str]) -> None:
    """Raise where a cost multiplies a parameter by a value that noise takes past a pole.

    `parameters` and `noisy` name what nodes depend on: a parameter, a continuous random node.

    Raises
    ------
    EstimatorError
        Naming parameter, node, op and cost.
    """
    for end, label in graph.ends() if crossed(graph, noisy) else ():
        for op, name, source in met(end, graph, parameters, noisy):
            raise EstimatorError(
                f"on the way to {label}, what depends on parameter '{name}' is multiplied by a value that the random "
                f"node '{source}' takes past a pole (`{op}`): along a draw the derivative in '{name}' grows without "
                "bounds and has no mean, so that draws never settle. Keep the divisor away from 0 (np.maximum(x, 0.1), "
                f"or np.where(np.abs(x) > 0.1, …)), put '{name}' into the distribution of '{source}' with a score "
                f"function (Normal(0, 1 / {name}) instead of Normal(0, 1) / {name}), or wrap it in ppl.stop_gradient "
                "if no gradient is wanted"
            )


def crossed(graph: StochasticGraph, noisy: Mapping[int, str]) -> bool:
    """Whether noise takes any value past a pole that has no mean."""
    return any(n.op in POLES and _pole(n, NONE, graph, noisy) is not None for n in graph.order)


def met(
    end: Node, graph: StochasticGraph, moving: Mapping[int, str], noisy: Mapping[int, str]
) -> Iterator[tuple[str, str, str]]:
    """Op with the pole, name of what moves and random node, wherever a product joins them on the way to `end`."""
    places = _places(end)
    poles: dict[tuple[int, Apart], tuple[str, str]] = {}
    for node in graph.order:
        for apart in places.get(id(node), ()):
            own = _pole(node, apart, graph, noisy)
            behind = {i: poles[key] for i, a in enumerate(node.args)
                      if (key := (id(a), _context(node, i, apart))) in poles and not is_flat(node, i)}  # fmt: skip
            if own is not None:
                behind.setdefault(POLES[node.op], own)
            for i, (op, source) in behind.items():
                joined = [moving[id(a)] for j, a in enumerate(node.args) if id(a) in moving and _multiplies(node, i, j)]
                if joined:
                    yield op, joined[0], source
            if behind and node.op not in TAMES and node.op != "sample" and not _bounded(node, graph):
                poles[id(node), apart] = next(iter(behind.values()))


def _places(end: Node) -> dict[int, list[Apart]]:
    """Every node on the way to `end`, with what the conditions above it keep away from 0."""
    found: dict[int, list[Apart]] = {}
    stack = [(end, NONE)]
    while stack:
        node, apart = stack.pop()
        if apart in found.get(id(node), ()) or (node.op == "stop" and node.attrs["tag"] in ENDS):
            continue
        found.setdefault(id(node), []).append(apart)
        if node.op != "sample":
            stack.extend((a, _context(node, i, apart)) for i, a in enumerate(node.args))
    return found


def _context(node: Node, position: int, apart: Apart) -> Apart:
    """The nodes that are kept away from 0 in argument number `position`."""
    if node.op != "where" or not position:
        return apart
    kept = _kept(node.args[0], position == 1)
    return apart | kept if kept else apart


def _kept(test: Node, holds: bool) -> Apart:
    """Nodes that are away from 0 where `test` holds, or fails."""
    test = _plain(test)
    if test.op == "not":
        return _kept(test.args[0], not holds)
    if test.op == ("and" if holds else "or"):
        return _kept(test.args[0], holds) | _kept(test.args[1], holds)
    if test.op not in ("lt", "le"):
        return NONE
    low, high = test.args if holds else test.args[::-1]
    least, most = constant_value(low), constant_value(high)
    if least is not None and (least > 0).all():
        return _itself(high)
    if most is not None and (most < 0).all():
        return _itself(low)
    return NONE


def _itself(x: Node) -> Apart:
    """`x`, and what it is the size of."""
    x = _plain(x)
    return frozenset({x, _plain(x.args[0])}) if x.op in ("abs", "neg") else frozenset({x})


def _plain(x: Node) -> Node:
    while x.op in ("expand", "reshape", "cast"):
        x = x.args[0]
    return x


def _pole(node: Node, apart: Apart, graph: StochasticGraph, noisy: Mapping[int, str]) -> tuple[str, str] | None:
    """Op and random node where noise takes `node` past a pole that has no mean."""
    position = POLES.get(node.op)
    if position is None or id(node.args[position]) not in noisy:
        return None
    argument = node.args[position]
    if node.op == "pow" and not any(p < 0 for p in exponents(node) or ()):
        return None
    if node.op == "div":
        above, below = map(graph.terms.reach, node.args)
        if (above.direct | above.stopped) & (below.direct | below.stopped):
            return None
    if _plain(argument) in apart or _several(argument):
        return None
    if node.op == "div":
        divisor = _plain(argument)
        if divisor.op == "where" and all(_away(divisor, i, graph) for i in (1, 2)):
            return None
    faults = [f for f in faults_of(node, position, graph.ranges) if f.order <= JUMP]
    return (f"{node.op}: {faults[0].words}", noisy[id(argument)]) if faults else None


def _away(choice: Node, position: int, graph: StochasticGraph) -> bool:
    """Whether a branch of a `where` is not 0 when it is taken."""
    branch = choice.args[position]
    found = graph.ranges(branch)
    return found.lo > 0 or found.hi < 0 or _plain(branch) in _kept(choice.args[0], position == 1)


def _several(x: Node) -> bool:
    """Whether `x` is 0 only where several values are: a sum of sizes, or its root."""
    while x.op in VIEWS or x.op in ("sqrt", "abs") or (x.op == "pow" and constant_value(x.args[1]) is not None):
        x = x.args[0]
    if x.op == "sum":
        return x.args[0].type.event_size > x.type.event_size
    return x.op in ("add", "contract") and all(constant_value(a) is None for a in x.args)


def _multiplies(node: Node, pole: int, moving: int) -> bool:
    """Whether the slope of `node` in argument `moving` grows with its argument `pole`."""
    if node.op in PRODUCTS or (node.op == "pow" and pole != moving):
        return pole != moving
    if node.op == "div":
        return moving != pole
    return node.op in GROWS and pole == moving


def _bounded(node: Node, graph: StochasticGraph) -> bool:
    found = graph.ranges(node)
    return math.isfinite(found.lo) and math.isfinite(found.hi)
