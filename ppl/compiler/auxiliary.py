"""The auxiliary pass: how baselines and control-variate parameters move in `program.step`.

Variables that follow the second moment (η) take an Adam step on the gradient of the row-local second moment of the
finished gradient with respect to their node's own distribution parameters. That gradient is obtained by
differentiating the gradient graph itself with the stops tagged "theta" erased (rule 5).
"""

from __future__ import annotations

from ppl.compiler.expand import AuxVariable, Expanded
from ppl.ir import ops
from ppl.ir.differentiate import vjp
from ppl.ir.node import Node, make

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-12


def auxiliary_layout(expanded: Expanded) -> dict[str, float]:
    """Every auxiliary slot (variables and their optimizer moments) with its initial value."""
    layout: dict[str, float] = {}
    for name, variable in expanded.aux.items():
        layout[name] = variable.spec.init
        if variable.spec.adapt == "second_moment":
            layout.update({f"{name}.mean": 0.0, f"{name}.square": 0.0, f"{name}.count": 0.0})
    return layout


def auxiliary_updates(expanded: Expanded, own_gradients: dict[str, list[Node]]) -> dict[str, Node]:
    """New value of every auxiliary slot as a node; `own_gradients[node]` are adjoints of its own parameters."""
    updates: dict[str, Node] = {}
    for name, variable in expanded.aux.items():
        if callable(variable.spec.adapt):
            updates[name] = variable.spec.adapt(expanded.advantages[variable.owner], variable.leaf)
        else:
            gradient = _second_moment_gradient(variable, own_gradients.get(variable.owner, []))
            updates.update(_adam(name, variable, gradient))
    return updates


def _second_moment_gradient(variable: AuxVariable, gradients: list[Node]) -> Node:
    total = ops.const(0.0)
    for g in gradients:
        square = ops.mul(g, g)
        dims = tuple(range(len(g.type.shape)))
        total = ops.add(total, make("sum", square, axes=g.type.axes, dims=dims) if g.type.axes or dims else square)
    (gradient,) = vjp([(total, ops.const(1.0))], [variable.leaf], erase={"theta"})
    return ops.const(0.0) if gradient is None else gradient


def _adam(name: str, variable: AuxVariable, gradient: Node) -> dict[str, Node]:
    mean, square, count = (make("aux", name=f"{name}.{slot}", shape=()) for slot in ("mean", "square", "count"))
    count = ops.add(count, 1.0)
    mean = ops.add(ops.mul(BETA1, mean), ops.mul(1 - BETA1, gradient))
    square = ops.add(ops.mul(BETA2, square), ops.mul(1 - BETA2, ops.mul(gradient, gradient)))
    mean_hat = ops.div(mean, ops.sub(1.0, ops.power(BETA1, count)))
    square_hat = ops.div(square, ops.sub(1.0, ops.power(BETA2, count)))
    step = ops.div(ops.mul(variable.spec.rate, mean_hat), ops.add(ops.sqrt(square_hat), EPSILON))
    return {
        name: ops.sub(variable.leaf, step),
        f"{name}.mean": mean,
        f"{name}.square": square,
        f"{name}.count": count,
    }
