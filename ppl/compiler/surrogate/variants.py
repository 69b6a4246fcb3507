"""Build the variants of a program: expand, differentiate and simplify a graph for one purpose.

Variants are "gradient" (loss, costs, gradients, auxiliary updates), "value" (loss and costs with true samples), "rows"
(the loss of each row of the outermost plate) and "sample" (named arrays). With `repeats`, gradients keep a leading
repeats axis. A variant holds plain IR; `ppl.compiler.lower` takes it from here."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import Any

import numpy as np

from ppl.compiler.surrogate.auxiliary import (
    AuxiliarySlot,
    auxiliary_layout,
    auxiliary_updates,
    carried_updates,
    require_distinct_names,
)
from ppl.compiler.surrogate.expansion import ExpandedProgram, Expansion
from ppl.compiler.surrogate.guards import (
    add_guards,
    gradients_with_unsampled_penalty,
    loss_conditions,
    sum_guards,
    unsampled_penalty,
)
from ppl.compiler.surrogate.posterior import DrawBuilder, sample_sites
from ppl.errors import ModelError
from ppl.estimators.base import Estimator
from ppl.graph.stochastic import StochasticGraph
from ppl.ir import ops
from ppl.ir.node import Node, substitute
from ppl.ir.rewrites.branches import drop_unread_branches
from ppl.ir.rewrites.loops import merge_loops
from ppl.ir.rewrites.simplify import erase_markers, simplify
from ppl.ir.show import show
from ppl.ir.types import Kind
from ppl.ir.verify import verify_if_enabled
from ppl.lang.loops import base_name
from ppl.records import dataclass

NO_ESTIMATORS: Mapping[str, Estimator] = MappingProxyType({})


@dataclass
class ProgramVariant:
    """One variant at every stage. Outputs are named; `stages` keeps the nodes of each stage for `program.ir`."""

    scalars: dict[str, Node] = field(default_factory=dict)
    grads: dict[str, Node] = field(default_factory=dict)
    aux: dict[str, Node] = field(default_factory=dict)
    arrays: dict[str, Node] = field(default_factory=dict)
    aux_slots: dict[str, AuxiliarySlot] = field(default_factory=dict)
    hypers: dict[str, float] = field(default_factory=dict)
    copies: dict[str, int] = field(default_factory=dict)
    stages: dict[str, dict[str, Node]] = field(default_factory=dict)

    def __str__(self) -> str:
        """List the graph of all outputs, one node a line."""
        outputs = self.outputs()
        return show(list(outputs.values()), list(outputs))

    def initial_aux(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Return the auxiliary values that training starts from."""
        return {name: slot.value(seed, name) for name, slot in self.aux_slots.items()}

    def outputs(self) -> dict[str, Node]:
        """Return all outputs under distinct names."""
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
) -> ProgramVariant:
    """Build loss, costs, gradients with respect to every parameter, and new auxiliary values."""
    expansion = Expansion(graph, plan, "gradient", repeats, particles)
    expanded = expansion.run()
    variant, stage = _new_variant(expanded, expansion), {"loss": expanded.loss, "surrogate": expanded.surrogate}
    variant.aux_slots = auxiliary_layout(expanded)
    require_distinct_names(graph, set(variant.aux_slots))
    variant.aux_slots |= {n: AuxiliarySlot(c.shape, c.init, c.where) for n, c in graph.trace.carried.items()}
    own = {} if repeats else {v.owner: expanded.own_parameters[v.owner] for v in expanded.aux.values()}
    own = {name: nodes for name, nodes in own.items() if graph[name].site.scan is None}
    surrogate, *flat = merge_loops([expanded.surrogate, *(n for nodes in own.values() for n in nodes)])
    queue = iter(gradients_with_unsampled_penalty(surrogate, expansion, [*expanded.wrt.values(), *flat]))
    for name, leaf in expanded.wrt.items():
        g = next(queue)
        variant.grads[name] = ops.zeros_like(leaf.type) if g is None else g
    if not repeats:
        own_gradients = {k: [g for g in (next(queue) for _ in nodes) if g is not None] for k, nodes in own.items()}
        updates = auxiliary_updates(expanded, own_gradients) | carried_updates(graph, particles)
        variant.aux = {name: updates[name] for name in variant.aux_slots}
    if expanded.deferred:
        variant.replace_outputs(substitute(list(variant.outputs().values()), expanded.deferred))
        stage = dict(zip(stage, substitute(list(stage.values()), expanded.deferred), strict=True))
    return simplify_variant(variant, stage)


