"""Slopes too steep for draws: a smooth function that saturates within a sliver of its noise, as tanh(1e12 z) does.

A pathwise gradient is right there in the mean, but hardly any draw lies where the value moves: all others give 0, and
what is seen is 0. The analysis asks how far each value moves while random nodes move by their standard deviation (its
swing), and in what unit an op that saturates moves: an argument that swings over `STEEPEST` such units is a jump to
all who ask for smoothness.

A swing is an order of magnitude. Constants enter with their size; parameters, data and hyper parameters, whose values
are not known when a graph is analysed, count as 1 as far as their intervals allow it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ppl.distributions.base import Distribution
from ppl.distributions.domain.bound_rules import exponents
from ppl.distributions.domain.checks import constant_value
from ppl.distributions.domain.intervals import Interval, absolute
from ppl.errors import PplError
from ppl.ir.node import Node, topological
from ppl.ir.op_facts import JUMP, LINEAR, PRODUCTS, STEPS, STRAIGHT, Fault, where

if TYPE_CHECKING:
    from ppl.graph.ranges import Ranges

STEEPEST = 1e4
"""The most units of a saturating op that its argument may swing over.

The share of draws that see a slope is about 1 / STEEPEST there, and so large is the relative variance of the estimate:
a million draws give 10 % of accuracy, and most batches see no slope at all. A score function needs no slope: its
relative variance stays near 1. Temperatures of 0.001 and above are far from it.
"""

PIECEWISE = where("saturates", "width")
"""Ops that have no unit of their own: they saturate over the width of what they return."""
ROOTS = {"sqrt": 0.5}
LARGEST = 1e300
"""The number that stands for a size that overflows."""


class Move(NamedTuple):
    """Orders of magnitude of a value: its size, and its swing while random nodes move by their standard deviations."""

    size: float
    swing: float


STILL = Move(1.0, 0.0)


class Slopes:
    """The swing of every node that is asked for, at the intervals of `ranges`."""

    def __init__(self, ranges: Ranges):
        self.ranges = ranges
        self._found: dict[Node, Move] = {}

    def __call__(self, node: Node) -> Move:
        """Size and swing of `node`."""
        if node not in self._found:
            for step in topological([node], self._found):
                self._found[step] = self._move(step)
        return self._found[node]

    def fault(self, node: Node, position: int) -> Fault | None:
        """The jump that `node` is in its argument number `position` as far as draws can tell, or None."""
        units = self.units(node, position)
        return _steep(units) if units > STEEPEST else None

    def units(self, node: Node, position: int) -> float:
        """How many of its own units an op that saturates or oscillates moves by an argument; 0 of all others."""
        width = _width(self.ranges(node))
        if node.op in STRAIGHT or not 0 < width < math.inf:
            return 0.0
        swing = self._passed(node, position)
        return swing / width if node.op in PIECEWISE else self(node.args[position]).swing

    def steep_logits(self, node: Node, position: int) -> Fault | None:
        """The jump that the law of a discrete `sample` node is in its parameter number `position`, or None."""
        dist = node.attrs["site"].dist
        if not dist.discrete or dist.param_names[position] != "logits":
            return None
        swing = self(node.args[position]).swing
        return _steep(swing) if swing > STEEPEST else None

    def _move(self, node: Node) -> Move:
        with np.errstate(all="ignore"):
            size, swing = self._unbounded(node)
        found = self.ranges(node)
        swing = min(LARGEST if math.isnan(swing) else swing, _width(found))
        return Move(_within(max(size, swing), found), swing)

    def _unbounded(self, node: Node) -> Move:
        """Size and swing as the arguments give them, whatever the interval of `node`."""
        if node.op == "const":
            value = node.attrs["value"].value
            sizes = np.abs(value[np.isfinite(value)]) if value.dtype.kind == "f" else np.abs(value)
            return Move(np.float64(sizes.max(initial=0.0)), 0.0)
        swing = max((self._passed(node, i) for i in range(len(node.args))), default=0.0)
        if node.op == "sample":
            swing = max(swing, self._spread(node))
        elif node.op == "arg":
            swing = 1.0
        return Move(self._size(node), np.float64(swing))

    def _size(self, node: Node) -> float:
        sizes = [self(a).size for a in node.args]
        if node.op in PRODUCTS:
            return sizes[0] * sizes[1]
        if node.op == "div":
            return sizes[0] / self._divisor(node)
        if node.op in LINEAR or node.op in ("max", "min", "where", "abs"):
            return max(sizes, default=1.0)
        return 1.0

    def _divisor(self, node: Node) -> float:
        """The size of what `node` divides by: of a constant its least entry, of noise the number next to 1."""
        divisor = node.args[1]
        value = constant_value(divisor)
        if value is not None:
            sizes = np.abs(value[value != 0])
            return np.float64(sizes.min()) if sizes.size else 1.0
        move = self(divisor)
        return (_within(1.0, self.ranges(divisor)) if move.swing else move.size) or 1.0

    def _passed(self, node: Node, position: int) -> float:
        """How far `node` moves by its argument number `position` alone, where it is steepest."""
        swing = self(node.args[position]).swing
        if not swing or node.op in STEPS or node.op == "stop":
            return 0.0
        if node.op in PRODUCTS:
            return swing * self(node.args[1 - position]).size
        if node.op == "div":
            size = self._divisor(node)
            return swing / size if position == 0 else swing * self(node.args[0]).size / size**2
        if node.op in ("log", "log1p"):
            return 1.0
        return swing ** _exponent(node)

    def _spread(self, node: Node) -> float:
        """The standard deviation of a random node where a bound of it is known, and at most the width of its range."""
        dist = node.attrs["site"].dist
        if dist.discrete and node not in self.ranges.relaxed:
            return 0.0
        known = next((s for s in _spreads(dist, self.ranges) if 0 < s < math.inf), 1.0)
        return min(known, _width(self.ranges(node)))


def _spreads(dist: Distribution, ranges: Ranges) -> Iterator[float]:
    """Upper bounds of the standard deviation, or of the scale of what has none, as far as intervals know."""
    with suppress(PplError, NotImplementedError):
        yield math.sqrt(max(ranges(dist.node_variance()).hi, 0.0))
    if "loc" in dist.params and "scale" in dist.params and dist.bounds.lo < 0:
        yield ranges(dist.params["scale"]).hi


def _exponent(node: Node) -> float:
    """The power of a swing that `node` passes on."""
    if node.op == "pow":
        powers = exponents(node)
        return max([p for p in powers or () if p > 0], default=1.0)
    return ROOTS.get(node.op, 1.0)


def _width(found: Interval) -> float:
    return found.hi - found.lo if found.lo < found.hi else 0.0


def _within(size: float, found: Interval) -> float:
    """The size next to `size` that the interval allows."""
    sizes = absolute(found)
    return max(sizes.lo, min(LARGEST if math.isnan(size) else size, sizes.hi))


def _steep(units: float) -> Fault:
    words = f"as steep as a jump: about one draw in {units:.0e} lies where it has a slope"
    return Fault(JUMP, -math.inf, math.inf, 0.0, words)
