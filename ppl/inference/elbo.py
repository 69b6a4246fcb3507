"""The negative evidence lower bound of a model and a guide, as separate cost nodes per site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppl.distributions.kl import kl_divergence
from ppl.errors import ModelError
from ppl.inference.observed import merge_traces, negative_log_likelihood
from ppl.ir import ops
from ppl.ir.node import Node, topological
from ppl.lang.context import trace_model
from ppl.lang.model import Model
from ppl.lang.trace import Cost, Site, SiteKind, Trace


class Elbo:
    """E_q[log q(z) - log p(x, z)], with the KL divergence in closed form where that is exact."""

    def __init__(self, model: Model, guide: Model, kl: str = "auto", kl_weight: Any = 1.0):
        if kl not in ("auto", "sampled"):
            raise ModelError(f'elbo: kl must be "auto" or "sampled", not {kl!r}')
        self.model, self.guide, self.kl, self.kl_weight = model, guide, kl, kl_weight

    @property
    def argument_names(self) -> tuple[str, ...]:
        """The model's data arguments, then those that only the guide takes."""
        extra = tuple(n for n in self.guide.argument_names if n not in self.model.argument_names)
        return self.model.argument_names + extra

    def trace(self, arguments: Mapping[str, Any]) -> Trace:
        """Trace the guide, then the model on the guide's values; write one cost per term."""
        pick = lambda m: {n: arguments[n] for n in m.argument_names}  # noqa: E731
        guide = trace_model(self.guide, pick(self.guide))
        observed = [s.name for s in guide.sites.values() if s.kind is SiteKind.OBSERVED]
        if observed:
            raise ModelError(f"guide '{self.guide.name}' observes {', '.join(observed)}; only the model may observe")
        latents = {s.name: s for s in guide.random_sites()}
        model = trace_model(self.model, pick(self.model), substitute=latents)
        scored = {s.name: s for s in model.sites.values() if s.kind is SiteKind.SCORED}
        self._match(latents, scored, model)
        trace = merge_traces(guide, model)
        weight = self._weight(trace)
        for name, q in latents.items():
            self._latent_costs(trace, q, scored.get(name), weight)
        for site in model.sites.values():
            if site.kind is SiteKind.OBSERVED:
                trace.costs[f"-log p({site.name})"] = negative_log_likelihood(site)
        return trace

    def _weight(self, trace: Trace) -> Node:
        node = ops.as_node(self.kl_weight)
        if node.op == "hyper":
            trace.hypers.setdefault(node.attrs["name"], float(self.kl_weight.default))
        return node

    def _match(self, latents: dict[str, Site], scored: dict[str, Site], model: Trace) -> None:
        unmatched = [s.name for s in model.random_sites()]
        if unmatched:
            raise ModelError(
                f"elbo: latent '{unmatched[0]}' of model '{self.model.name}' ({model.sites[unmatched[0]].where}) is not "
                f"sampled by guide '{self.guide.name}', which samples {sorted(latents) or 'nothing'}"
            )
        for name, q in latents.items():
            if q.aux:
                continue
            if name not in scored:
                raise ModelError(
                    f"elbo: guide node '{name}' ({q.where}) is not in model '{self.model.name}'; "
                    "pass aux=True to ppl.sample if that is meant"
                )
            p = scored[name]
            assert q.dist is not None and p.dist is not None
            for what, a, b in (
                ("event shape", q.dist.event_shape, p.dist.event_shape),
                ("plates", tuple(x.name for x in q.axes), tuple(x.name for x in p.axes)),
                ("dtype", q.dist.dtype, p.dist.dtype),
            ):
                if a != b:
                    raise ModelError(
                        f"elbo: '{name}' has {what} {a} in the guide ({q.where}) but {b} in the model ({p.where})"
                    )

    def _latent_costs(self, trace: Trace, q: Site, p: Site | None, weight: Node) -> None:
        assert q.dist is not None and q.node is not None
        if p is not None and p.dist is not None:
            exact = self._closed_form(q, p)
            if exact is not None:
                trace.costs[f"KL({q.name})"] = Cost(f"KL({q.name})", ops.mul(weight, exact), q.where, q.axes)
                return
            log_p = ops.neg(p.dist.node_log_prob(q.node))
            trace.costs[f"-log p({q.name})"] = Cost(f"-log p({q.name})", ops.mul(weight, log_p), p.where, p.axes)
        log_q = q.dist.node_log_prob(q.node)
        trace.costs[f"log q({q.name})"] = Cost(f"log q({q.name})", ops.mul(weight, log_q), q.where, q.axes)

    def _closed_form(self, q: Site, p: Site) -> Node | None:
        assert q.dist is not None and p.dist is not None
        if self.kl != "auto" or any(n is q.node for n in topological(list(p.dist.params.values()))):
            return None
        return kl_divergence(q.dist, p.dist)


def elbo(model: Model, guide: Model, kl: str = "auto", kl_weight: Any = 1.0) -> Elbo:
    """The negative ELBO as an objective to minimise: E_q[log q(z) - log p(x, z)].

    Latents match by name, plates, event shape and dtype; one that is unmatched on either side is an error, unless the
    guide's node says `aux=True`. -log p, log q or KL are separate costs per site, named `-log p(z)`, `log q(z)`, `KL(z)`.

    Parameters
    ----------
    kl : "auto" (closed form where registered and where p's parameters do not depend on the node) or "sampled".
    kl_weight : number or `ppl.hyper(...)` that multiplies the latents' terms.

    Raises
    ------
    ModelError : latents do not match, or the guide observes data. Jordan et al. 1999; Kingma & Welling 2014.
    """
    return Elbo(model, guide, kl, kl_weight)
