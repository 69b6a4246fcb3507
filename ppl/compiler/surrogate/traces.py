"""Prepare traces for compiling: simplify them, sketch their loops over time, or unroll these.

It stands between `ppl.lang`, which traces a model, and the expansion of the graph."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from ppl.compiler.plan.decision_table import choose_estimators, graph_with_named, named_estimators
from ppl.compiler.plan.feasibility import errors_without_step_numbers
from ppl.errors import EstimatorError
from ppl.estimators.base import Estimator
from ppl.graph.lost_gradients import require_no_lost_path
from ppl.graph.stochastic import StochasticGraph
from ppl.ir.rewrites.simplify import simplify
from ppl.ir.verify import verify_if_enabled
from ppl.lang.context import UnrollPolicy
from ppl.lang.loops import base_name
from ppl.lang.scan import sketch_lengths
from ppl.lang.trace import Trace
from ppl.tuning import UNROLLED_STEPS

TraceModel = Callable[[UnrollPolicy], Trace]
"""Traces the objective, loops over time written out or not."""


def sketch_graph(trace: Trace, traced: TraceModel) -> StochasticGraph | None:
    """Return the graph of what analyses read of a trace with loops over time."""
    if not trace.scans:
        return None
    drawn = traced(UnrollPolicy(counts=sketch_lengths(trace)))
    simplify_trace(drawn)
    return StochasticGraph(drawn)


def simplify_trace(trace: Trace) -> None:
    """Simplify the traced expressions in place, so that gradients are taken of stable forms (log σ and the like)."""
    sites = [s for s in trace.sites.values() if s.node is not None]
    bounds = [c.bound for c in trace.costs.values() if c.bound is not None]
    outputs = [c.node for c in trace.costs.values()] + [b.log_weights for b in bounds]
    outputs += [s.node for s in sites if s.node is not None]
    redrawn = [s for s in sites if s.redrawn is not None]
    outputs += [s.redrawn for s in redrawn if s.redrawn is not None]
    fresh = [s for s in sites if s.fresh is not None]
    outputs += [n for s in fresh for n in (s.fresh, s.returned) if n is not None]
    outputs += [c.next for c in trace.carried.values() if c.next is not None]
    outputs += [g.node for g in trace.guards]
    outputs += [f for c in trace.costs.values() for f in c.factors]
    steps = [c for c in trace.costs.values() if c.step is not None]
    outputs += [c.step for c in steps if c.step is not None]
    actives = [s for s in trace.sites.values() if s.active is not None]
    outputs += [s.active for s in actives if s.active is not None]
    for scan in trace.scans:
        outputs += [*scan.inits, *scan.outs, *scan.slices.values(), *scan.aliases.values()]
    verify_if_enabled(outputs)
    nodes = simplify(outputs)
    verify_if_enabled(nodes)
    simplified = iter(nodes)
    for cost in trace.costs.values():
        cost.node = next(simplified)
    for bound in bounds:
        bound.log_weights = next(simplified)
    for site in sites:
        site.node = next(simplified)
    for site in redrawn:
        site.redrawn = next(simplified)
    for site in fresh:
        site.fresh, site.returned = next(simplified), next(simplified)
    for carried in trace.carried.values():
        if carried.next is not None:
            carried.next = next(simplified)
    for guard in trace.guards:
        guard.node = next(simplified)
    for cost in trace.costs.values():
        cost.factors = tuple(next(simplified) for _ in cost.factors)
    for cost in steps:
        cost.step = next(simplified)
    for site in actives:
        site.active = next(simplified)
    for scan in trace.scans:
        scan.inits = tuple(next(simplified) for _ in scan.inits)
        scan.outs = tuple(next(simplified) for _ in scan.outs)
        for step_input in scan.slices:
            scan.slices[step_input] = next(simplified)
        for step_input in scan.aliases:
            scan.aliases[step_input] = next(simplified)


def expand_plan_to_steps(graph: StochasticGraph, chosen: Mapping[str, Estimator]) -> dict[str, Estimator]:
    """Return the estimators of the nodes of `graph`: in one without loops, those of every step."""
    return {name: chosen[base_name(name)] for name in graph.nodes}


@errors_without_step_numbers()
def unroll_graph(
    traced: TraceModel, prepare: Callable[[Trace], None], chosen: Mapping[str, Estimator], particles: int
) -> StochasticGraph:
    """Return the graph without loops, for estimators that need it; its plan is checked on every step."""
    trace = traced(UnrollPolicy(names=None))
    prepare(trace)
    graph = StochasticGraph(trace)
    require_no_lost_path(graph)
    named = {name: e for name, e in expand_plan_to_steps(graph, chosen).items() if not e.imposed}
    choose_estimators(graph, named, True, particles, sys.maxsize)
    return graph_with_named(graph, named_estimators(graph, named))


def require_few_steps(graph: StochasticGraph) -> None:
    """Raise an EstimatorError where the loops of `graph` have too many steps to be written out."""
    steps = graph.total_steps
    if steps > UNROLLED_STEPS:
        raise EstimatorError(f"loops over time would be unrolled, and {steps} steps are more than {UNROLLED_STEPS}")
