"""Variable elimination: which factors vary with which finite nodes, and in what order nodes are summed out.

A variable is summed out of the product of all factors that contain it, which leaves one factor of all their other
variables. The best order is hard to find in general (it has the treewidth of the graph); two greedy ones, by the size
of the next table and by the number of new edges, are exact for trees and chains. Nodes of a loop over time that form a
Markov chain are summed out step by step (`why_not_chain`).

References: Zhang & Poole 1994; Dechter 1999; with plates, Obermeyer et al. 2019."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from itertools import combinations
from typing import Generic, NamedTuple, TypeVar

from ppl.graph.stochastic import RandomNode, StochasticGraph
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang.loops import Scan, resolve_alias

Vertex = TypeVar("Vertex", bound=Hashable)


class UndirectedGraph(Generic[Vertex]):
    """An undirected graph. Nodes and neighbours keep the order in which they were added."""

    def __init__(self, nodes: Iterable[Vertex] = ()):
        self._around: dict[Vertex, dict[Vertex, None]] = {node: {} for node in nodes}

    def __contains__(self, node: object) -> bool:
        return node in self._around

    def add_edge(self, a: Vertex, b: Vertex) -> None:
        """Add an edge between two nodes, and the nodes."""
        self._around.setdefault(a, {})[b] = None
        self._around.setdefault(b, {})[a] = None

    def add_clique(self, nodes: Iterable[Vertex]) -> None:
        """Add nodes, and an edge between any two of them."""
        nodes = list(nodes)
        for node in nodes:
            self._around.setdefault(node, {})
        for a, b in combinations(nodes, 2):
            self.add_edge(a, b)

    def has_edge_between(self, a: Vertex, b: Vertex) -> bool:
        """Whether there is an edge between two nodes."""
        return b in self._around[a]

    def neighbours(self, node: Vertex) -> list[Vertex]:
        """The nodes with an edge to `node`."""
        return list(self._around[node])

    def remove_node(self, node: Vertex) -> None:
        """Remove a node and its edges."""
        for other in self._around.pop(node):
            self._around[other].pop(node, None)

    def copy(self) -> UndirectedGraph[Vertex]:
        """The same graph."""
        out = UndirectedGraph[Vertex]()
        out._around = {node: dict(around) for node, around in self._around.items()}
        return out

    def components(self) -> Iterator[set[Vertex]]:
        """The nodes of each connected component, by their first nodes."""
        seen: set[Vertex] = set()
        for node in self._around:
            if node in seen:
                continue
            group, waiting = {node}, [node]
            while waiting:
                new = self._around[waiting.pop()].keys() - group
                group |= new
                waiting += new
            seen |= group
            yield group


def states_varied_with(nodes: Iterable[Node], summed: Mapping[str, bool]) -> frozenset[str]:
    """The nodes of `summed` whose states `nodes` vary with.

    A node that is drawn varies with what its parameters vary with. So does one of which `summed` says that it is drawn
    inside of a state, as a mixture's component is.
    """
    found: set[str] = set()
    seen: set[Node] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        name = node.attrs["site"].name if node.op == "sample" else ""
        if name in summed:
            found.add(name)
        if summed.get(name, True):
            stack += node.args
    return frozenset(found)


def expectation_scopes(
    first: Collection[str], above: Mapping[str, frozenset[str]], ranks: Mapping[str, int]
) -> list[frozenset[str]]:
    """The scopes of the tables of an expectation that is summed over the latest node first, beginning with `first`."""
    left, found = set(first), []
    while left:
        latest = max(left, key=lambda name: ranks[name])
        left |= above[latest]
        found.append(frozenset(left))
        left.remove(latest)
    return found


def data_arguments_of(node: Node) -> set[str]:
    """The data arguments that a value is computed from, in a step of a loop by its slices."""
    found: set[str] = set()
    seen: set[Node] = set()
    stack = [node]
    while stack:
        node = resolve_alias(stack.pop())
        if node in seen:
            continue
        seen.add(node)
        scan = node.attrs["scan"].leader if node.op == "step_input" else None
        found |= {node.attrs["name"]} if node.op == "input" else set()
        stack += [scan.slices[node]] if scan is not None and node in scan.slices else node.args
    return found


SPLIT_FROM_STATES = 4096
"""Joint states of enumerated nodes from which on a cost is taken apart; fewer are one table."""

MOST_TERMS = 256
"""Terms at most."""


def cost_terms(node: Node) -> list[Node]:
    """Nodes whose sum is `node`, taken apart at sums, differences, and products with constants."""
    found = _split_terms(node)
    return found if len(found) <= MOST_TERMS else [node]


def _split_terms(node: Node) -> list[Node]:
    if node.op == "add":
        return [part for arg in node.args for part in _split_terms(arg)]
    if node.op == "sub":
        return [*_split_terms(node.args[0]), *map(ops.neg, _split_terms(node.args[1]))]
    if node.op == "neg":
        return [*map(ops.neg, _split_terms(node.args[0]))]
    if node.op == "expand":
        return [ops.expand(part, node.type.axes, node.type.shape) for part in _split_terms(node.args[0])]
    if node.op == "mul" and any(map(ops.is_const, node.args)):
        factor, rest = node.args if ops.is_const(node.args[0]) else node.args[::-1]
        return [ops.mul(factor, part) for part in _split_terms(rest)]
    return [node]


Variable = TypeVar("Variable", bound=Hashable)

Scopes = Iterable[frozenset[Variable]]


class EliminationTable(NamedTuple):
    """The product that a variable is summed out of: the variables that it has, and its number of entries."""

    variable: Hashable
    scope: frozenset
    entries: float


def elimination_tables(
    scopes: Scopes, sizes: Mapping[Variable, float], depths: Mapping[Variable, int]
) -> list[EliminationTable]:
    """The tables of a good order of the variables in `depths`, in that order; other variables of `scopes` stay.

    `sizes` are the numbers of states; variables of more plates (`depths`) come first.
    """
    graph = UndirectedGraph(depths)
    for scope in scopes:
        graph.add_clique(scope)
    found = [_greedy_tables(graph.copy(), sizes, depths, rule) for rule in (_table_entries, _fill_in_edges)]
    return min(found, key=lambda tables: (largest_table(tables), sum(t.entries for t in tables)))


def largest_table(tables: Iterable[EliminationTable]) -> float:
    """The entries of the largest table."""
    return max((t.entries for t in tables), default=1.0)


def cut_to_budget(
    scopes: Scopes, sizes: Mapping[Variable, float], depths: Mapping[Variable, int], budget: float
) -> tuple[list[Variable], float]:
    """Variables without which all tables fit into `budget`, chosen greedily, and the largest table then."""
    kept, parts, removed = dict(depths), list(scopes), list[Variable]()
    entries = largest_table(elimination_tables(parts, sizes, kept))
    while entries > budget and kept:
        trials = {}
        for v in kept:
            rest = {k: d for k, d in kept.items() if k != v}
            trials[v] = largest_table(elimination_tables([s - {v} for s in parts], sizes, rest))
        best = min(trials, key=lambda v: trials[v])
        removed.append(best)
        entries, parts = trials[best], [s - {best} for s in parts]
        del kept[best]
    return removed, entries


GreedyRule = Callable[[UndirectedGraph[Variable], Mapping[Variable, float], Variable], float]


def _greedy_tables(
    graph: UndirectedGraph[Variable], sizes: Mapping[Variable, float], depths: Mapping[Variable, int], rule: GreedyRule
) -> list[EliminationTable]:
    pending, tables = dict(depths), []
    while pending:
        deepest = max(pending.values())
        ready = [v for v, depth in pending.items() if depth == deepest]
        variable = min(ready, key=lambda v: (rule(graph, sizes, v), _table_entries(graph, sizes, v)))
        around = graph.neighbours(variable)
        tables.append(
            EliminationTable(variable, frozenset((variable, *around)), _table_entries(graph, sizes, variable))
        )
        graph.add_clique(around)
        graph.remove_node(variable)
        del pending[variable]
    return tables


def _table_entries(graph: UndirectedGraph[Variable], sizes: Mapping[Variable, float], variable: Variable) -> float:
    return math.prod(sizes[v] for v in (variable, *graph.neighbours(variable)))


def _fill_in_edges(graph: UndirectedGraph[Variable], sizes: Mapping[Variable, float], variable: Variable) -> float:
    return sum(not graph.has_edge_between(a, b) for a, b in combinations(graph.neighbours(variable), 2))


def why_not_chain(rn: RandomNode, summed: Collection[str]) -> str | None:
    """Why a node of a loop cannot be summed out step by step, or None; the nodes `summed` are summed out, too.

    Its value may enter the next step through carries only, each of which depends on the value of one step, and nothing
    but costs of the loop may depend on it.
    """
    scan, graph = rn.site.scan, rn.graph
    assert scan is not None
    terms = graph.terms
    bits = sum(terms.bit[n] for n in {rn.name, *summed} if graph[n].site.scan is scan)
    later = terms.carries_reached(scan, bits)
    names = {rn.name, *summed}
    moving_carries = {carry for carry in scan.carries if terms.carry_bit(carry) & later}
    for i, (carry, out) in enumerate(zip(scan.carries, scan.outs, strict=True)):
        if carry in moving_carries and moving_carries & _upstream_given(out, names):
            return f"carry number {i} depends on its values in more than one step: only a chain is summed out in a loop"
    if rn.coupled_plates:
        return f"a later value mixes its rows over plate '{rn.coupled_plates[0].name}'"
    reached = _with_carries_of_other_loops(graph, scan, bits | later)
    for other in graph.nodes.values():
        above = [terms.reach(arg) for arg in other.node.args]
        if other.name not in names and any((a.direct | a.stopped) & reached for a in above):
            return f"the random node '{other.name}' depends on it"
    for name, found in terms.of.items():
        if any(term.reach.direct & bits and term.reach.stopped & bits for term in found):
            return f"cost '{name}' depends on some of the nodes summed out directly, on others through stop_gradient"
    for cost in graph.trace.costs.values():
        inside = cost.scan is not None and scan in cost.scan.chain
        if not inside and terms.reach(cost.node).direct & bits:
            return f"cost '{cost.name}' outside of the loop depends on it"
        if cost.scan is not scan and rn.name in cost.marginalize:
            return f"cost '{cost.name}' depends on it and stands elsewhere"
    return None


def _with_carries_of_other_loops(graph: StochasticGraph, scan: Scan, reached: int) -> int:
    """`reached` and what stands for those carries of other loops that depend on it."""
    terms, known = graph.terms, 0
    while known != reached:
        known = reached
        for other in graph.trace.scans:
            for i, carry in enumerate(other.carries if other is not scan else ()):
                above = [terms.reach(n) for n in (other.inits[i], other.outs[i])]
                if any((a.direct | a.stopped) & reached for a in above):
                    reached |= terms.carry_bit(carry)
    return reached


def _upstream_given(value: Node, names: Collection[str]) -> set[Node]:
    """What `value` is computed from, given the values of the nodes `names`."""
    found: set[Node] = set()
    stack = [value]
    while stack:
        node = resolve_alias(stack.pop())
        if node not in found:
            found.add(node)
            stack += () if node.op == "sample" and node.attrs["site"].name in names else node.args
    return found
