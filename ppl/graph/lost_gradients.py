"""Refusal of gradients that would silently lack a part.

A parameter may enter a black box without a random node between, or meet noise at a jump or a pole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from ppl.errors import EstimatorError
from ppl.graph.paths import depends_on_parameters, noise_crosses_pole, products_with_poles
from ppl.graph.smoothness import PATH_ENDING_STOPS, is_continuous_where, is_piecewise_constant, sampled_singularities
from ppl.graph.stochastic import StochasticGraph
from ppl.ir.node import Node
from ppl.ir.op_facts import JUMP
from ppl.lang.trace import Trace

ArgumentFilter = Callable[[Node, int], bool]


def refuse_black_boxes(trace: Trace) -> None:
    """Raise EstimatorError if a derivative that a gradient needs is that of an external function without one.

    Gradients need the derivatives of costs, and of the distribution parameters of the random nodes above costs.
    `ppl.stop_gradient` says that one is not wanted; beyond a jump (`f(theta) > 0`) it is 0 anyway.
    """
    costs = [c.node for c in trace.costs.values()]
    random = [n for n in _upstream_through(costs, _passes_dependence) if n.op == "sample"]
    needed = _upstream_through([*costs, *(a for n in random for a in n.args)], _passes_derivative)
    for node in needed:
        if node.op == "external" and node.attrs["fn"].gradient is None:
            names = sorted(n.attrs["name"] for n in _upstream_through(node.args, _passes_derivative) if n.op == "param")
            if names:
                listed = ", ".join(f"'{n}'" for n in names)
                raise EstimatorError(
                    f"external function '{node.attrs['fn'].name}' has no gradient=, and depends on parameter {listed} "
                    "without a random node between, so that part of the gradient would silently be 0: give it a "
                    "gradient, or wrap the argument in ppl.stop_gradient if that part is not wanted"
                )


def _upstream_through(roots: Iterable[Node], passes: ArgumentFilter) -> list[Node]:
    """Nodes that the roots depend on, themselves included, over arguments (node, position) that pass."""
    found: dict[int, Node] = {}
    stack = list(roots)
    while stack:
        node = stack.pop()
        if id(node) not in found:
            found[id(node)] = node
            stack.extend(a for i, a in enumerate(node.args) if passes(node, i))
    return list(found.values())


def _passes_dependence(node: Node, position: int) -> bool:
    return not (node.op == "stop" and node.attrs["tag"] in PATH_ENDING_STOPS)


def _passes_derivative(node: Node, position: int) -> bool:
    if node.op == "sample":
        return False
    known = node.op == "external" or not is_piecewise_constant(node, position)
    return known and _passes_dependence(node, position)


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
    parameters, noisy = depends_on_parameters(graph), graph.noisy
    seen: set[int] = set()
    for end, label in graph.path_endpoints():
        for node in _unseen_upstream(end, seen):
            for name, source, words in _jumps_of_parameter_and_noise(node, graph, parameters, noisy):
                raise EstimatorError(
                    f"{label} jumps (`{node.op}`: {words}) in a value that depends on parameter '{name}' directly and "
                    f"on the random node '{source}': samples miss what that gives to the derivative of the mean in "
                    f"'{name}'. Put '{name}' into the distribution of '{source}' (Normal({name}, 1) instead of "
                    f"{name} + Normal(0, 1)), or wrap it in ppl.stop_gradient if no gradient is wanted"
                )
    require_means(graph, parameters, noisy)


def _unseen_upstream(end: Node, seen: set[int]) -> Iterator[Node]:
    """What `end` depends on and is not `seen`, but for conditions of a `where` that leaves no gap where they switch."""
    stack = [end]
    while stack:
        node = stack.pop()
        if id(node) not in seen and not (node.op == "stop" and node.attrs["tag"] in PATH_ENDING_STOPS):
            seen.add(id(node))
            yield node
            if node.op != "sample":
                stack.extend(node.args[1:] if is_continuous_where(node) else node.args)


def _jumps_of_parameter_and_noise(
    node: Node, graph: StochasticGraph, parameters: dict[int, str], noisy: dict[int, str]
) -> Iterator[tuple[str, str, str]]:
    """Parameter and random node that meet in the arguments in which `node` jumps, and what it does there."""
    moving, random, words = [], [], []
    for i, a in enumerate(node.args):
        if node.op == "sample":
            steep = graph.ranges.slopes.steep_logits(node, i)
            faults = [] if steep is None else [steep]
        else:
            faults = [f for f in sampled_singularities(node, i, graph.ranges) if f.order <= JUMP]
        words += [f.words for f in faults]
        if faults:
            moving += [parameters[id(a)]] if id(a) in parameters else []
            random += [noisy[id(a)]] if id(a) in noisy else []
    if moving and random:
        yield moving[0], random[0], words[0]


def require_means(graph: StochasticGraph, parameters: Mapping[int, str], noisy: Mapping[int, str]) -> None:
    """Raise where a cost multiplies a parameter by a value that noise takes past a pole.

    `parameters` and `noisy` name what nodes depend on: a parameter, a continuous random node.

    Raises
    ------
    EstimatorError
        Naming parameter, node, op and cost.
    """
    for end, label in graph.path_endpoints() if noise_crosses_pole(graph, noisy) else ():
        for op, name, source in products_with_poles(end, graph, parameters, noisy):
            raise EstimatorError(
                f"on the way to {label}, what depends on parameter '{name}' is multiplied by a value that the random "
                f"node '{source}' takes past a pole (`{op}`): along a draw the derivative in '{name}' grows without "
                "bounds and has no mean, so that draws never settle. Keep the divisor away from 0 (np.maximum(x, 0.1), "
                f"or np.where(np.abs(x) > 0.1, …)), put '{name}' into the distribution of '{source}' with a score "
                f"function (Normal(0, 1 / {name}) instead of Normal(0, 1) / {name}), or wrap it in ppl.stop_gradient "
                "if no gradient is wanted"
            )
