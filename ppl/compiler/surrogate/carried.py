"""The next values of carried variables (`ppl.carried`): another walk of the expansion, at true nodes.

It draws on the noise of the step, so that hash-consing makes one of what it shares with the gradient program, and
samples are true ones where that program has relaxed or enumerated them.
"""

from __future__ import annotations

from ppl.compiler.surrogate.expansion import Expansion
from ppl.errors import ModelError
from ppl.graph.stochastic import StochasticGraph
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.types import Kind


def carried_updates(graph: StochasticGraph, particles: int | None) -> dict[str, Node]:
    """The next value of every carried variable; a particles axis has one entry (`require_one_particle`)."""
    declared = graph.trace.carried
    if not declared:
        return {}
    found = Expansion(graph, {}, "sample", particles=particles).walk([c.next for c in declared.values() if c.next])
    updates = {}
    for name, node in zip(declared, found, strict=True):
        updates[name] = ops.sum_axes(node, [a for a in node.type.axes if a.kind is Kind.PARTICLES])
    return updates


def require_own_names(graph: StochasticGraph, auxiliary: set[str]) -> None:
    """Raise a ModelError where a carried variable has the name of an estimator's auxiliary variable."""
    for name in auxiliary & set(graph.trace.carried):
        raise ModelError(
            f"carried {name!r} has the name of an auxiliary variable of node {name.rpartition('/')[0]!r}: rename it\n"
            f"  at {graph.trace.carried[name].where}"
        )
