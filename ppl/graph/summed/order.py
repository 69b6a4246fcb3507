"""Variable elimination: in what order variables are summed out of a product of factors, and how large tables become.

A variable is summed out of the product of all factors that have it; what is left is one factor of all their other
variables. The best order is hard to find in general (it has the treewidth of the graph); two greedy ones, by the size
of the next table and by the number of new edges, are exact for trees and chains.

References: Zhang & Poole 1994; Dechter 1999; with plates, Obermeyer et al. 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import combinations
from typing import NamedTuple, TypeVar

from ppl.graph.summed.ties import Ties

V = TypeVar("V", bound=Hashable)
Scopes = Iterable[frozenset[V]]


class Table(NamedTuple):
    """The product that a variable is summed out of: the variables that it has, and its number of entries."""

    variable: Hashable
    scope: frozenset
    entries: float


def elimination(scopes: Scopes, sizes: Mapping[V, float], depths: Mapping[V, int]) -> list[Table]:
    """The tables of a good order of the variables in `depths`, in that order; other variables of `scopes` stay.

    `sizes` are the numbers of states; variables of more plates (`depths`) come first.
    """
    graph = Ties(depths)
    for scope in scopes:
        graph.tie_all(scope)
    found = [_greedy(graph.copy(), sizes, depths, rule) for rule in (_entries, _new_edges)]
    return min(found, key=lambda tables: (largest(tables), sum(t.entries for t in tables)))


def largest(tables: Iterable[Table]) -> float:
    """The entries of the largest table."""
    return max((t.entries for t in tables), default=1.0)


def cut(scopes: Scopes, sizes: Mapping[V, float], depths: Mapping[V, int], budget: float) -> tuple[list[V], float]:
    """Variables without which all tables fit into `budget`, chosen greedily, and the largest table then."""
    kept, parts, removed = dict(depths), list(scopes), list[V]()
    entries = largest(elimination(parts, sizes, kept))
    while entries > budget and kept:
        trials = {}
        for v in kept:
            rest = {k: d for k, d in kept.items() if k != v}
            trials[v] = largest(elimination([s - {v} for s in parts], sizes, rest))
        best = min(trials, key=lambda v: trials[v])
        removed.append(best)
        entries, parts = trials[best], [s - {best} for s in parts]
        del kept[best]
    return removed, entries


Rule = Callable[[Ties[V], Mapping[V, float], V], float]


def _greedy(graph: Ties[V], sizes: Mapping[V, float], depths: Mapping[V, int], rule: Rule) -> list[Table]:
    pending, tables = dict(depths), []
    while pending:
        deepest = max(pending.values())
        ready = [v for v, depth in pending.items() if depth == deepest]
        variable = min(ready, key=lambda v: (rule(graph, sizes, v), _entries(graph, sizes, v)))
        around = graph.neighbours(variable)
        tables.append(Table(variable, frozenset((variable, *around)), _entries(graph, sizes, variable)))
        graph.tie_all(around)
        graph.remove(variable)
        del pending[variable]
    return tables


def _entries(graph: Ties[V], sizes: Mapping[V, float], variable: V) -> float:
    return math.prod(sizes[v] for v in (variable, *graph.neighbours(variable)))


def _new_edges(graph: Ties[V], sizes: Mapping[V, float], variable: V) -> float:
    return sum(not graph.tied(a, b) for a, b in combinations(graph.neighbours(variable), 2))
