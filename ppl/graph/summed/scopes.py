"""Which summed nodes a value varies with: those it is computed from without another summed node in between."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ppl.ir.node import Node
from ppl.lang.time.record import resolved


def scope(nodes: Iterable[Node], summed: Mapping[str, bool]) -> frozenset[str]:
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


def folded(
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


def inputs_of(node: Node) -> set[str]:
    """The data arguments that a value is computed from, in a step of a loop by its slices."""
    found: set[str] = set()
    seen: set[Node] = set()
    stack = [node]
    while stack:
        node = resolved(stack.pop())
        if node in seen:
            continue
        seen.add(node)
        scan = node.attrs["scan"].leader if node.op == "step_input" else None
        found |= {node.attrs["name"]} if node.op == "input" else set()
        stack += [scan.slices[node]] if scan is not None and node in scan.slices else node.args
    return found
