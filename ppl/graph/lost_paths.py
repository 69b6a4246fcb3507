"""Parameters that meet noise at a jump: a derivative that no estimator of a random node can give back."""

from __future__ import annotations

from collections.abc import Iterator

from ppl.errors import EstimatorError
from ppl.graph.seams import closes
from ppl.graph.smoothness import ENDS, JUMP, order_of_edge
from ppl.graph.stochastic import StochasticGraph
from ppl.ir.node import Node


def require_no_lost_path(graph: StochasticGraph) -> None:
    """Raise where a cost jumps in a value that depends on a parameter directly and on a continuous random node.

    E[1{θ + z > c}] with z ~ N(0, 1) is smooth in θ, but every sample is flat in it; z has no parameter, so no estimator
    of z sees θ. With θ in the distribution, z ~ N(θ, 1), the score function gives the gradient.

    Raises
    ------
    EstimatorError
        Naming parameter, node, op and cost.
    """
    ends = [(c.node, f"cost '{c.name}'") for c in graph.trace.costs.values()]
    ends += [(a, f"the parameters of '{n.name}'") for n in graph.nodes.values() if n.costs for a in n.node.args]
    parameters, noisy = _parameters(graph), _continuous(graph)
    for end, label in ends:
        for node in _reached(end):
            for name, source in _jumps(node, parameters, noisy):
                raise EstimatorError(
                    f"{label} jumps (`{node.op}`) in a value that depends on parameter '{name}' directly and on the "
                    f"random node '{source}': its derivative in '{name}' would be 0 in every sample, though that of "
                    f"the mean is not. Put '{name}' into the distribution of '{source}' (Normal({name}, 1) instead of "
                    f"{name} + Normal(0, 1)), or wrap it in ppl.stop_gradient if no gradient is wanted"
                )


def _reached(end: Node) -> list[Node]:
    """Everything that `end` depends on, but for conditions of a `where` that leaves no gap where they switch."""
    found: dict[int, Node] = {}
    stack = [end]
    while stack:
        node = stack.pop()
        if id(node) not in found and not (node.op == "stop" and node.attrs["tag"] in ENDS):
            found[id(node)] = node
            if node.op != "sample":
                stack.extend(node.args[1:] if closes(node) else node.args)
    return list(found.values())


def _parameters(graph: StochasticGraph) -> dict[int, str]:
    """Nodes that a parameter reaches without passing a random node or a jump, with the parameter's name."""
    found: dict[int, str] = {}
    for node in graph.order:
        if node.op == "param":
            found[id(node)] = node.attrs["name"]
        elif node.op != "sample" and not (node.op == "stop" and node.attrs["tag"] in ENDS):
            names = [found[id(a)] for i, a in enumerate(node.args) if id(a) in found and order_of_edge(node, i) > JUMP]
            if names:
                found[id(node)] = names[0]
    return found


def _continuous(graph: StochasticGraph) -> dict[int, str]:
    """Nodes that vary continuously with a continuous random node, with its name."""
    found: dict[int, str] = {}
    for node in graph.order:
        if node.op == "sample":
            site = node.attrs["site"]
            if not site.dist.discrete and site.name not in graph.enumerated:
                found[id(node)] = site.name
            continue
        names = [found[id(a)] for i, a in enumerate(node.args) if id(a) in found and order_of_edge(node, i) > JUMP]
        if names:
            found[id(node)] = names[0]
    return found


def _jumps(node: Node, parameters: dict[int, str], noisy: dict[int, str]) -> Iterator[tuple[str, str]]:
    """Parameter and random node that meet in the arguments in which `node` jumps."""
    edges = [a for i, a in enumerate(node.args) if order_of_edge(node, i) <= JUMP]
    if node.op == "sample":
        return
    moving = [parameters[id(a)] for a in edges if id(a) in parameters]
    random = [noisy[id(a)] for a in edges if id(a) in noisy]
    if moving and random:
        yield moving[0], random[0]
