"""Maximum likelihood: E[-log p(obs | latents)], with finite latents summed out exactly on request."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from ppl.arguments import names
from ppl.errors import ModelError
from ppl.estimators.marginalize import Marginalize
from ppl.graph.elimination import UndirectedGraph
from ppl.ir import ops
from ppl.ir.node import Node, topological
from ppl.ir.types import Axis, Kind
from ppl.lang.loops import base_name, stack_over_loops, sum_over_loops
from ppl.lang.model import Model
from ppl.lang.trace import Cost, Factor, Site, SiteKind, Trace
from ppl.lang.tracing import trace_model
from ppl.names import keywords
from ppl.objectives.base import (
    add_factor_costs,
    factor_log_weight_in_step,
    log_likelihood_in_step,
    observation_cost,
    require_models,
)


class Likelihood:
    """E[-log p(obs | latents)]; latents in `marginalize` are summed out by log-sum-exp."""

    def __init__(self, model: Model, marginalize: Sequence[str] = ()):
        require_models("likelihood", model=model)
        self.model = model
        self.marginalize = names("likelihood: marginalize", marginalize, ModelError)

    @property
    def argument_names(self) -> tuple[str, ...]:
        """The model's data arguments."""
        return self.model.arguments

    def trace(self, arguments: Mapping[str, Any]) -> Trace:
        """Trace the model and write one cost per observation, or per group that a marginalised latent ties together."""
        trace = trace_model(self.model, dict(arguments))
        if not self.marginalize and not any(s.kind is SiteKind.OBSERVED for s in trace.sites.values()):
            raise ModelError(f"likelihood: model '{self.model.name}' observes nothing")
        add_log_likelihood(trace, self.marginalize, "likelihood")
        return trace


def add_log_likelihood(trace: Trace, marginalize: Sequence[str], owner: str) -> None:
    """Give a trace one cost per observation, factor, and latent with a value from elsewhere (`trace.scored`).

    Those that depend on finite latents in `marginalize` share one cost, in which these are summed out. `owner` is for
    messages.

    Raises
    ------
    ModelError
        A name is unknown or not finite, or what depends on such a latent cannot be summed.
    """
    observed = [s for s in trace.sites.values() if s.kind is SiteKind.OBSERVED]
    observed += trace.scored.values()
    summed = [site for name in marginalize for site in _finite_latents(trace, name, owner)]
    terms = {s.name: log_likelihood_in_step(s) for s in observed}
    terms |= {f.name: factor_log_weight_in_step(f) for f in trace.factors.values()}
    bearers: list[Site | Factor] = [*observed, *trace.factors.values()]
    coupling = _coupling_graph(trace, summed, bearers, terms, owner) if summed else None
    add_factor_costs([f for f in trace.factors.values() if coupling is None or f.name not in coupling], trace)
    for group in () if coupling is None else coupling.components():
        names = [s for s in summed if s.name in group]
        if names:
            cost = _marginal_cost(names, [b for b in bearers if b.name in group], terms, owner)
            trace.costs[cost.name] = cost
    for site in observed:
        if coupling is None or site.name not in coupling:
            trace.costs[f"-log p({site.name})"] = observation_cost(site)


def _finite_latents(trace: Trace, name: str, owner: str) -> list[Site]:
    """The latent of that name, in a loop that is written out those of all steps."""
    sites = [s for s in trace.random_sites() if base_name(s.name) == name]
    if not sites:
        known = list(dict.fromkeys(base_name(s.name) for s in trace.random_sites()))
        raise ModelError(f"{owner}: no latent named '{name}' to marginalise; latents: {known}")
    for site in sites:
        if site.dist is None or site.dist.support_size() == float("inf"):
            kind = type(site.dist).__name__
            raise ModelError(f"{owner}: '{name}' ({site.where}) is a {kind}, which has no finite support")
        site.estimator = Marginalize()
    return sites


def _random_ancestors(node: Node) -> set[str]:
    return {n.attrs["site"].name for n in topological([node]) if n.op == "sample"}


