"""From plan to request: expand, differentiate and simplify one variant of a program, ready for a backend.

Variants: "gradient" (loss, costs, gradients, auxiliary updates), "value" (loss and costs with true nodes), "rows" (the
loss per row of the outermost plate) and "sample" (named arrays). With `repeats`, gradients keep a leading repeats axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import Any

import numpy as np

from ppl.compiler.surrogate.auxiliary import Slot, auxiliary_layout, auxiliary_updates
from ppl.compiler.surrogate.carried import carried_updates, require_own_names
from ppl.compiler.surrogate.conditions.blind import blind_penalty, sighted_gradients
from ppl.compiler.surrogate.conditions.range_guards import (
    conditions_of_loss,
    guarded,
    penalty,
)
from ppl.compiler.surrogate.expansion import Expanded, Expansion
from ppl.compiler.surrogate.posterior.draws import Draws, sampled
from ppl.errors import ModelError
from ppl.estimators.base import Estimator
from ppl.graph.stochastic import StochasticGraph
from ppl.ir import ops
from ppl.ir.node import Node, substitute
from ppl.ir.rewrites.loops import merge_loops
from ppl.ir.rewrites.narrow import narrow
from ppl.ir.rewrites.simplify import erase_markers, simplify
from ppl.ir.types import Kind
from ppl.ir.verify import after_pass
from ppl.lang.time.record import base_name
from ppl.records import dataclass

NOTHING: Mapping[str, Estimator] = MappingProxyType({})


@dataclass
class Variant:
    """One variant at every stage. Outputs are named; `stages` keeps the nodes of each stage for `program.ir`."""

    scalars: dict[str, Node] = field(default_factory=dict)
    grads: dict[str, Node] = field(default_factory=dict)
    aux: dict[str, Node] = field(default_factory=dict)
    arrays: dict[str, Node] = field(default_factory=dict)
    aux_slots: dict[str, Slot] = field(default_factory=dict)
    hypers: dict[str, float] = field(default_factory=dict)
    copies: dict[str, int] = field(default_factory=dict)
    stages: dict[str, dict[str, Node]] = field(default_factory=dict)

    def initial_aux(self, seed: int = 0) -> dict[str, np.ndarray]:
        """The auxiliary values that training starts from."""
        return {name: slot.value(seed, name) for name, slot in self.aux_slots.items()}

    def outputs(self) -> dict[str, Node]:
        """All outputs under distinct names."""
        return {
            **self.scalars,
            **{f"grad {k}": v for k, v in self.grads.items()},
            **{f"aux {k}": v for k, v in self.aux.items()},
            **{f"array {k}": v for k, v in self.arrays.items()},
        }

    def replace_outputs(self, nodes: Sequence[Node]) -> None:
        """Put `nodes` (in the order of `outputs`) in place of the outputs."""
        queue = iter(nodes)
        for group in (self.scalars, self.grads, self.aux, self.arrays):
            for key in group:
                group[key] = next(queue)


def build_gradient(
    graph: StochasticGraph, plan: Mapping[str, Estimator], repeats: bool = False, particles: int | None = None
) -> Variant:
    """Loss, costs, gradients with respect to every parameter, and new auxiliary values."""
    expansion = Expansion(graph, plan, "gradient", repeats, particles)
    expanded = expansion.run()
    variant = _start(expanded, expansion)
    variant.stages["expand"] = {"loss": expanded.loss, "surrogate": expanded.surrogate}
    variant.aux_slots = auxiliary_layout(expanded)
    require_own_names(graph, set(variant.aux_slots))
    variant.aux_slots |= {n: Slot(c.shape, c.init, c.where) for n, c in graph.trace.carried.items()}
    own = {} if repeats else {v.owner: expanded.own[v.owner] for v in expanded.aux.values()}
    own = {name: nodes for name, nodes in own.items() if graph[name].site.scan is None}
    surrogate, *flat = merge_loops([expanded.surrogate, *(n for nodes in own.values() for n in nodes)])
    queue = iter(sighted_gradients(surrogate, expansion, [*expanded.wrt.values(), *flat]))
    for name, leaf in expanded.wrt.items():
        g = next(queue)
        variant.grads[name] = ops.zeros_like(leaf.type) if g is None else g
    if not repeats:
        own_gradients = {k: [g for g in (next(queue) for _ in nodes) if g is not None] for k, nodes in own.items()}
        updates = auxiliary_updates(expanded, own_gradients) | carried_updates(graph, particles)
        variant.aux = {name: updates[name] for name in variant.aux_slots}
    if expanded.deferred:
        variant.replace_outputs(substitute(list(variant.outputs().values()), expanded.deferred))
        for name, stage in variant.stages.items():
            variant.stages[name] = dict(zip(stage, substitute(list(stage.values()), expanded.deferred), strict=True))
    return _finish(variant)


def build_value(
    graph: StochasticGraph, plan: Mapping[str, Estimator], repeats: bool = False, particles: int | None = None
) -> Variant:
    """Loss and costs with true nodes."""
    expansion = Expansion(graph, plan, "value", repeats, particles)
    expanded = expansion.run()
    variant = _start(expanded, expansion)
    variant.stages["expand"] = {"loss": expanded.loss}
    return _finish(variant)


def build_rows(graph: StochasticGraph, plan: Mapping[str, Estimator]) -> Variant:
    """The loss of every row of the outermost plate."""
    expansion = Expansion(graph, plan, "value")
    expanded = expansion.run()
    plates = [a for c in expansion.costs.values() for a in c.type.axes if a.kind is Kind.PLATE and a.depth == 0]
    if len(set(plates)) != 1:
        raise ModelError(f"per_row needs costs in one outermost plate; found {[a.name for a in dict.fromkeys(plates)]}")
    total: Node | None = None
    for name in expansion.costs:
        folded = ops.const(0.0)
        for _, piece in expansion.pieces[name]:
            folded = ops.add(folded, expansion.reducer.particles(expansion.reducer.fold(piece, trunk=True)))
        if plates[0] not in folded.type.axes:
            raise ModelError(f"per_row: cost '{name}' lies outside plate '{plates[0].name}'")
        row = expansion.reducer.plates(folded, keep=(plates[0],))
        total = row if total is None else ops.add(total, row)
    assert total is not None
    total = guarded(total, expansion, keep=plates)
    variant = Variant(arrays={"rows": total}, hypers=expanded.hypers)
    variant.stages["expand"] = {"rows": total}
    return _finish(variant)


def build_sample(
    graph: StochasticGraph, sites: Sequence[Any], draws: Draws = sampled, plan: Mapping[str, Estimator] = NOTHING
) -> Variant:
    """Values of named sites, particles kept as an axis; or what else `draws` makes of what is asked for."""
    arrays = draws(graph, sites, plan)
    variant = Variant(arrays=arrays, hypers=dict(graph.trace.hypers))
    variant.stages["expand"] = dict(arrays)
    return _finish(variant)


def build_violations(
    graph: StochasticGraph, plan: Mapping[str, Estimator], mode: str, particles: int | None
) -> Variant:
    """A loss of 0, or NaN where a parameter, an observation that is computed or an index is out of range."""
    expansion = Expansion(graph, plan, mode, particles=particles)  # type: ignore[arg-type]
    expanded = expansion.run()
    terms = (penalty(expansion, conditions_of_loss(graph.trace)), blind_penalty(expansion))
    loss = ops.const(0.0)
    for term in terms:
        loss = loss if term is None else ops.add(loss, term)
    variant = Variant(scalars={"loss": loss}, hypers=expanded.hypers)
    variant.stages["expand"] = dict(variant.scalars)
    return _finish(variant)


def _start(expanded: Expanded, expansion: Expansion) -> Variant:
    scalars = {"loss": guarded(expanded.loss, expansion)}
    for name, value in expanded.costs.items():
        key = f"cost {base_name(name)}"
        scalars[key] = ops.add(scalars[key], value) if key in scalars else value
    return Variant(scalars=scalars, hypers=expanded.hypers, copies=expanded.copies)


def _finish(variant: Variant) -> Variant:
    variant.stages["differentiate"] = variant.outputs()
    nodes = erase_markers(list(variant.outputs().values()))
    variant.replace_outputs(simplify(narrow(simplify(nodes))))
    variant.stages["simplify"] = variant.outputs()
    for outputs in variant.stages.values():
        after_pass(list(outputs.values()))
    return variant
