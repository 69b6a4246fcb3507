"""Traces made ready for compiling: simplified, and, where they have loops over time, with a sketch of these."""

from __future__ import annotations

from collections.abc import Callable

from ppl.graph.stochastic import StochasticGraph
from ppl.ir.rewrites.simplify import simplify
from ppl.ir.verify import after_pass
from ppl.lang.context import Written
from ppl.lang.time.sketch import steps_of_sketch
from ppl.lang.trace import Trace

Traced = Callable[[Written], Trace]
"""Traces the objective, loops over time written out or not."""


def sketched(trace: Trace, traced: Traced) -> StochasticGraph | None:
    """The graph of what analyses read of a trace with loops over time."""
    if not trace.scans:
        return None
    drawn = traced(Written(counts=steps_of_sketch(trace)))
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
    after_pass(outputs)
    nodes = simplify(outputs)
    after_pass(nodes)
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
