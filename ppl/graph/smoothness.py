"""Smoothness of an expression in one of its ancestors: that of each op in each argument, and the worst of all paths.

Orders: -1 discontinuous (a pathwise gradient would be silently 0), 0 kinked, 1 once differentiable, inf smooth. Local
smoothness is the op's row in the table of facts (`ppl/ir/op_facts.py`) at the interval of its argument. A `where` whose
branches agree where its condition switches is continuous there, as in where(x > 0, x, 0.1 x)."""

from __future__ import annotations

import math
from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np

from ppl.distributions.bounds import constant_exponents
from ppl.distributions.constraints import constant_value
from ppl.distributions.intervals import NONNEGATIVE, POSITIVE, Interval
from ppl.graph.ranges import Ranges
from ppl.ir import ops
from ppl.ir.node import Node, substitute, topological
from ppl.ir.op_facts import (
    FACTS,
    FLAT,
    JUMP,
    KINK,
    LEAVES,
    NOWHERE,
    OWN,
    POLE_AT_0,
    ROOT,
    SMOOTH,
    ZERO,
    Singularities,
    Singularity,
    singularities_in,
)
from ppl.ir.rewrites.simplify import simplify
from ppl.ir.traversal import Readers

_known_continuous: WeakKeyDictionary[Node, bool] = WeakKeyDictionary()


def is_continuous_where(node: Node) -> bool:
    """Whether `node` is where(a < b, u, v) (or <=) and u equals v at a = b; False where it cannot be shown.

    Shown by substitution of b for a, or a for b, and simplification.
    """
    if node not in _known_continuous:
        _known_continuous[node] = _branches_meet(node)
    return _known_continuous[node]


def _branches_meet(node: Node) -> bool:
    if node.op != "where" or node.args[0].op not in ("lt", "le"):
        return False
    (a, b), branches = node.args[0].args, list(node.args[1:])
    pairs = [(x, y) for x, y in ((a, b), (b, a)) if x.op not in ("const", "expand")]
    return any(_provably_equal(*simplify(substitute(branches, {x: y}))) for x, y in pairs)


def _provably_equal(u: Node, v: Node) -> bool:
    return u is v or (_provably_zero(u) and _provably_zero(v))


def _provably_zero(x: Node) -> bool:
    if x.op in ("add", "sub"):
        return all(map(_provably_zero, x.args)) or (x.op == "sub" and x.args[0] is x.args[1])
    if x.op in ("mul", "neg", "expand"):
        return any(map(_provably_zero, x.args))
    return ops.is_const(x, 0.0)


IntervalOf = Callable[[Node], Interval]

UNSEEN_DISTANCE, UNSEEN_SQUARED_DISTANCE = 1e-4, 1e-8
"""Distances from 0, of a divisor and of its square, that draws do not resolve: a quotient jumps (see `slopes`)."""

JUMP_AT_SWITCH: Singularities = (Singularity(JUMP, -math.inf, math.inf, 0.0, "a jump where its condition switches"),)

KINK_AT_SWITCH: Singularities = (Singularity(KINK, -math.inf, math.inf, 0.0, "a kink where its condition switches"),)

NEGATIVE_BASE: Singularities = (Singularity(JUMP, -math.inf, 0.0, 0.0, "a pole, or no value, from 0 down"),)


def local_order(node: Node, position: int, ranges: IntervalOf) -> float:
    """Smoothness of `node` in its argument number `position`."""
    return min((fault.order for fault in local_singularities(node, position, ranges)), default=SMOOTH)


def local_singularities(node: Node, position: int, ranges: IntervalOf) -> list[Singularity]:
    """The faults of `node` in argument number `position` that the interval of that argument meets."""
    edge = _singularities_of_argument(node, position, ranges)
    if not edge:
        return []
    argument = node.args[position]
    found = ranges(_without_epsilon(argument, ranges) if edge == ZERO and node.op == "div" else argument)
    return [fault for fault in edge if reaches_singularity(found, fault)]


def sampled_singularities(node: Node, position: int, ranges: Ranges) -> list[Singularity]:
    """`faults_of`, and where `node` is so steep in the argument that draws cannot tell it from a jump."""
    steepness = ranges.slopes.steep_singularity(node, position)
    return local_singularities(node, position, ranges) + ([] if steepness is None else [steepness])


def _without_epsilon(divisor: Node, ranges: IntervalOf) -> Node:
    """`divisor` without a number that only keeps it from 0, as in z / (|z| + 1e-8): samples never see such a slope.

    The number is small beside what the rest swings over, at least beside 1.
    """
    least = UNSEEN_DISTANCE
    while divisor.op in ("expand", "reshape", "sqrt"):
        least = UNSEEN_SQUARED_DISTANCE if divisor.op == "sqrt" else least
        divisor = divisor.args[0]
    if divisor.op in ("add", "max"):
        for number, rest in (divisor.args, divisor.args[::-1]):
            value = constant_value(number)
            near = UNSEEN_SQUARED_DISTANCE if _is_square(rest) else least
            if value is not None and np.all(np.abs(value) <= near * _swing_above_one(rest, ranges)):
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


