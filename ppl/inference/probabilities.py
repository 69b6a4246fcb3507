"""Exact posterior probabilities of finite latents: what is asked for, and the arrays that users get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppl.arguments import shown
from ppl.compiler.surrogate.conditions.range_guards import INVALID
from ppl.compiler.surrogate.posterior.backward import refused
from ppl.compiler.surrogate.posterior.draws import drawing
from ppl.compiler.surrogate.posterior.tilts import Query
from ppl.distributions.base import Distribution
from ppl.errors import DataError, ModelError, NonFiniteError
from ppl.graph.stochastic import StochasticGraph
from ppl.inference.steps import steps_of, with_steps
from ppl.lang.trace import SiteKind
from ppl.names import Named
from ppl.runtime.call import BoundCall, run
from ppl.runtime.compiled import Compiled
from ppl.runtime.nonfinite import refuse_invalid

MOST = 1 << 20
"""Joint states of one answer at most."""


class Probabilities(Named[np.ndarray]):
    """Probabilities by site, or by tuple of sites; `source` says whether they are "exact" or those of the "guide"."""

    def __init__(self, what: str, values: Any = (), source: str = "exact"):
        super().__init__(what, values)
        self.source = source

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.source}, {dict(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, dict(self), self.source)


def queries_of(sites: Any, known: Sequence[str]) -> list[Query]:
    """What is asked for: all sites that there are, or those named, some of them together as tuples."""
    given = list(known) if sites is None else [sites] if isinstance(sites, str) else list(sites)
    found = []
    for item in given:
        query = (item,) if isinstance(item, str) else tuple(item) if isinstance(item, (tuple, list)) else ()
        if not query or not all(isinstance(name, str) for name in query) or len(set(query)) < len(query):
            raise DataError(f"sites= holds names, and tuples of different names, not {shown(item)}")
        unknown = [name for name in query if name not in known]
        if unknown:
            raise DataError(f"no finite latent named {unknown} is summed out, or drawn by a guide; there are {known}")
        found.append(query)
    return list(dict.fromkeys(found))


def summed_names(compiled: Compiled) -> list[str]:
    """The latents that the likelihood sums out."""
    chosen = compiled.plan.estimators
    return [s.name for s in compiled.trace.random_sites() if chosen[s.name].within_cost]


def finite_guide_names(compiled: Compiled) -> list[str]:
    """The finite latents of a guide whose probabilities depend on no other node of it."""
    graph = compiled.graph
    finite = (n for n in graph.nodes.values() if n.dist.support_size() <= MOST and not n.site.scan)
    return [n.name for n in finite if not any(graph.terms.reach(a).direct for a in n.node.args)]


def require_exact(compiled: Compiled, queries: Sequence[Query]) -> None:
    """Raise where exact probabilities are not to be had, with the reason."""
    reason = refused(compiled.working, compiled.working_plan)
    if reason is not None:
        raise ModelError(f"posterior_probs: {reason}")
    graph = compiled.graph
    summed = set(summed_names(compiled))
    for query in queries:
        for name in query:
            node = graph[name]
            if node.coupled_plates:
                raise ModelError(f"posterior_probs: the rows of '{name}' are coupled: a later value mixes them")
            if len(query) > 1 and node.dist.batch_of_units:
                raise ModelError(f"posterior_probs: '{name}' holds several units, of which there is no joint table")
        for other in graph.nodes.values():
            common = [c.name for c in other.costs if set(query) & set(c.marginalize)]
            if other.name not in summed and common:
                raise ModelError(
                    f"posterior_probs: {', '.join(map(repr, query))} share cost '{common[0]}' with latent "
                    f"'{other.name}', which is not summed out: there are no exact probabilities"
                )


def exact(bound: BoundCall, queries: Sequence[Query], keep: bool) -> dict[Any, np.ndarray]:
    """Probabilities of summed-out latents, with axes (*plates, *times, *units, states)."""
    graph = drawing(bound.compiled)
    asked = {query: with_steps(graph.trace, query) for query in queries}
    flat = tuple(q for group in asked.values() for q in group)
    _require_together(graph, flat)
    arrays = run(bound, "probabilities", flat).arrays
    if np.isnan(arrays.pop(INVALID, 0.0)) and not keep:
        refuse_invalid(bound, "posterior_probs", ())
    found = {}
    for query, group in asked.items():
        parts = [arrays[", ".join(q)] for q in group]
        nodes = [graph[name] for name in group[0]]
        plates = max(len(n.node.type.axes) for n in nodes)
        whole = steps_of(graph.trace, [q[0] for q in group], parts, plates)
        found[query if len(query) > 1 else query[0]] = _normal(whole, [n.dist for n in nodes], query, keep)
    return found


def of_guide(bound: BoundCall, queries: Sequence[Query], keep: bool) -> dict[Any, np.ndarray]:
    """Probabilities of a guide's latents."""
    if any(len(query) > 1 for query in queries):
        raise ModelError("posterior_probs: a guide's probabilities are those of one latent at a time")
    arrays = run(bound, "guide", tuple(queries)).arrays
    if np.isnan(arrays.pop(INVALID, 0.0)) and not keep:
        refuse_invalid(bound, "posterior_probs", [name for (name,) in queries])
    graph = bound.compiled.graph
    return {name: _units(arrays[name], graph[name].dist) for (name,) in queries}


def _require_together(graph: StochasticGraph, queries: Sequence[Query]) -> None:
    groups = [set(c.marginalize) for c in graph.trace.costs.values() if c.marginalize]
    for query in queries:
        if not any(set(query) <= group for group in groups):
            raise ModelError(
                f"posterior_probs: {', '.join(map(repr, query))} are independent given the data: multiply their "
                "probabilities"
            )


def _normal(found: np.ndarray, dists: Sequence[Distribution], query: Query, keep: bool) -> np.ndarray:
    """Probabilities that add up to 1, by units where there is one node."""
    states = tuple(range(found.ndim - len(dists), found.ndim))
    total = found.sum(states, keepdims=True)
    if not keep and not (total > 0.0).all():
        raise NonFiniteError(
            f"posterior_probs: the data have probability 0 given the parameters, so {', '.join(query)} have no "
            'posterior; nonfinite="keep" returns NaN',
            query[0],
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        found = found / total
    return _units(found, dists[0]) if len(dists) == 1 else found


def _units(found: np.ndarray, dist: Distribution) -> np.ndarray:
    """Probabilities of the values of every unit, from those of all joint values."""
    unit, batch = dist.unit_support(), dist.batch_of_units
    if not batch or unit is None:
        return found
    count = int(np.prod(batch))
    grid = np.indices((len(unit),) * count).reshape(count, -1)
    member = (grid[:, None, :] == np.arange(len(unit))[:, None]).astype(found.dtype)
    return np.einsum("...s,uks->...uk", found, member).reshape(*found.shape[:-1], *batch, len(unit))


def has_guide(compiled: Compiled) -> bool:
    """Whether latents are drawn by a guide."""
    return bool(compiled.trace.scored) or any(s.kind is SiteKind.SCORED for s in compiled.trace.sites.values())
