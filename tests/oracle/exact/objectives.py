"""The terms of an objective, written from its model and guide: expected costs, ELBO, multi-sample bound, likelihood.

The models are traced here, loops over time written out step by step; what the objective itself would make of them is
not looked at."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ppl.ir.node import Node
from ppl.lang.context import UnrollPolicy, unrolling
from ppl.lang.trace import Factor, Site, SiteKind, Trace
from ppl.lang.tracing import trace_model
from tests.oracle.exact import densities
from tests.oracle.exact.bounds import Part, bound_terms, marginal_terms
from tests.oracle.exact.evaluate import Evaluation
from tests.oracle.exact.split import split
from tests.oracle.exact.walk import Term

Array = np.ndarray


class Problem(NamedTuple):
    """A trace and the terms whose expectations add up to the objective."""

    trace: Trace
    terms: list[Term]


def _traced(model: Any, data: Mapping[str, Any], **options: Any) -> Trace:
    """The trace of a model whose loops over time are written out."""
    with unrolling(UnrollPolicy(names=None)):
        return trace_model(model, dict(data), **options)


def _base(name: str) -> str:
    """The name of a site without the numbers of its steps."""
    return re.sub("⟨[0-9]+⟩", "", name)


def _laws(trace: Trace, name: str) -> list[Site]:
    """The model's sites that take their value from a guide's site: one, or one for every step of a loop."""
    return [s for known, s in trace.scored.items() if name in (known, _base(known))]


def log_density(site: Site, value: Node | None = None) -> tuple[Callable[[Evaluation], Array], tuple[Node, ...]]:
    """log p of a site at `value` (its own by default), 0 in rows that have stopped, and the nodes that it reads."""
    dist, at = site.dist, site.node if value is None else value
    assert dist is not None and at is not None
    masks = [m for m in (dist.event_mask, site.mask) if m is not None]

    def function(ev: Evaluation) -> Array:
        mask = None
        for m in masks:
            own = ev(m)
            mask = own if mask is None else mask & own
        p = {k: ev(n) for k, n in dist.params.items()}
        found = densities.log_prob(dist, p, ev(at), mask, ev.layout.rank)
        return found if site.active is None else np.where(ev(site.active), found, 0.0)

    return function, (*dist.params.values(), at, *masks, *(() if site.active is None else (site.active,)))


def _density_term(name: str, site: Site, sign: float, value: Node | None = None, weight: Node | float = 1.0) -> Term:
    function, roots = log_density(site, value)
    kinks = densities.kinks(site, value)
    if isinstance(weight, Node):
        roots = (*roots, weight)
        return Term(name, site.axes, roots, lambda ev: sign * ev(weight) * function(ev), kinks=kinks)
    return Term(name, site.axes, roots, lambda ev: sign * weight * function(ev), kinks=kinks)


def _cost_terms(trace: Trace) -> list[Term]:
    return [t for c in trace.costs.values() for t in split(c.name, c.axes, c.node)]


def _factor_terms(trace: Trace) -> list[Term]:
    return [_factor_term(f) for f in trace.factors.values()]


def _factor_term(factor: Factor) -> Term:
    active = factor.active
    if active is None:
        return Term(factor.name, factor.axes, (factor.node,), lambda ev: -ev(factor.node))
    roots = (factor.node, active)
    return Term(factor.name, factor.axes, roots, lambda ev: np.where(ev(active), -ev(factor.node), 0.0))


def _observed(trace: Trace) -> list[Site]:
    return [s for s in trace.sites.values() if s.kind is SiteKind.OBSERVED]


def expected_cost(model: Any, data: Mapping[str, Any]) -> Problem:
    """The sum of a model's costs."""
    trace = _traced(model, data)
    return Problem(trace, _cost_terms(trace))


def _both(objective: Any, data: Mapping[str, Any]) -> tuple[Trace, dict[str, Site]]:
    """The guide's trace, continued by the model's on the guide's values, and the guide's latents."""
    trace = _traced(objective.guide, data, allow_obs=False)
    latents = {s.name: s for s in trace.random_sites()}
    _traced(objective.model, data, into=trace, substitute=latents)
    return trace, latents


def elbo(objective: Any, data: Mapping[str, Any]) -> Problem:
    """E_q[kl_weight (log q - log p) - log p(obs | z) - factors], every divergence as an expectation."""
    trace, latents = _both(objective, data)
    weight: Any = getattr(objective.kl_weight, "node", objective.kl_weight)
    weight = getattr(objective.kl_weight, "__ppl_node__", weight)
    if isinstance(weight, Node) and weight.op == "hyper":
        trace.hypers.setdefault(weight.attrs["name"], float(objective.kl_weight.default))
    terms = []
    for name, q in latents.items():
        terms.append(_density_term(f"log q({name})", q, 1.0, weight=weight))
        terms += [_density_term(f"-log p({p.name})", p, -1.0, weight=weight) for p in _laws(trace, name)]
    terms += [_density_term(f"-log p({s.name})", s, -1.0) for s in _observed(trace)]
    return Problem(trace, [*terms, *_factor_terms(trace), *_cost_terms(trace)])


def _part(site: Site, sign: float) -> Part:
    return Part(site, *log_density(site), sign, densities.kinks(site, None))


def iwae(objective: Any, data: Mapping[str, Any]) -> Problem:
    """-E[log mean_k p / q] over the objective's number of samples, and terms that no latent enters."""
    trace, latents = _both(objective, data)
    parts = [_part(s, 1.0) for s in _observed(trace)]
    for name, q in latents.items():
        parts.append(_part(q, -1.0))
        parts += [_part(p, 1.0) for p in _laws(trace, name)]
    return Problem(trace, bound_terms(list(latents.values()), parts, int(objective.axis.size)))


def likelihood(objective: Any, data: Mapping[str, Any]) -> Problem:
    """E[-log p(obs | latents)], the marginalised latents summed out inside the logarithm."""
    trace = _traced(objective.model, data)
    summed = [s for s in trace.random_sites() if _base(s.name) in objective.marginalize]
    parts = [(s, *log_density(s)) for s in _observed(trace)]
    return Problem(trace, [*marginal_terms(summed, parts), *_factor_terms(trace), *_cost_terms(trace)])


KINDS: dict[str, Callable[[Any, Mapping[str, Any]], Problem]] = {
    "Model": expected_cost,
    "Elbo": elbo,
    "Iwae": iwae,
    "Likelihood": likelihood,
}


def problem(objective: Any, data: Mapping[str, Any]) -> Problem:
    """The terms of `objective`, by its class."""
    return KINDS[type(objective).__name__](objective, data)