def _swing_above_one(rest: Node, ranges: IntervalOf) -> float:
    """How far `rest` swings, if that is known to exceed 1; else 1."""
    return max(1.0, ranges.slopes(rest).swing) if isinstance(ranges, Ranges) else 1.0


def is_piecewise_constant(node: Node, position: int) -> bool:
    """Whether no derivative passes: the value moves in steps, wherever the argument lies.

    A pole is no such place: beside it derivatives pass.
    """
    rule = LOCAL_RULES.get(node.op)
    if node.op == "where":
        return position == 0
    if node.op in ("cast", "external") and rule is not None:
        return rule(node, position, unknown_interval) == FLAT
    return FACTS[node.op].edges != OWN and singularities_in(node.op, position) == FLAT


def unknown_interval(node: Node) -> Interval:
    """The interval of a node of which nothing is known."""
    return Interval()


def reaches_singularity(found: Interval, fault: Singularity) -> bool:
    """Whether an interval reaches a fault, or one of its repetitions."""
    lo, hi = fault.lo, fault.hi
    if fault.period:
        if not math.isfinite(found.lo) or not math.isfinite(found.hi):
            return True
        periods_below = math.floor((found.lo - lo) / fault.period)
        return any(
            _overlaps(found, lo + k * fault.period, hi + k * fault.period)
            for k in (periods_below, periods_below + 1, periods_below + 2)
        )
    return _overlaps(found, lo, hi)


def _overlaps(found: Interval, lo: float, hi: float) -> bool:
    below = found.hi < lo or (found.hi == lo and found.hi_open)
    above = found.lo > hi or (found.lo == hi and found.lo_open)
    return not (below or above)


def _singularities_of_argument(node: Node, position: int, ranges: IntervalOf) -> Singularities:
    rule = LOCAL_RULES.get(node.op)
    return singularities_in(node.op, position) if rule is None else rule(node, position, ranges)


def _where_singularities(node: Node, position: int, ranges: IntervalOf) -> Singularities:
    return NOWHERE if position else KINK_AT_SWITCH if is_continuous_where(node) else JUMP_AT_SWITCH


def _cast_singularities(node: Node, position: int, ranges: IntervalOf) -> Singularities:
    return NOWHERE if node.type.dtype == "float" and node.args[0].type.dtype == "float" else FLAT


def _external_singularities(node: Node, position: int, ranges: IntervalOf) -> Singularities:
    return FLAT if node.attrs["fn"].gradient is None else NOWHERE


def _graft_singularities(node: Node, position: int, ranges: IntervalOf) -> Singularities:
    """The value of argument 0 with the derivative of argument 1: what only the value depends on is lost."""
    return NOWHERE if position == 1 or node.attrs.get("exact") else FLAT


def _power_singularities(node: Node, position: int, ranges: IntervalOf) -> Singularities:
    """x ** p: poles of negative powers, roots of fractional ones, and bases that may be negative under others."""
    base, exponent = (ranges(a) for a in node.args)
    if base.within(POSITIVE):
        return NOWHERE
    if position == 1:
        return NOWHERE if base.within(NONNEGATIVE) and exponent.within(POSITIVE) else FLAT
    powers = constant_exponents(node)
    if powers is None:
        return NEGATIVE_BASE
    return tuple(dict.fromkeys(fault for power in powers for fault in _constant_power_singularities(power)))


def _constant_power_singularities(exponent: float) -> Singularities:
    if exponent < 0:
        return ZERO if exponent == math.floor(exponent) else NEGATIVE_BASE
    if exponent == math.floor(exponent):
        return NOWHERE
    return (Singularity(float(np.floor(exponent)), *ROOT[0][1:]),)


def _loop_singularities(node: Node, position: int, ranges: IntervalOf) -> Singularities:
    """The worst op of the body, of whose values nothing is known; noise does not move with the number of its step."""
    inside = Ranges()
    faults = [
        fault
        for inner in topological(node.attrs["body"].outputs)
        if inner.op not in LEAVES and inner.op != "sample"
        for i in range(len(inner.args))
        for fault in local_singularities(inner, i, inside)
    ]
    worst = min(faults, key=lambda fault: fault.order, default=None)
    return (
        NOWHERE
        if worst is None
        else (Singularity(worst.order, -math.inf, math.inf, 0.0, f"{worst.words} in its body"),)
    )


def _sample_singularities(node: Node, position: int, ranges: IntervalOf) -> Singularities:
    raise AssertionError("a random node passes on what its estimator says")


LOCAL_RULES: dict[str, Callable[[Node, int, IntervalOf], Singularities]] = {
    "where": _where_singularities,
    "cast": _cast_singularities,
    "external": _external_singularities,
    "graft": _graft_singularities,
    "pow": _power_singularities,
    "loop": _loop_singularities,
    "sample": _sample_singularities,
}
"""Ops whose row says that the node decides."""

