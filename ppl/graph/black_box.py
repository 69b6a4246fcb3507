"""Refusal of what reverse mode would silently drop: a parameter whose way to a cost leads through a black box.

An external function without `gradient=` passes no derivative. A random node above it is no matter, since its estimator
does not need one; a parameter that enters it without a random node between would get a gradient that lacks this part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ppl.errors import EstimatorError
from ppl.graph.edges import is_flat
from ppl.graph.smoothness import ENDS
from ppl.ir.node import Node
from ppl.lang.trace import Trace

Passes = Callable[[Node, int], bool]


def refuse_black_boxes(trace: Trace) -> None:
    """Raise EstimatorError if a derivative that a gradient needs is that of an external function without one.

    Gradients need the derivatives of costs, and of the distribution parameters of the random nodes above costs.
    `ppl.stop_gradient` says that one is not wanted; beyond a jump (`f(theta) > 0`) it is 0 anyway.
    """
    costs = [c.node for c in trace.costs.values()]
    random = [n for n in _upstream(costs, _not_stopped) if n.op == "sample"]
    needed = _upstream([*costs, *(a for n in random for a in n.args)], _differentiated)
    for node in needed:
        if node.op == "external" and node.attrs["fn"].gradient is None:
            names = sorted(n.attrs["name"] for n in _upstream(node.args, _differentiated) if n.op == "param")
            if names:
                listed = ", ".join(f"'{n}'" for n in names)
                raise EstimatorError(
                    f"external function '{node.attrs['fn'].name}' has no gradient=, and depends on parameter {listed} "
                    "without a random node between, so that part of the gradient would silently be 0: give it a "
                    "gradient, or wrap the argument in ppl.stop_gradient if that part is not wanted"
                )


def _upstream(roots: Iterable[Node], passes: Passes) -> list[Node]:
    """Nodes that the roots depend on, themselves included, over arguments (node, position) that pass."""
    found: dict[int, Node] = {}
    stack = list(roots)
    while stack:
        node = stack.pop()
        if id(node) not in found:
            found[id(node)] = node
            stack.extend(a for i, a in enumerate(node.args) if passes(node, i))
    return list(found.values())


def _not_stopped(node: Node, position: int) -> bool:
    return not (node.op == "stop" and node.attrs["tag"] in ENDS)


def _differentiated(node: Node, position: int) -> bool:
    if node.op == "sample":
        return False
    known = node.op == "external" or not is_flat(node, position)
    return known and _not_stopped(node, position)
