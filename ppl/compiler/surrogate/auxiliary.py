"""Update what steps carry beside parameters: auxiliary variables of estimators, and carried values of models.

Variables that follow the second moment (η, temperatures, RELAX's network) take an Adam step on the gradient of the
row-local second moment of the finished gradient with respect to their node's own distribution parameters: the gradient
graph is differentiated once more, the stops tagged "theta" erased. Variables of a fit (learned baselines) take an Adam
step on their estimator's squared error. The next values of `ppl.carried` are computed by an expansion with true samples
on the noise of the step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ppl.compiler.surrogate.expansion import ExpandedAuxiliary, ExpandedProgram, Expansion
from ppl.errors import ModelError
from ppl.graph.stochastic import StochasticGraph
from ppl.ir import ops
from ppl.ir.differentiate import vjp
from ppl.ir.node import Node, make
from ppl.ir.types import Kind
from ppl.lang.params import evaluate_init

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-12


class AuxiliarySlot(NamedTuple):
    """A part of the auxiliary vector: its shape, what it starts from, and where it was declared.

    `decay` is the weight of the old value where it is an exponential mean, else 0.
    """

    shape: tuple[int, ...]
    init: Any
    where: str = "an estimator"
    decay: float = 0.0

    def value(self, seed: int, name: str) -> np.ndarray:
        """Return the start of slot `name`, keyed by (seed, name), so that the order of declaration does not matter."""
        return evaluate_init(repr(name), name, self.init, self.shape, seed, self.where)


def auxiliary_layout(expanded: ExpandedProgram) -> dict[str, AuxiliarySlot]:
    """Return every auxiliary slot: variables and their optimizer moments."""
    layout: dict[str, AuxiliarySlot] = {}
    for name, variable in expanded.aux.items():
        shape = variable.leaf.type.shape
        layout[name] = AuxiliarySlot(shape, variable.spec.init, decay=variable.spec.decay)
        if isinstance(variable.spec.adapt, str):
            layout[f"{name}.mean"] = layout[f"{name}.square"] = AuxiliarySlot(shape, 0.0)
            layout[f"{name}.count"] = AuxiliarySlot((), 0.0)
    return layout


def auxiliary_updates(expanded: ExpandedProgram, own_gradients: dict[str, list[Node]]) -> dict[str, Node]:
    """Return the new value of every auxiliary slot; `own_gradients[node]` are adjoints of its own parameters."""
    updates: dict[str, Node] = {}
    for name, variable in expanded.aux.items():
        if callable(variable.spec.adapt):
            new = variable.spec.adapt(expanded.advantages[variable.owner], variable.step)
            over_steps = expanded.all_steps if variable.spec.per_step else expanded.mean_over_steps
            change = expanded.change_where_running(variable.owner, new, variable.step)
            updates[name] = (
                over_steps(variable.owner, new)
                if change is None
                else ops.add(variable.leaf, over_steps(variable.owner, change))
            )
    for owner in dict.fromkeys(v.owner for v in expanded.aux.values()):
        for adapt, erase in (("second_moment", ("theta",)), ("fit", ())):
            found = {n: v for n, v in expanded.aux.items() if v.owner == owner and v.spec.adapt == adapt}
            if not found:
                continue
            target = expanded.fits.get(owner) if adapt == "fit" else _second_moment(own_gradients.get(owner, []))
            leaves = [v.leaf for v in found.values()]
            gradients = vjp([(ops.const(0.0) if target is None else target, ops.const(1.0))], leaves, erase)
            for (name, variable), gradient in zip(found.items(), gradients, strict=True):
                gradient = ops.zeros_like(variable.leaf.type) if gradient is None else gradient
                updates.update(_adam_step(name, variable, gradient))
    return updates


def _second_moment(gradients: list[Node]) -> Node:
    """Return the sum of squares over rows, particles and entries."""
    total = ops.const(0.0)
    for g in gradients:
        square = ops.mul(g, g)
        dims = tuple(range(len(g.type.shape)))
        total = ops.add(total, make("sum", square, axes=g.type.axes, dims=dims) if g.type.axes or dims else square)
    return total


def _adam_step(name: str, variable: ExpandedAuxiliary, gradient: Node) -> dict[str, Node]:
    shape = variable.spec.shape
    mean, square = (make("aux", name=f"{name}.{slot}", shape=shape) for slot in ("mean", "square"))
    count = make("aux", name=f"{name}.count", shape=())
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


def carried_updates(graph: StochasticGraph, particles: int | None) -> dict[str, Node]:
    """Return the next value of every carried variable; a particles axis has one entry (`require_one_particle`)."""
    declared = graph.trace.carried
    if not declared:
        return {}
    found = Expansion(graph, {}, "sample", particles=particles).expand([c.next for c in declared.values() if c.next])
    updates = {}
    for name, node in zip(declared, found, strict=True):
        updates[name] = ops.sum_axes(node, [a for a in node.type.axes if a.kind is Kind.PARTICLES])
    return updates


def require_distinct_names(graph: StochasticGraph, auxiliary: set[str]) -> None:
    """Raise a ModelError where a carried variable has the name of an estimator's auxiliary variable."""
    for name in auxiliary & set(graph.trace.carried):
        raise ModelError(
            f"carried {name!r} has the name of an auxiliary variable of node {name.rpartition('/')[0]!r}: rename it\n"
            f"  at {graph.trace.carried[name].where}"
        )
