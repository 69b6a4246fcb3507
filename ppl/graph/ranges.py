"""Intervals of the values of a traced graph, and how far values swing with noise.

They tell whether a path can reach a pole, or a slope so steep that draws do not see it.

Intervals differ from `bounds_of`, which guards of log-densities ask. A random node lies inside its support: the ends
have probability 0, and no path crosses them. A relaxed one lies between the values of the hard one. What a distribution
requires of a parameter holds, since a violation is an error at run time; but an end of the parameter's own interval
stays closed if it is, for there a path may touch the edge. All values are finite: an infinite one comes from a pole,
which is found where it arises.

A smooth function may saturate within a sliver of its noise, as tanh(1e12 z) does. A pathwise gradient is right there in
the mean, but hardly any draw lies where the value moves, and what is seen is 0. The *swing* of a value is how far it
moves while random nodes move by their standard deviation; an argument that swings over `STEEPEST` units of a saturating
op is a jump to all who ask for smoothness. A swing is an order of magnitude. Constants enter with their size;
parameters, data and hyper parameters, whose values are not known when a graph is analysed, count as 1 as far as their
intervals allow it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ppl.distributions.base import Distribution
from ppl.distributions.bounds import RULES, constant_exponents
from ppl.distributions.constraints import CONSTRAINT_RANGES, constant_value, without_expand
from ppl.distributions.intervals import ANYTHING, REAL, Interval, absolute
from ppl.errors import PplError
from ppl.ir.node import Node, topological
from ppl.ir.op_facts import JUMP, LINEAR, NON_SATURATING, PIECEWISE_CONSTANT, PRODUCTS, Singularity, ops_with
from ppl.ir.rewrites.simplify import simplify
from ppl.lang.trace import Site

STEEPEST = 1e4
"""The most units of a saturating op that its argument may swing over.

