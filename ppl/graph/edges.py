"""Smoothness of one op in one argument: the op's row in the table of facts, at the interval of the argument."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ppl.distributions.domain.bound_rules import exponents
from ppl.distributions.domain.checks import constant_value
from ppl.distributions.domain.intervals import NONNEGATIVE, POSITIVE, Interval
from ppl.graph.ranges import Ranges
from ppl.graph.seams import closes
from ppl.ir.node import Node, topological
from ppl.ir.op_facts import FACTS, FLAT, JUMP, KINK, LEAVES, NOWHERE, OWN, ROOT, SMOOTH, ZERO, Edge, Fault, edge_of

Range = Callable[[Node], Interval]

UNSEEN, UNSEEN_SQUARE = 1e-4, 1e-8
"""Distances from 0, of a divisor and of its square, that draws do not resolve: a quotient jumps (see `slopes`)."""

GAP: Edge = (Fault(JUMP, -math.inf, math.inf, 0.0, "a jump where its condition switches"),)
CLOSED_GAP: Edge = (Fault(KINK, -math.inf, math.inf, 0.0, "a kink where its condition switches"),)
NEGATIVE_BASE: Edge = (Fault(JUMP, -math.inf, 0.0, 0.0, "a pole, or no value, from 0 down"),)


def order_of_edge(node: Node, position: int, ranges: Range) -> float:
    """Smoothness of `node` in its argument number `position`."""
    return min((fault.order for fault in faults_of(node, position, ranges)), default=SMOOTH)


def faults_of(node: Node, position: int, ranges: Range) -> list[Fault]:
    """The faults of `node` in argument number `position` that the interval of that argument meets."""
    edge = _edge(node, position, ranges)
    if not edge:
        return []
    argument = node.args[position]
    found = ranges(_unregularised(argument, ranges) if edge == ZERO and node.op == "div" else argument)
    return [fault for fault in edge if meets(found, fault)]


def felt_faults(node: Node, position: int, ranges: Ranges) -> list[Fault]:
    """`faults_of`, and where `node` is so steep in the argument that draws cannot tell it from a jump."""
    steep = ranges.slopes.fault(node, position)
    return faults_of(node, position, ranges) + ([] if steep is None else [steep])


def _unregularised(divisor: Node, ranges: Range) -> Node:
    """`divisor` without a number that only keeps it from 0, as in z / (|z| + 1e-8): samples never see such a slope.

    The number is small beside what the rest swings over, at least beside 1.
    """
    least = UNSEEN
    while divisor.op in ("expand", "reshape", "sqrt"):
        least = UNSEEN_SQUARE if divisor.op == "sqrt" else least
        divisor = divisor.args[0]
    if divisor.op in ("add", "max"):
        for number, rest in (divisor.args, divisor.args[::-1]):
            value = constant_value(number)
            near = UNSEEN_SQUARE if _is_square(rest) else least
            if value is not None and np.all(np.abs(value) <= near * _scale(rest, ranges)):
                return rest
    return divisor


def _is_square(x: Node) -> bool:
    """Whether `x` is a square, or a sum of squares: near 0 it lies nearer to 0 than what is squared."""
    while x.op in ("expand", "reshape", "sum"):
        x = x.args[0]
    if x.op == "add":
        return all(_is_square(part) for part in x.args)
    if x.op == "pow":
        power = constant_value(x.args[1])
        return power is not None and bool(np.all(power == 2))
    return x.op == "mul" and x.args[0] is x.args[1]


def _scale(rest: Node, ranges: Range) -> float:
    """How far `rest` swings, if that is known to exceed 1; else 1."""
    return max(1.0, ranges.slopes(rest).swing) if isinstance(ranges, Ranges) else 1.0


def is_flat(node: Node, position: int) -> bool:
    """Whether no derivative passes: the value moves in steps, wherever the argument lies.

    A pole is no such place: beside it derivatives pass.
    """
    rule = RULES.get(node.op)
    if node.op == "where":
        return position == 0
    if node.op in ("cast", "external") and rule is not None:
        return rule(node, position, ranges_unknown) == FLAT
    return FACTS[node.op].edges != OWN and edge_of(node.op, position) == FLAT


def ranges_unknown(node: Node) -> Interval:
    """The interval of a node of which nothing is known."""
    return Interval()


def meets(found: Interval, fault: Fault) -> bool:
    """Whether an interval reaches a fault, or one of its repetitions."""
    lo, hi = fault.lo, fault.hi
    if fault.period:
        if not math.isfinite(found.lo) or not math.isfinite(found.hi):
            return True
        turns = math.floor((found.lo - lo) / fault.period)
        return any(_overlap(found, lo + k * fault.period, hi + k * fault.period) for k in (turns, turns + 1, turns + 2))
    return _overlap(found, lo, hi)


def _overlap(found: Interval, lo: float, hi: float) -> bool:
    below = found.hi < lo or (found.hi == lo and found.hi_open)
    above = found.lo > hi or (found.lo == hi and found.lo_open)
    return not (below or above)


def _edge(node: Node, position: int, ranges: Range) -> Edge:
    rule = RULES.get(node.op)
    return edge_of(node.op, position) if rule is None else rule(node, position, ranges)


def _where(node: Node, position: int, ranges: Range) -> Edge:
    return NOWHERE if position else CLOSED_GAP if closes(node) else GAP


def _cast(node: Node, position: int, ranges: Range) -> Edge:
    return NOWHERE if node.type.dtype == "float" and node.args[0].type.dtype == "float" else FLAT


def _external(node: Node, position: int, ranges: Range) -> Edge:
    return FLAT if node.attrs["fn"].gradient is None else NOWHERE


def _graft(node: Node, position: int, ranges: Range) -> Edge:
    """The value of argument 0 with the derivative of argument 1: what only the value depends on is lost."""
    return NOWHERE if position == 1 or node.attrs.get("exact") else FLAT


def _power(node: Node, position: int, ranges: Range) -> Edge:
    """x ** p: poles of negative powers, roots of fractional ones, and bases that may be negative under others."""
    base, exponent = (ranges(a) for a in node.args)
    if base.within(POSITIVE):
        return NOWHERE
    if position == 1:
        return NOWHERE if base.within(NONNEGATIVE) and exponent.within(POSITIVE) else FLAT
    powers = exponents(node)
    if powers is None:
        return NEGATIVE_BASE
    return tuple(dict.fromkeys(fault for power in powers for fault in _constant_power(power)))


def _constant_power(exponent: float) -> Edge:
    if exponent < 0:
        return ZERO if exponent == math.floor(exponent) else NEGATIVE_BASE
    if exponent == math.floor(exponent):
        return NOWHERE
    return (Fault(float(np.floor(exponent)), *ROOT[0][1:]),)


def _loop(node: Node, position: int, ranges: Range) -> Edge:
    """The worst op of the body, of whose values nothing is known; noise does not move with the number of its step."""
    inside = Ranges()
    faults = [
        fault
        for inner in topological(node.attrs["body"].outputs)
        if inner.op not in LEAVES and inner.op != "sample"
        for i in range(len(inner.args))
        for fault in faults_of(inner, i, inside)
    ]
    worst = min(faults, key=lambda fault: fault.order, default=None)
    return NOWHERE if worst is None else (Fault(worst.order, -math.inf, math.inf, 0.0, f"{worst.words} in its body"),)


def _sample(node: Node, position: int, ranges: Range) -> Edge:
    raise AssertionError("a random node passes on what its estimator says")


RULES: dict[str, Callable[[Node, int, Range], Edge]] = {
    "where": _where,
    "cast": _cast,
    "external": _external,
    "graft": _graft,
    "pow": _power,
    "loop": _loop,
    "sample": _sample,
}
"""Ops whose row says that the node decides."""

if RULES.keys() != {op for op, facts in FACTS.items() if facts.edges == OWN}:
    raise NotImplementedError("edges.RULES and the ops that decide their own edges differ")
