"""Where the values of a traced graph lie: intervals for the question whether a path can reach a pole.

They differ from `bounds_of`, which guards of log-densities ask, in what counts. A random node lies inside its support:
the ends have probability 0, and no path crosses them. A relaxed one lies between the values of the hard one. What a
distribution requires of a parameter holds, since a violation is an error at run time; but an end of the
parameter's own interval stays closed if it is, for there a path may touch the edge. All values are finite: an infinite
one comes from a pole, which is found where it arises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from ppl.distributions.domain.bounds import RULES
from ppl.distributions.domain.conditions import RANGES, unexpanded
from ppl.distributions.domain.intervals import ANYTHING, REAL, Interval
from ppl.graph.slopes import Slopes
from ppl.ir.node import Node, topological
from ppl.ir.rewrites.simplify import simplify
from ppl.lang.trace import Site

Requirements = Mapping[Node, Interval]
"""What distributions require of parameters, before broadcasting."""
NOTHING: Requirements = {}


def requirements(sites: Iterable[Site]) -> Requirements:
    """What the distributions of `sites` require, also of what they compute of their parameters.

    Such values (the diagonal of a factor) are known by the form that they have in simplified costs, too.
    """
    given = [c for s in sites if s.dist is not None for c in s.dist.conditions() if c.constraint in RANGES]
    found = {unexpanded(c.value): RANGES[c.constraint] for c in given}
    computed = [c for c in given if c.shows]
    forms = simplify([c.value for c in computed]) if computed else []
    return found | {unexpanded(x): RANGES[c.constraint] for x, c in zip(forms, computed, strict=True)}


class Ranges:
    """The interval of every node that is asked for.

    Parameters
    ----------
    required : what distributions require of their parameters.
    relaxed : `sample` nodes of discrete distributions that stand for their relaxations.
    """

    def __init__(self, required: Requirements = NOTHING, relaxed: Iterable[Node] = ()):
        self.relaxed = frozenset(relaxed)
        self.required = required
        self._found: dict[Node, Interval] = {}

    def moved(self, places: Mapping[int, Node]) -> Ranges:
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

    def touches(self, node: Node) -> bool:
        """Whether a parameter may reach an end that its distribution excludes: there scores have a pole."""
        base = unexpanded(node)
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
        return _cut(found, self.required[node]) if node in self.required else found

    def _sample(self, node: Node, found: Interval) -> Interval:
        dist = node.attrs["site"].dist
        sure = not dist.uniforms()
        if sure or (dist.discrete and node not in self.relaxed):
            return found
        return Interval(found.lo, found.hi) if found.lo < found.hi else found


def _cut(found: Interval, required: Interval) -> Interval:
    """`found` without what is not allowed; ends that are its own stay as they are."""
    lo, lo_open = (required.lo, True) if found.lo < required.lo else (found.lo, found.lo_open)
    hi, hi_open = (required.hi, True) if found.hi > required.hi else (found.hi, found.hi_open)
    return Interval(lo, hi, lo_open, hi_open) if lo <= hi else found
