"""The negative importance-weighted (multi-sample) bound of a model and a guide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ppl.arguments import MANY, integer
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node, topological
from ppl.ir.traversal import Upstream
from ppl.ir.types import Axis, Kind
from ppl.lang.loops import sum_over_loops
from ppl.lang.model import Model
from ppl.lang.trace import Bound, Cost, Site, SiteKind, Trace
from ppl.lang.tracing import trace_model
from ppl.names import keywords
from ppl.objectives.base import guide_arguments, log_likelihood, require_models
from ppl.objectives.elbo import model_sites_by_guide_node, own_log_density, require_matching_latents

IMPORTANCE_DEPTH = 1_000_000
"""Depth of the importance axis: after every plate that a model can open."""


class Iwae:
    """-E[log (1/K) sum_k p(x, z_k) / q(z_k | x)], z_1 … z_K independent draws from the guide."""

    def __init__(self, model: Model, guide: Model, particles: int):
        require_models("iwae", model=model, guide=guide)
        particles = integer("iwae: particles, the number of importance samples,", particles, 1, MANY, ModelError)
        self.model, self.guide = model, guide
        self.axis = Axis("importance", Kind.PLATE, int(particles), IMPORTANCE_DEPTH)

    @property
    def argument_names(self) -> tuple[str, ...]:
        """The model's data arguments, then those that only the guide takes."""
        return guide_arguments(self.model, self.guide)

    def trace(self, arguments: Mapping[str, Any]) -> Trace:
        """Trace guide and model with an importance axis, and write the bound as one cost."""
        trace = trace_model(self.guide, arguments, allow_obs=False, importance=self.axis)
        latents = {s.name: s for s in trace.random_sites()}
        trace_model(self.model, arguments, into=trace, substitute=latents, importance=self.axis)
        require_matching_latents("iwae", self.model, self.guide, latents, trace)
        if trace.factors:
            factor = next(iter(trace.factors.values()))
            raise ModelError(f"iwae: factor '{factor.name}' ({factor.where}) does not enter the bound; use ppl.elbo")
        if trace.costs:
            cost = next(iter(trace.costs.values()))
            raise ModelError(f"iwae: cost '{cost.name}' ({cost.where}) is no density; only densities enter the bound")
        plates = self._bound_plates(latents)
        weights, names, where = ops.const(0.0), [], ""
        terms = [
            (name, self._sum_over_steps(each, site), site)
            for name, each, site in self._log_weight_terms(trace, latents)
        ]
        samples = Upstream(n for n in topological(term for _, term, _ in terms) if n.op == "sample")
        for name, term, site in terms:
            if not samples.bits(term):
                self._add_separate_cost(trace, name, term, site)
                continue
            weights = ops.add(weights, self._reduce_to_bound(term, site, plates))
            if site.kind is SiteKind.OBSERVED:
                names.append(site.name)
            where = where or site.where
        if latents:
            self._add_bound(trace, f"-log p({', '.join(names)})", weights, where, plates)
        return trace

    def _bound_plates(self, latents: Mapping[str, Site]) -> tuple[Axis, ...]:
        """The plates that all latents stand in: the bound has one term for each of their rows."""
        groups = [[a for a in s.axes if a != self.axis] for s in latents.values()]
        first = groups[0] if groups else []
        return tuple(a for a in first if all(a in g for g in groups))

    def _log_weight_terms(self, trace: Trace, latents: Mapping[str, Site]) -> list[tuple[str, Node, Site]]:
        """The summands of log w, each with its name and site."""
        terms, model_sites = [], model_sites_by_guide_node(trace)
        for q in latents.values():
            for p in model_sites[q.name]:
                assert p.dist is not None and p.node is not None
                terms.append((f"log p({p.name})", p.dist.node_log_prob(p.node), p))
            terms.append((f"-log q({q.name})", ops.neg(own_log_density(q)), q))
        observed = [s for s in trace.sites.values() if s.kind is SiteKind.OBSERVED]
        return terms + [(f"log p({s.name})", log_likelihood(s), s) for s in observed]

    def _sum_over_steps(self, term: Node, site: Site) -> Node:
        """The sum of a term over the steps of the loops that its site stands in."""
        term = ops.expand(term, site.axes) if site.scan is not None else term
        return sum_over_loops(term if site.active is None else ops.where(site.active, term, 0.0), site.scan)

    def _add_separate_cost(self, trace: Trace, name: str, term: Node, site: Site) -> None:
        """A term that no latent enters is a cost of its own."""
        axes = tuple(a for a in site.axes if a != self.axis)
        one = ops.div(ops.sum_axes(ops.expand(term, site.axes), (self.axis,)), float(self.axis.size or 1))
        trace.costs[f"-{name}"] = Cost(f"-{name}", ops.neg(one), site.where, axes)

    def _reduce_to_bound(self, term: Node, site: Site, plates: tuple[Axis, ...]) -> Node:
        """`term` over the bound's plates and the importance axis."""
        term = ops.expand(term, site.axes)
        inner = [a for a in term.type.axes if a.kind is Kind.PLATE and a != self.axis and a not in plates]
        open_ended = [a.name for a in inner if a.size is None]
        if open_ended:
            raise ModelError(
                f"iwae: '{site.name}' ({site.where}) stands in plate '{open_ended[0]}', which not all latents do: the "
                "log-mean-exp over all its rows does not split into minibatches"
            )
        return ops.sum_axes(term, inner)

    def _add_bound(self, trace: Trace, name: str, log_weights: Node, where: str, plates: tuple[Axis, ...]) -> None:
        log_weights = ops.expand(log_weights, (*plates, self.axis))
        total = ops.logsumexp(ops.collect(log_weights, self.axis), -1)
        value = ops.sub(np.log(self.axis.size or 1), total)
        trace.costs[name] = Cost(name, value, where, plates, bound=Bound(log_weights, self.axis))


@keywords
def iwae(model: Model, guide: Model, particles: int) -> Iwae:
    """The negative importance-weighted bound as an objective: -E[log (1/K) sum_k p(x, z_k) / q(z_k | x)].

    All nodes get an axis `importance` of length K. It differs from the `particles` of `ppl.compile`, over which whole
    bounds are averaged. Latents match as in `ppl.elbo`. The bound is one cost, `-log p(x)`, for every row of the
    plates that contain all latents. It falls to -log p(x) as K grows, and for K = 1 equals the sampled negative ELBO.
    `Vimco` and `DoublyReparameterized` are estimators for it.

    Parameters
    ----------
    particles : K, the number of importance samples; compiled in.

    Raises
    ------
    ModelError
        Latents do not match, a `ppl.cost` or `ppl.factor` is declared, or a site is in a plate of run-time length that
        does not contain all latents.

    References
    ----------
    Burda, Grosse & Salakhutdinov 2016.
    """
    return Iwae(model, guide, particles)
