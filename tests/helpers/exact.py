"""Exact expected losses by summation and quadrature over a trace: the oracle of the estimators' law tests.

Independent of expansion and differentiation: every random node is replaced by a grid of values along an axis of its
own, weighted by its probability; gradients are central differences of the expected loss.
"""

from __future__ import annotations

import numpy as np

from ppl.ir import ops
from ppl.ir.interpret import Env, evaluate
from ppl.ir.node import Node, make, topological
from ppl.ir.types import Axis, Kind, union_axes
from ppl.lang.trace import Trace

GRIDS = {"Normal": (-9.0, 9.0), "Uniform": (-4.0, 4.0), "Logistic": (-30.0, 30.0), "Laplace": (-30.0, 30.0)}
POSITIVE = ("Exponential", "LogNormal")


def _grid(dist, points: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Values of the joint event, and quadrature weights (None where the values are the whole support)."""
    if dist.support_size() < np.inf:
        return dist.support_table(), None
    if type(dist).__name__ in POSITIVE:
        t = np.linspace(-12, 6, points)
        x, w = np.exp(t), np.exp(t) * (t[1] - t[0])
    else:
        low, high = GRIDS.get(type(dist).__name__, (-20.0, 20.0))
        x = np.linspace(low, high, points)
        w = np.full(points, x[1] - x[0])
    units = int(np.prod(dist.event_shape))
    index = np.indices((points,) * units).reshape(units, -1).T
    return x[index].reshape(-1, *dist.event_shape), np.prod(w[index], axis=1)


def expected_loss(trace: Trace, points: int = 401) -> Node:
    """The expected loss as one IR node (unplated), with random nodes summed or integrated out."""
    env: dict[int, Node] = {}
    weights: dict[Axis, Node] = {}

    def visit(node: Node) -> Node:
        if node.op == "sample":
            site = node.attrs["site"]
            dist = site.dist.with_params(tuple(env[id(a)] for a in node.args))
            table, quadrature = _grid(dist, points)
            axis = Axis(f"grid:{site.name}", Kind.ENUM, len(table), depth=len(weights))
            value = ops.distribute(ops.const(table, dist.dtype), axis)
            weight = ops.exp(dist.node_log_prob(value))
            if quadrature is not None:
                weight = ops.mul(weight, ops.distribute(ops.const(quadrature), axis))
            weights[axis] = weight
            return ops.expand(value, node.type.axes)
        if not node.args:
            return node
        args = [env[id(a)] for a in node.args]
        if node.op == "expand":
            return ops.expand(args[0], node.attrs["axes"], node.type.shape)
        axes = union_axes(*(a.type.axes for a in args))
        return make(node.op, *(ops.expand(a, axes) for a in args), **node.attrs)

    costs = [c.node for c in trace.costs.values()]
    for node in topological(costs):
        env[id(node)] = visit(node)
    total = ops.const(0.0)
    for cost in costs:
        total = ops.add(total, _expectation(env[id(cost)], weights))
    return total


def _expectation(x: Node, weights: dict[Axis, Node]) -> Node:
    while True:
        axes = [a for a in x.type.axes if a in weights]
        if not axes:
            break
        axis = max(axes, key=lambda a: a.depth)
        x = ops.sum_axes(ops.mul(weights[axis], x), (axis,))
    for axis in [a for a in x.type.axes if a.kind is Kind.PLATE]:
        x = ops.sum_axes(x, (axis,))
        x = ops.mul(x, make("scale", axis=axis)) if axis.size is None else x
    return x


def exact_gradient(
    trace: Trace, params: dict[str, np.ndarray], env: dict, points: int = 401, h: float = 1e-5
):
    """(loss, {name: gradient}) by central differences of the exact expected loss."""
    node = expected_loss(trace, points)

    def loss(values: dict[str, np.ndarray]) -> float:
        return float(evaluate([node], Env(params=values, dtype=np.float64, **env))[0])

    grads = {}
    for name, value in params.items():
        g = np.zeros_like(value)
        for i in np.ndindex(value.shape):
            moved = [{**params, name: value.copy()} for _ in range(2)]
            moved[0][name][i] += h
            moved[1][name][i] -= h
            g[i] = (loss(moved[0]) - loss(moved[1])) / (2 * h)
        grads[name] = g
    return loss(params), grads
