"""Graphs of a program whose loops over time are written out, for what needs every step on its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from ppl.compiler.plan.choice import make_plan
from ppl.compiler.plan.loops import naming_loops
from ppl.compiler.surrogate.traces import Traced
from ppl.errors import EstimatorError
from ppl.estimators.base import Estimator
from ppl.graph.stochastic import StochasticGraph
from ppl.lang.context import Written
from ppl.lang.time.record import base_name
from ppl.lang.trace import Trace
from ppl.tuning import UNROLLED_STEPS


def step_plan(graph: StochasticGraph, chosen: Mapping[str, Estimator]) -> dict[str, Estimator]:
    """The estimators of the nodes of `graph`: in one without loops, those of every step."""
    return {name: chosen[base_name(name)] for name in graph.nodes}


@naming_loops()
def unrolled_graph(
    traced: Traced, prepare: Callable[[Trace], None], chosen: Mapping[str, Estimator], particles: int
) -> StochasticGraph:
    """The graph without loops, for estimators that need it; its plan is checked on every step."""
    trace = traced(Written(names=None))
    prepare(trace)
    graph = StochasticGraph(trace)
    named = {name: e for name, e in step_plan(graph, chosen).items() if not e.imposed}
    make_plan(graph, named, True, particles, sys.maxsize)
    return graph


def require_few_steps(graph: StochasticGraph) -> None:
    """Raise an EstimatorError where the loops of `graph` have too many steps to be written out."""
    steps = graph.all_steps
    if steps > UNROLLED_STEPS:
        raise EstimatorError(f"loops over time would be unrolled, and {steps} steps are more than {UNROLLED_STEPS}")