The share of draws that see a slope is about 1 / STEEPEST there, and so large is the relative variance of the estimate:
a million draws give 10 % of accuracy, and most batches see no slope at all. A score function needs no slope: its
relative variance stays near 1. Temperatures of 0.001 and above are far from it.
"""

SATURATE_OVER_WIDTH = ops_with("saturates", "width")
"""Ops that have no unit of their own: they saturate over the width of what they return."""

ROOT_EXPONENTS = {"sqrt": 0.5}

LARGEST_SIZE = 1e300
"""The number that stands for a size that overflows."""


class Magnitude(NamedTuple):
    """Orders of magnitude of a value: its size, and its swing while random nodes move by their standard deviations."""

    size: float
    swing: float


UNMOVED = Magnitude(1.0, 0.0)


class Slopes:
    """The swing of every node that is asked for, at the intervals of `ranges`."""

    def __init__(self, ranges: Ranges):
        self.ranges = ranges
        self._found: dict[Node, Magnitude] = {}

    def __call__(self, node: Node) -> Magnitude:
        """Size and swing of `node`."""
        if node not in self._found:
            for step in topological([node], self._found):
                self._found[step] = self._find_magnitude(step)
        return self._found[node]

    def steep_singularity(self, node: Node, position: int) -> Singularity | None:
        """The jump that `node` is in its argument number `position` as far as draws can tell, or None."""
        units = self.swing_in_units(node, position)
        return _steep_singularity(units) if units > STEEPEST else None

    def swing_in_units(self, node: Node, position: int) -> float:
        """How many of its own units an op that saturates or oscillates moves by an argument; 0 of all others."""
        width = _interval_width(self.ranges(node))
        if node.op in NON_SATURATING or not 0 < width < math.inf:
            return 0.0
        swing = self._swing_through(node, position)
        return swing / width if node.op in SATURATE_OVER_WIDTH else self(node.args[position]).swing

    def steep_logits(self, node: Node, position: int) -> Singularity | None:
        """The jump that the law of a discrete `sample` node is in its parameter number `position`, or None."""
        dist = node.attrs["site"].dist
        if not dist.discrete or dist.param_names[position] != "logits":
            return None
        swing = self(node.args[position]).swing
        return _steep_singularity(swing) if swing > STEEPEST else None

    def _find_magnitude(self, node: Node) -> Magnitude:
        with np.errstate(all="ignore"):
            size, swing = self._magnitude_by_arguments(node)
        found = self.ranges(node)
        swing = min(LARGEST_SIZE if math.isnan(swing) else swing, _interval_width(found))
        return Magnitude(_clamp_size(max(size, swing), found), swing)

    def _magnitude_by_arguments(self, node: Node) -> Magnitude:
        """Size and swing as the arguments give them, whatever the interval of `node`."""
        if node.op == "const":
            value = node.attrs["value"].value
            sizes = np.abs(value[np.isfinite(value)]) if value.dtype.kind == "f" else np.abs(value)
            return Magnitude(np.float64(sizes.max(initial=0.0)), 0.0)
        swing = max((self._swing_through(node, i) for i in range(len(node.args))), default=0.0)
        if node.op == "sample":
            swing = max(swing, self._standard_deviation(node))
        elif node.op == "arg":
            swing = 1.0
        return Magnitude(self._size_by_arguments(node), np.float64(swing))

    def _size_by_arguments(self, node: Node) -> float:
        sizes = [self(a).size for a in node.args]
        if node.op in PRODUCTS:
            return sizes[0] * sizes[1]
        if node.op == "div":
            return sizes[0] / self._divisor_size(node)
        if node.op in LINEAR or node.op in ("max", "min", "where", "abs"):
            return max(sizes, default=1.0)
        return 1.0

    def _divisor_size(self, node: Node) -> float:
        """The size of what `node` divides by: of a constant its least entry, of noise the number next to 1."""
        divisor = node.args[1]
        value = constant_value(divisor)
        if value is not None:
            sizes = np.abs(value[value != 0])
            return np.float64(sizes.min()) if sizes.size else 1.0
        move = self(divisor)
        return (_clamp_size(1.0, self.ranges(divisor)) if move.swing else move.size) or 1.0

    def _swing_through(self, node: Node, position: int) -> float:
        """How far `node` moves by its argument number `position` alone, where it is steepest."""
        swing = self(node.args[position]).swing
        if not swing or node.op in PIECEWISE_CONSTANT or node.op == "stop":
            return 0.0
        if node.op in PRODUCTS:
            return swing * self(node.args[1 - position]).size
        if node.op == "div":
            size = self._divisor_size(node)
            return swing / size if position == 0 else swing * self(node.args[0]).size / size**2
        if node.op in ("log", "log1p"):
            return 1.0
        return swing ** _swing_exponent(node)

    def _standard_deviation(self, node: Node) -> float:
        """The standard deviation of a random node where a bound of it is known, and at most the width of its range."""
        dist = node.attrs["site"].dist
        if dist.discrete and node not in self.ranges.relaxed:
            return 0.0
        known = next((s for s in _standard_deviation_bounds(dist, self.ranges) if 0 < s < math.inf), 1.0)
        return min(known, _interval_width(self.ranges(node)))


def _standard_deviation_bounds(dist: Distribution, ranges: Ranges) -> Iterator[float]:
    """Upper bounds of the standard deviation, or of the scale of what has none, as far as intervals know."""
    with suppress(PplError, NotImplementedError):
        yield math.sqrt(max(ranges(dist.node_variance()).hi, 0.0))
    if "loc" in dist.params and "scale" in dist.params and dist.bounds.lo < 0:
        yield ranges(dist.params["scale"]).hi


def _swing_exponent(node: Node) -> float:
    """The power of a swing that `node` passes on."""
    if node.op == "pow":
        powers = constant_exponents(node)
        return max([p for p in powers or () if p > 0], default=1.0)
    return ROOT_EXPONENTS.get(node.op, 1.0)


def _interval_width(found: Interval) -> float:
    return found.hi - found.lo if found.lo < found.hi else 0.0


def _clamp_size(size: float, found: Interval) -> float:
    """The size next to `size` that the interval allows."""
    sizes = absolute(found)
    return max(sizes.lo, min(LARGEST_SIZE if math.isnan(size) else size, sizes.hi))


def _steep_singularity(units: float) -> Singularity:
    words = f"as steep as a jump: about one draw in {units:.0e} lies where it has a slope"
    return Singularity(JUMP, -math.inf, math.inf, 0.0, words)


Requirements = Mapping[Node, Interval]
"""What distributions require of parameters, before broadcasting."""

NO_REQUIREMENTS: Requirements = {}


def required_intervals(sites: Iterable[Site]) -> Requirements:
    """What the distributions of `sites` require, also of what they compute of their parameters.

    Such values (the diagonal of a factor) are known by the form that they have in simplified costs, too.
    """
    given = [c for s in sites if s.dist is not None for c in s.dist.conditions() if c.constraint in CONSTRAINT_RANGES]
    found = {without_expand(c.value): CONSTRAINT_RANGES[c.constraint] for c in given}
    computed = [c for c in given if c.shows]
    forms = simplify([c.value for c in computed]) if computed else []
    return found | {without_expand(x): CONSTRAINT_RANGES[c.constraint] for x, c in zip(forms, computed, strict=True)}


class Ranges:
    """The interval of every node that is asked for.

    Parameters
    ----------
    required : what distributions require of their parameters.
    relaxed : `sample` nodes of discrete distributions that stand for their relaxations.
    """

    def __init__(self, required: Requirements = NO_REQUIREMENTS, relaxed: Iterable[Node] = ()):
        self.relaxed = frozenset(relaxed)
        self.required = required
        self._found: dict[Node, Interval] = {}

    def mapped(self, places: Mapping[int, Node]) -> Ranges:
        """The same requirements of what the nodes have become in an expansion, by id."""
        return Ranges({places[id(node)]: needed for node, needed in self.required.items() if id(node) in places})

    def __call__(self, node: Node) -> Interval:
        """The interval that holds every entry of `node`."""
        if node not in self._found:
            for step in topological([node], self._found):
                self._found[step] = self._range(step)
        return self._found[node]

    @cached_property
    def slopes(self) -> Slopes:
        """How far values swing with their noise."""
        return Slopes(self)

    def may_touch_excluded_end(self, node: Node) -> bool:
        """Whether a parameter may reach an end that its distribution excludes: there scores have a pole."""
        base = without_expand(node)
        if base not in self.required:
            return False
        found, required = self(base), self.required[base]
        low = found.lo == required.lo and required.lo_open and not found.lo_open
        return low or (found.hi == required.hi and required.hi_open and not found.hi_open)

    def _range(self, node: Node) -> Interval:
        found = RULES[node.op](node, *(self._found[a] for a in node.args))
        if found == ANYTHING:
            found = REAL
        if node.op == "sample":
            found = self._sample(node, found)
        return _intersect(found, self.required[node]) if node in self.required else found

    def _sample(self, node: Node, found: Interval) -> Interval:
        dist = node.attrs["site"].dist
        sure = not dist.uniforms()
        if sure or (dist.discrete and node not in self.relaxed):
            return found
        return Interval(found.lo, found.hi) if found.lo < found.hi else found


def _intersect(found: Interval, required: Interval) -> Interval:
    """`found` without what is not allowed; ends that are its own stay as they are."""
    lo, lo_open = (required.lo, True) if found.lo < required.lo else (found.lo, found.lo_open)
    hi, hi_open = (required.hi, True) if found.hi > required.hi else (found.hi, found.hi_open)
    return Interval(lo, hi, lo_open, hi_open) if lo <= hi else found
