"""What a term of the objective reads: which random sites, directly or behind `stop_gradient`, in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ppl.ir.node import Node
from ppl.ir.types import Axis
from ppl.lang.trace import Site
from tests.oracle.exact import tables, variables
from tests.oracle.exact.errors import Unstated, Unsupported
from tests.oracle.exact.layout import Layout

if TYPE_CHECKING:
    from tests.oracle.exact.evaluate import Evaluation

LIVE, FROZEN = "live", "frozen"


@dataclass(eq=False)
class Term:
    """A summand of the objective: `value` of an evaluation, one number per row of `plates`.

    `roots` are the nodes that it reads, `hidden` the sites that it sums over itself, `kinks` functions whose zeros are
    kinks of densities, which are no nodes.
    """

    name: str
    plates: tuple[Axis, ...]
    roots: tuple[Node, ...]
    value: Callable[[Evaluation], np.ndarray]
    hidden: frozenset[str] = frozenset()
    kinks: tuple[Callable[[Evaluation], np.ndarray], ...] = ()


@dataclass(eq=False)
class Reading:
    """The sites of a term from the outermost sum to the innermost, those read live or frozen, all nodes by world."""

    sites: list[Site] = field(default_factory=list)
    live: set[str] = field(default_factory=set)
    frozen: set[str] = field(default_factory=set)
    nodes: list[tuple[Node, str]] = field(default_factory=list)
    joint: dict[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    plates: dict[str, Axis] = field(default_factory=dict)
    kinks: tuple[Callable[[Evaluation], np.ndarray], ...] = ()

    def layout(self) -> Layout:
        """Room for all plates and all variables."""
        count = sum(variables.count_variables(s, self.joint[s.name]) for s in self.sites)
        return Layout(tuple(self.plates), count)


def is_stop(node: Node) -> bool:
    """Whether `node` is the user's `stop_gradient`."""
    return node.op == "stop" and node.attrs["tag"] == "user"


def walk(roots: Iterable[Node]) -> list[tuple[Node, str]]:
    """All nodes with the world they are read in, arguments first."""
    order: list[tuple[Node, str]] = []
    done: set[tuple[int, str]] = set()
    stack = [(r, LIVE, False) for r in reversed(list(roots))]
    while stack:
        node, world, ready = stack.pop()
        if (id(node), world) in done:
            continue
        if ready:
            done.add((id(node), world))
            order.append((node, world))
            continue
        stack.append((node, world, True))
        below = FROZEN if is_stop(node) else world
        stack += [(a, below, False) for a in reversed(node.args)]
    return order


def read(term: Term) -> Reading:
    """What the term reads. Raises Unstated where a discrete site is read in both worlds."""
    out = Reading(nodes=walk(term.roots), kinks=term.kinks)
    for axis in term.plates:
        out.plates[axis.name] = axis
    for node, world in out.nodes:
        for axis in node.type.axes:
            out.plates.setdefault(axis.name, axis)
        if node.op == "sample":
            site: Site = node.attrs["site"]
            (out.live if world == LIVE else out.frozen).add(site.name)
            if all(s.name != site.name for s in out.sites):
                out.sites.append(site)
    _find_joint(out, term)
    out.sites = _ordered(out.sites, term)
    for site in out.sites:
        made = variables.SiteVariables(site)
        both = site.name in out.live and site.name in out.frozen
        if both and (not made.coupled or tables.is_discrete(site.dist) or made.kind == "Mixture"):
            raise Unstated(f"{term.name} reads {site.name} both directly and behind stop_gradient")
    return out


def _ordered(sites: list[Site], term: Term) -> list[Site]:
    """Parents first, discrete sites as early as that allows, those that the term sums over itself last.

    A grid may depend on the states of the sites before it, over which an expectation is taken outside of it. What the
    term sums inside a logarithm is inside of every grid.
    """
    names = {s.name for s in sites}
    above = {s.name: set().union(*(ancestors(p) for p in s.dist.params.values())) & names for s in sites if s.dist}
    left, out = list(sites), list[Site]()
    while left:
        done = {s.name for s in out}
        ready = [s for s in left if above[s.name] <= done]
        best = min(ready, key=lambda s: (s.name in term.hidden, not tables.is_discrete(s.dist)))
        if best.name not in term.hidden and done & term.hidden:
            raise Unsupported(f"{best.name} depends on what {term.name} sums inside a logarithm")
        out.append(best)
        left.remove(best)
    return out


def _find_joint(out: Reading, term: Term) -> None:
    """Sites whose rows a term couples: those above a `collect`, and those in plates that the term is not in."""
    found: dict[str, dict[str, Axis]] = {s.name: {} for s in out.sites}
    inside = {a.name for a in term.plates}
    for node, _ in out.nodes:
        if node.op == "sample":
            for axis in node.type.axes:
                if axis.name not in inside:
                    found[node.attrs["site"].name][axis.name] = axis
        if node.op == "collect":
            axis = node.attrs["axis"]
            for above, _ in walk([node]):
                if above.op == "sample" and axis in above.type.axes:
                    found[above.attrs["site"].name][axis.name] = axis
    for name, axes in found.items():
        listed = sorted(axes.values(), key=lambda a: a.order)
        if any(a.size is None for a in listed):
            raise Unstated(f"{term.name} couples the rows of a run-time plate")
        out.joint[name] = tuple((a.name, int(a.size or 1)) for a in listed)


def ancestors(node: Node) -> set[str]:
    """Names of the random sites above `node`."""
    return {n.attrs["site"].name for n, _ in walk([node]) if n.op == "sample"}