def build_value(graph: StochasticGraph, plan: Mapping[str, Estimator], particles: int | None = None) -> ProgramVariant:
    """Build loss and costs with true nodes."""
    expansion = Expansion(graph, plan, "value", particles=particles)
    expanded = expansion.run()
    return simplify_variant(_new_variant(expanded, expansion), {"loss": expanded.loss})


def build_rows(graph: StochasticGraph, plan: Mapping[str, Estimator]) -> ProgramVariant:
    """Build the loss of every row of the outermost plate."""
    expansion = Expansion(graph, plan, "value")
    expanded = expansion.run()
    plates = [a for c in expansion.costs.values() for a in c.type.axes if a.kind is Kind.PLATE and a.depth == 0]
    if len(set(plates)) != 1:
        raise ModelError(f"per_row needs costs in one outermost plate; found {[a.name for a in dict.fromkeys(plates)]}")
    reducer, rows = expansion.reducer, []
    for name in expansion.costs:
        pieces = (reducer.expect_over_states(piece, primal=True) for _, piece in expansion.pieces[name])
        folded = functools.reduce(ops.add, map(reducer.particles, pieces), ops.const(0.0))
        if plates[0] not in folded.type.axes:
            raise ModelError(f"per_row: cost '{name}' lies outside plate '{plates[0].name}'")
        rows.append(reducer.plates(folded, keep=(plates[0],)))
    total = add_guards(functools.reduce(ops.add, rows), expansion, keep=plates)
    return simplify_variant(ProgramVariant(arrays={"rows": total}, hypers=expanded.hypers), {"rows": total})


def build_sample(
    graph: StochasticGraph,
    sites: Sequence[Any],
    draws: DrawBuilder = sample_sites,
    plan: Mapping[str, Estimator] = NO_ESTIMATORS,
) -> ProgramVariant:
    """Build the values of named sites, particles kept as an axis; or what else `draws` makes of what is asked for."""
    arrays = draws(graph, sites, plan)
    return simplify_variant(ProgramVariant(arrays=arrays, hypers=dict(graph.trace.hypers)), dict(arrays))


def build_violations(
    graph: StochasticGraph, plan: Mapping[str, Estimator], mode: str, particles: int | None
) -> ProgramVariant:
    """Build a loss of 0, or NaN where a parameter, an observation that is computed or an index is out of range."""
    expansion = Expansion(graph, plan, mode, particles=particles)  # type: ignore[arg-type]
    expanded = expansion.run()
    terms = (sum_guards(expansion, loss_conditions(graph.trace)), unsampled_penalty(expansion))
    loss = functools.reduce(ops.add, (term for term in terms if term is not None), ops.const(0.0))
    return simplify_variant(ProgramVariant(scalars={"loss": loss}, hypers=expanded.hypers), {"loss": loss})


def _new_variant(expanded: ExpandedProgram, expansion: Expansion) -> ProgramVariant:
    scalars = {"loss": add_guards(expanded.loss, expansion)}
    for name, value in expanded.costs.items():
        key = f"cost {base_name(name)}"
        scalars[key] = ops.add(scalars[key], value) if key in scalars else value
    return ProgramVariant(scalars=scalars, hypers=expanded.hypers, copies=expanded.copies)


def simplify_variant(variant: ProgramVariant, expanded: dict[str, Node]) -> ProgramVariant:
    """Simplify the outputs of a differentiated variant in place, keep all stages for `program.ir`, and return it."""
    variant.stages |= {"expand": expanded, "differentiate": variant.outputs()}
    nodes = erase_markers(list(variant.outputs().values()))
    variant.replace_outputs(simplify(drop_unread_branches(simplify(nodes))))
    variant.stages["simplify"] = variant.outputs()
    for outputs in variant.stages.values():
        verify_if_enabled(list(outputs.values()))
    return variant
