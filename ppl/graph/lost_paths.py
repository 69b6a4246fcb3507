"""Parameters that meet noise at a jump: a derivative that no estimator of a random node can give back."""

from __future__ import annotations

from collections.abc import Iterator

from ppl.errors import EstimatorError
from ppl.graph.edges import felt_faults
from ppl.graph.lost_means import require_means
from ppl.graph.moved import by_parameters
from ppl.graph.seams import closes
from ppl.graph.smoothness import ENDS
from ppl.graph.stochastic import StochasticGraph
from ppl.ir.node import Node
from ppl.ir.op_facts import JUMP


def require_no_lost_path(graph: StochasticGraph) -> None:
    """Raise where a cost jumps in a value that depends on a parameter directly and on a continuous random node.

    Raise likewise where it multiplies a parameter by a pole of such a node (`lost_means`).

    E[1{θ + z > c}] with z ~ N(0, 1) is smooth in θ, but every sample is flat in it; z has no parameter, so no estimator
    of z sees θ. With θ in the distribution, z ~ N(θ, 1), the score function gives the gradient.

    Raises
    ------
    EstimatorError
        Naming parameter, node, op and cost.
    """
    parameters, noisy = by_parameters(graph), graph.noisy
    seen: set[int] = set()
    for end, label in graph.ends():
        for node in _reached(end, seen):
            for name, source, words in _jumps(node, graph, parameters, noisy):
                raise EstimatorError(
                    f"{label} jumps (`{node.op}`: {words}) in a value that depends on parameter '{name}' directly and "
                    f"on the random node '{source}': samples miss what that gives to the derivative of the mean in "
                    f"'{name}'. Put '{name}' into the distribution of '{source}' (Normal({name}, 1) instead of "
                    f"{name} + Normal(0, 1)), or wrap it in ppl.stop_gradient if no gradient is wanted"
                )
    require_means(graph, parameters, noisy)


def _reached(end: Node, seen: set[int]) -> Iterator[Node]:
    """What `end` depends on and is not `seen`, but for conditions of a `where` that leaves no gap where they switch."""
    stack = [end]
    while stack:
        node = stack.pop()
        if id(node) not in seen and not (node.op == "stop" and node.attrs["tag"] in ENDS):
            seen.add(id(node))
            yield node
            if node.op != "sample":
                stack.extend(node.args[1:] if closes(node) else node.args)


def _jumps(
    node: Node, graph: StochasticGraph, parameters: dict[int, str], noisy: dict[int, str]
) -> Iterator[tuple[str, str, str]]:
    """Parameter and random node that meet in the arguments in which `node` jumps, and what it does there."""
    moving, random, words = [], [], []
    for i, a in enumerate(node.args):
        if node.op == "sample":
            steep = graph.ranges.slopes.steep_logits(node, i)
            faults = [] if steep is None else [steep]
        else:
            faults = [f for f in felt_faults(node, i, graph.ranges) if f.order <= JUMP]
        words += [f.words for f in faults]
        if faults:
            moving += [parameters[id(a)]] if id(a) in parameters else []
            random += [noisy[id(a)]] if id(a) in noisy else []
    if moving and random:
        yield moving[0], random[0], words[0]
