"""Nodes of loops over time that are summed out step by step: Markov chains, by the forward algorithm."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ppl.graph.random.node import RandomNode
from ppl.ir.node import Node
from ppl.lang.time.record import Scan

if TYPE_CHECKING:
    from ppl.graph.stochastic import StochasticGraph
from ppl.lang.time.record import resolved


def broken_chain(rn: RandomNode, summed: Collection[str]) -> str | None:
    """Why a node of a loop cannot be summed out step by step, or None; the nodes `summed` are summed out, too.

    Its value may enter the next step through carries only, each of which depends on the value of one step, and nothing
    but costs of the loop may depend on it.
    """
    scan, graph = rn.site.scan, rn.graph
    assert scan is not None
    terms = graph.terms
    bits = sum(terms.bit[n] for n in {rn.name, *summed} if graph[n].site.scan is scan)
    later = terms.later(scan, bits)
    names = {rn.name, *summed}
    held = {carry for carry in scan.carries if terms.carry_bit(carry) & later}
    for i, (carry, out) in enumerate(zip(scan.carries, scan.outs, strict=True)):
        if carry in held and held & _given(out, names):
            return f"carry number {i} depends on its values in more than one step: only a chain is summed out in a loop"
    if rn.coupled_plates:
        return f"a later value mixes its rows over plate '{rn.coupled_plates[0].name}'"
    reached = _entered(graph, scan, bits | later)
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


def _entered(graph: StochasticGraph, scan: Scan, reached: int) -> int:
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


def _given(value: Node, names: Collection[str]) -> set[Node]:
    """What `value` is computed from, given the values of the nodes `names`."""
    found: set[Node] = set()
    stack = [value]
    while stack:
        node = resolved(stack.pop())
        if node not in found:
            found.add(node)
            stack += () if node.op == "sample" and node.attrs["site"].name in names else node.args
    return found
