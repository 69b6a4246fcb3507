"""Posterior probabilities and deterministic sites as users see them, loops over time written out.

`program.posterior` and `program.posterior_probs` use it. A site inside a loop that is written out has one name for
all steps; its values get an axis of time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ppl.arguments import shown
from ppl.compiler.surrogate.elimination import StateQuery
from ppl.compiler.surrogate.guards import OUT_OF_RANGE
from ppl.compiler.surrogate.posterior import why_not_drawable
from ppl.distributions.base import Distribution
from ppl.errors import DataError, ModelError, NonFiniteError
from ppl.graph.stochastic import StochasticGraph
from ppl.ir.node import Node, topological
from ppl.lang.loops import STEP_CLOSE, STEP_OPEN, base_name
from ppl.lang.trace import Site, SiteKind, Trace
from ppl.names import Named
from ppl.runtime.call import BoundCall, run_variant
from ppl.runtime.compiled import Compiled
from ppl.runtime.nonfinite import raise_invalid_draw


def sites_named(trace: Trace, name: str) -> list[str]:
    """Return the sites of a trace that `name` stands for: itself, or those of all steps in order."""
    if name in trace.sites:
        return [name]
    return sorted((n for n in trace.sites if base_name(n) == name), key=_step_numbers)


def query_each_step(trace: Trace, query: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the names of a query in every step."""
    columns = [sites_named(trace, name) for name in query]
    return [tuple(names) for names in zip(*columns, strict=True)]


def stack_steps(trace: Trace, names: Sequence[str], parts: Sequence[np.ndarray], lead: int) -> np.ndarray:
    """Return the values of all steps as one array; their axes stand after the `lead` first ones."""
    if len(names) == 1 and not _step_numbers(names[0]):
        return parts[0]
    lengths = [n + 1 for n in _step_numbers(names[-1])]
    found = np.stack(parts, axis=lead)
    return found.reshape(*found.shape[:lead], *lengths, *found.shape[lead + 1 :])


def _step_numbers(name: str) -> list[int]:
    return [int(n) for n in re.findall(f"{STEP_OPEN}(\\d+){STEP_CLOSE}", name)]


def is_deterministic(trace: Trace, name: str) -> bool:
    """Return whether a site is a deterministic one that sees no draw of an observation.

    Raises
    ------
    DataError
        It is deterministic, and sees one.
    """
    group = [trace.sites[step] for step in sites_named(trace, name) if step in trace.sites]
    if not group or any(site.kind is not SiteKind.DETERMINISTIC for site in group):
        return False
    drawn = {id(s.returned): s.name for s in trace.sites.values() if s.returned is not None}
    for node in topological([_value_outside_loops(site) for site in group]):
        if id(node) in drawn:
            raise DataError(
                f"posterior: '{name}' is computed from what ppl.sample returned for the observation "
                f"'{drawn[id(node)]}': program.predict draws both"
            )
    return True


def _value_outside_loops(site: Site) -> Node:
    """Return the value of a site, with all that its loops compute it from."""
    assert site.node is not None
    node, scan = site.node, site.scan
    while scan is not None:
        node, scan = scan.as_stacked(node), scan.outer
    return node


MOST_JOINT_STATES = 1 << 20
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


def parse_queries(sites: Any, known: Sequence[str]) -> list[StateQuery]:
    """Return what is asked for: all sites that there are, or those named, some of them together as tuples."""
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


def summed_out_names(compiled: Compiled) -> list[str]:
    """Return the latents that the likelihood sums out."""
    chosen = compiled.plan.estimators
    return [s.name for s in compiled.trace.random_sites() if chosen[s.name].within_cost]


def finite_guide_names(compiled: Compiled) -> list[str]:
    """Return the finite latents of a guide whose probabilities depend on no other node of it."""
    graph = compiled.graph
    finite = (n for n in graph.nodes.values() if n.dist.support_size() <= MOST_JOINT_STATES and not n.site.scan)
    return [n.name for n in finite if not any(graph.terms.reach(a).direct for a in n.node.args)]


def require_exact_probabilities(compiled: Compiled, queries: Sequence[StateQuery]) -> None:
    """Raise where exact probabilities are not to be had, with the reason."""
    reason = why_not_drawable(compiled.working, compiled.working_plan)
    if reason is not None:
        raise ModelError(f"posterior_probs: {reason}")
    graph = compiled.graph
    summed = set(summed_out_names(compiled))
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


def exact_probabilities(bound: BoundCall, queries: Sequence[StateQuery], keep: bool) -> dict[Any, np.ndarray]:
    """Return the probabilities of summed-out latents, with axes (*plates, *times, *units, states)."""
    graph = bound.compiled.posterior_graph
    asked = {query: query_each_step(graph.trace, query) for query in queries}
    flat = tuple(q for group in asked.values() for q in group)
    _require_joint(graph, flat)
    arrays = run_variant(bound, "probabilities", flat).arrays
    if np.isnan(arrays.pop(OUT_OF_RANGE, 0.0)) and not keep:
        raise_invalid_draw(bound, "posterior_probs", ())
    found = {}
    for query, group in asked.items():
        parts = [arrays[", ".join(q)] for q in group]
        nodes = [graph[name] for name in group[0]]
        plates = max(len(n.node.type.axes) for n in nodes)
        whole = stack_steps(graph.trace, [q[0] for q in group], parts, plates)
        found[query if len(query) > 1 else query[0]] = _normalize(whole, [n.dist for n in nodes], query, keep)
    return found


def guide_probabilities(bound: BoundCall, queries: Sequence[StateQuery], keep: bool) -> dict[Any, np.ndarray]:
    """Return the probabilities of a guide's latents."""
    if any(len(query) > 1 for query in queries):
        raise ModelError("posterior_probs: a guide's probabilities are those of one latent at a time")
    arrays = run_variant(bound, "guide", tuple(queries)).arrays
    if np.isnan(arrays.pop(OUT_OF_RANGE, 0.0)) and not keep:
        raise_invalid_draw(bound, "posterior_probs", [name for (name,) in queries])
    graph = bound.compiled.graph
    return {name: _split_units(arrays[name], graph[name].dist) for (name,) in queries}


def _require_joint(graph: StochasticGraph, queries: Sequence[StateQuery]) -> None:
    groups = [set(c.marginalize) for c in graph.trace.costs.values() if c.marginalize]
    for query in queries:
        if not any(set(query) <= group for group in groups):
            raise ModelError(
                f"posterior_probs: {', '.join(map(repr, query))} are independent given the data: multiply their "
                "probabilities"
            )


def _normalize(found: np.ndarray, dists: Sequence[Distribution], query: StateQuery, keep: bool) -> np.ndarray:
    """Return probabilities that add up to 1, by units where there is one node."""
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
    return _split_units(found, dists[0]) if len(dists) == 1 else found


def _split_units(found: np.ndarray, dist: Distribution) -> np.ndarray:
    """Return the probabilities of the values of every unit, from those of all joint values."""
    unit, batch = dist.unit_support(), dist.batch_of_units
    if not batch or unit is None:
        return found
    count = int(np.prod(batch))
    grid = np.indices((len(unit),) * count).reshape(count, -1)
    member = (grid[:, None, :] == np.arange(len(unit))[:, None]).astype(found.dtype)
    return np.einsum("...s,uks->...uk", found, member).reshape(*found.shape[:-1], *batch, len(unit))


def has_guide(compiled: Compiled) -> bool:
    """Return whether latents are drawn by a guide."""
    return bool(compiled.trace.scored) or any(s.kind is SiteKind.SCORED for s in compiled.trace.sites.values())