def _coupling_graph(
    trace: Trace, summed: Sequence[Site], bearers: Sequence[Site | Factor], terms: Mapping[str, Node], owner: str
) -> UndirectedGraph[str]:
    """Which marginalised latents, observations and factors share one log-sum-exp."""
    names = {s.name for s in summed}
    coupling = UndirectedGraph(s.name for s in summed)
    for b in bearers:
        for z in _random_ancestors(sum_over_loops(terms[b.name], b.scan)) & names:
            coupling.add_edge(b.name, z)
    for site in trace.random_sites():
        assert site.dist is not None
        above = (
            set().union(*(_random_ancestors(stack_over_loops(p, site.scan)) for p in site.dist.params.values())) & names
        )
        above -= {site.name} if site.name in names else set()
        if above and site.name not in names:
            raise ModelError(
                f"{owner}: '{site.name}' ({site.where}) depends on marginalised {sorted(above)}; marginalise it too"
            )
        for z in above:
            coupling.add_edge(site.name, z)
    for cost in trace.costs.values():
        if _random_ancestors(cost.node) & names:
            raise ModelError(f"{owner}: cost '{cost.name}' ({cost.where}) depends on a marginalised latent")
    return coupling


def _mixed_plates(names: Sequence[str], terms: Sequence[Node]) -> set[Axis]:
    """Plates whose rows of the nodes `names` meet in one value: all these rows share one log-sum-exp."""
    collected = [n for n in topological(terms) if n.op == "collect" and _random_ancestors(n) & set(names)]
    return {n.attrs["axis"] for n in collected}


def _list_names(sites: Sequence[Site | Factor]) -> str:
    return ", ".join(dict.fromkeys(base_name(s.name) for s in sites))


def _marginal_cost(
    summed: Sequence[Site], sites: Sequence[Site | Factor], terms: Mapping[str, Node], owner: str
) -> Cost:
    mixed = _mixed_plates([s.name for s in summed], [terms[s.name] for s in sites])
    own = {s.name: tuple(a for a in s.axes if a not in mixed) for s in summed}
    plates = tuple(a for a in own[summed[0].name] if all(a in axes for axes in own.values()))
    scans = {s.scan for s in (*summed, *sites)}
    scan = scans.pop() if len(scans) == 1 else None
    inside = {a for axes in own.values() for a in axes}
    if scan is not None and inside - set(plates):
        names = " and ".join(f"'{base_name(s.name)}'" for s in summed[:2])
        raise ModelError(f"{owner}: {names} are marginalised together in a loop but stand in other plates")
    factors = []
    for site in sites:
        term = terms[site.name] if scan is not None else sum_over_loops(terms[site.name], site.scan)
        inner = [a for a in term.type.axes if a.kind is Kind.PLATE and a not in inside]
        factors.append(ops.sum_axes(term, inner))
    found = functools.reduce(ops.add, factors, ops.const(0.0))
    rows = {a for s in (*summed, *sites) for a in s.axes if a.size is None and a not in plates}
    name = f"-log p({_list_names(sites)})" if sites else f"-log sum p({_list_names(summed)})"
    where = sites[0].where if sites else summed[0].where
    step = found if scan is not None else None
    whole, nodes = tuple(a.name for a in rows), tuple(s.name for s in summed)
    return Cost(name, sum_over_loops(found, scan), where, plates, nodes, tuple(factors), whole, step=step, scan=scan)


@keywords
def likelihood(model: Model, marginalize: Sequence[str] = ()) -> Likelihood:
    """The negative log-likelihood as an objective: E[-log p(obs | latents)] over latents drawn from the model.

    Parameters
    ----------
    marginalize : names of finite latents to sum out exactly by log-sum-exp.

    Raises
    ------
    ModelError : nothing is observed or summed out, or a name is unknown or not finite.
    EstimatorError : the sum takes a table beyond the budget; the message says what would fit.

    A factor that depends on such latents enters their sum. Latents are summed out one after the other, in an order that
    keeps tables small: those of a chain or tree with T nodes of K states cost T K^2. A latent outside of a plate of
    data couples all of its rows, which then are given in one call.
    """
    return Likelihood(model, marginalize)