if LOCAL_RULES.keys() != {op for op, facts in FACTS.items() if facts.edges == OWN}:
    raise NotImplementedError("edges.RULES and the ops that decide their own edges differ")

PATH_ENDING_STOPS = ("user", "shift", "formula")
"""Tags of stops that end every path: the user's, values that cancel, and values that only choose between formulas."""


def is_whole_constant(node: Node) -> bool:
    """Whether `node` is a constant of whole numbers."""
    while node.op in ("expand", "cast"):
        node = node.args[0]
    return node.op == "const" and bool(np.all(np.mod(node.attrs["value"].value, 1) == 0))


def describe_order(order: float) -> str:
    """An order in words."""
    return {JUMP: "a jump", KINK: "a kink", SMOOTH: "smooth"}.get(order, f"differentiable {order:g} times")


def explain_missed_path(order: float, where: str, by: str) -> str:
    """Why a path does not pass: what would be missed on the way, by which gradient, and what to write instead."""
    reason = f"{describe_order(order)} on the way to {where}: {by} would miss it"
    hint = "; where its argument x is always positive, write np.maximum(x, 1e-12)" if POLE_AT_0 in where else ""
    return reason + hint


class PathOrders:
    """Worst smoothness, over all paths, of every node as a function of `source`; nodes it does not reach are absent.

    `through` decides what a `sample` node passes on: None (paths end there) or an order.
    `ranges` gives intervals of values, by which a pole is reached or not. `blame` remembers, for every node reached
    with a jump, the op that jumps, and `words` what it has there. `angles` holds the nodes that are whole
    multiples of angles wrapped into (-pi, pi], plus anything: they jump, unless what is made of them has period 2 pi.
    """

    def __init__(self, source: Node, readers: Readers, through: Callable[[Node], float | None], ranges: Ranges):
        self.of: dict[int, float] = {id(source): SMOOTH}
        self.blame: dict[int, Node] = {}
        self.words: dict[int, str] = {}
        self.ranges = ranges
        self.angles: set[int] = set()
        self._note_angle(source)
        for node in readers.after(source, self.of):
            if node.op == "stop" and node.attrs["tag"] in PATH_ENDING_STOPS:
                continue
            edges = [(self._argument_order(node, i), i, a) for i, a in enumerate(node.args) if id(a) in self.of]
            if node.op == "sample":
                passed = through(node)
                if passed is None:
                    continue
                self.of[id(node)] = min(
                    [passed, *(self.order_at_end(a, self.takes_angle(node, i)) for _, i, a in edges)]
                )
                self._note_angle(node)
                continue
            self._combine_arguments(node, edges)

    def _argument_order(self, node: Node, position: int) -> float:
        """Order of an argument; of a condition whose switch leaves no gap, that of what it compares."""
        arg = node.args[position]
        if position == 0 and is_continuous_where(node):
            return min(self.order_at_end(a) for a in arg.args if id(a) in self.of)
        return self.of[id(arg)]

    def _note_angle(self, node: Node) -> None:
        if node.op == "sample" and node.attrs["site"].dist.angular:
            self.angles.add(id(node))

    @staticmethod
    def takes_angle(sample: Node, position: int) -> bool:
        """Whether an argument of a `sample` node is a parameter of which only the angle matters."""
        dist = sample.attrs["site"].dist
        return dist.param_names[position] in dist.angular

    def order_at_end(self, node: Node, periodic: bool = False) -> float:
        """The order of a node where a path ends: an angle jumps, unless what it enters is `periodic`."""
        return JUMP if id(node) in self.angles and not periodic else self.of[id(node)]

    def _keeps_angle(self, node: Node) -> bool:
        """Whether `node`, an op on angles, is an angle again."""
        kept = FACTS[node.op].angle
        return kept == "keeps" or (kept == "multiple" and any(is_whole_constant(a) for a in node.args))

    def _combine_arguments(self, node: Node, edges: list[tuple[float, int, Node]]) -> None:
        if FACTS[node.op].angle != "periodic" and any(id(a) in self.angles for _, _, a in edges):
            if not self._keeps_angle(node):
                self.of[id(node)], self.blame[id(node)] = JUMP, node
                return
            self.angles.add(id(node))
        for order, position, arg in edges:
            self._lower_order(node, order, self.blame.get(id(arg)), self.words.get(id(arg), ""))
            for fault in sampled_singularities(node, position, self.ranges):
                self._lower_order(node, fault.order, node, fault.words)

    def _lower_order(self, node: Node, order: float, blamed: Node | None, words: str) -> None:
        """Take an order where it is worse than what is known, with the op to blame for a jump."""
        if order >= self.of.setdefault(id(node), SMOOTH):
            return
        self.of[id(node)] = order
        if order == JUMP and blamed is not None:
            self.blame[id(node)], self.words[id(node)] = blamed, words

    def __contains__(self, node: Node) -> bool:
        return id(node) in self.of

    def __getitem__(self, node: Node) -> float:
        return self.of[id(node)]
