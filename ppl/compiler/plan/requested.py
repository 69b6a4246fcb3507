"""What users ask for: one estimator, a dict of globs, or pins at sites."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import Any

from ppl.arguments import mapping, shown
from ppl.errors import EstimatorError
from ppl.estimators.base import Estimator
from ppl.graph.stochastic import StochasticGraph

Requested = str | Estimator | Mapping[str, Estimator]


def require_estimators(requested: Requested) -> None:
    """Raise unless `requested` is what `estimators=` may be."""
    if isinstance(requested, Mapping):
        for pattern, estimator in mapping("estimators", requested, "estimators", EstimatorError).items():
            _require_estimator(estimator, f"estimators[{pattern!r}]")
    elif not (isinstance(requested, Estimator) or (isinstance(requested, str) and requested == "auto")):
        raise EstimatorError(
            f'estimators must be "auto", an Estimator or a dict of node-name globs, not {shown(requested)}'
        )


def named_estimators(graph: StochasticGraph, requested: Requested) -> dict[str, Estimator]:
    """The estimators that users have named, by node."""
    named: dict[str, Estimator] = {}
    require_estimators(requested)
    if isinstance(requested, Mapping):
        for pattern, estimator in requested.items():
            for name in nodes_like(graph, pattern, "estimators"):
                named.setdefault(name, estimator)
    elif isinstance(requested, Estimator):
        named = {rn.name: requested for rn in graph.nodes.values() if rn.needs_gradient}
    for rn in graph.nodes.values():
        if rn.site.estimator is not None:
            _require_estimator(rn.site.estimator, f"sample({rn.name!r}, estimator=…)")
            named[rn.name] = rn.site.estimator
    return named


def nodes_like(graph: StochasticGraph, pattern: str, what: str) -> list[str]:
    """The random nodes of a name, or else of those that a glob matches; an EstimatorError where there are none."""
    hits = [pattern] if pattern in graph.nodes else fnmatch.filter(graph.nodes, pattern)
    if not hits:
        raise EstimatorError(f"{what}: {pattern!r} matches no random node; nodes: {', '.join(graph.nodes)}")
    return hits


def _require_estimator(value: Any, where: str) -> None:
    if not isinstance(value, Estimator):
        raise EstimatorError(f"{where} is {shown(value)}, not an estimator instance such as ppl.estimators.Rebar()")
