"""The negative evidence lower bound of a model and a guide, as separate cost nodes per site."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ppl.arguments import choice, number, shown
from ppl.distributions.divergences import kl_divergence
from ppl.distributions.intervals import CIRCLE
from ppl.errors import ModelError, OptionError
from ppl.ir import ops
from ppl.ir.node import Node, make, topological
from ppl.ir.traversal import Upstream
from ppl.lang.loops import base_name, move_to_loop, scan_of
from ppl.lang.model import Model
from ppl.lang.trace import Site, SiteKind, Trace, cost_per_step
from ppl.lang.tracing import trace_model
from ppl.names import keywords
from ppl.objectives.base import add_factor_costs, guide_arguments, observation_cost, require_models


def own_log_density(q: Site) -> Node:
    """log q of a guide's latent at its own sample, marked so that estimators can stop its parameters."""
    assert q.dist is not None and q.node is not None
    return make("own_density", q.dist.node_log_prob(q.node), name=q.name)


def model_sites_by_guide_node(trace: Trace) -> defaultdict[str, list[Site]]:
    """The model's sites that take their value from each guide node: one, or one for every step of a loop; or none."""
    found: defaultdict[str, list[Site]] = defaultdict(list)
    for known, site in trace.scored.items():
        for name in dict.fromkeys((known, base_name(known))):
            found[name].append(site)
    return found


def require_matching_latents(owner: str, model: Model, guide: Model, latents: Mapping[str, Site], trace: Trace) -> None:
    """Raise a ModelError unless the guide samples what the model does, and nothing else but `aux` nodes."""
    for site in trace.random_sites():
        if site.name not in latents:
            raise ModelError(
                f"{owner}: latent '{site.name}' of model '{model.name}' ({site.where}) is not sampled by guide "
                f"'{guide.name}', which samples {sorted(latents) or 'nothing'}"
            )
    require_model_sites(owner, model, latents, trace)
    model_sites = model_sites_by_guide_node(trace)
    for name, q in latents.items():
        for site in (q, *model_sites[name]):
            if site.active is not None:
                raise ModelError(
                    f"{owner}: latent '{base_name(name)}' stands in a loop with until ({site.where}): rows have no "
                    "density after they stop. For sequences of different lengths, mask what is observed (obs_mask)"
                )


def require_model_sites(owner: str, model: Model, latents: Mapping[str, Site], trace: Trace) -> None:
    """Raise a ModelError where the guide samples what the model does not, other than `aux` nodes."""
    model_sites = model_sites_by_guide_node(trace)
    for name, q in latents.items():
        if not model_sites[name] and not q.aux:
            raise ModelError(
                f"{owner}: guide node '{name}' ({q.where}) is not in model '{model.name}'; "
                "pass aux=True to ppl.sample if that is meant"
            )


class Elbo:
    """E_q[log q(z) - log p(x, z)], with the KL divergence in closed form where that is exact."""

    def __init__(self, model: Model, guide: Model, kl: str = "auto", kl_weight: Any = 1.0):
        require_models("elbo", model=model, guide=guide)
        choice("elbo: kl", kl, ("auto", "sampled"), ModelError)
        if getattr(kl_weight, "__ppl_node__", None) is None and not number("elbo: kl_weight", kl_weight) >= 0.0:
            raise OptionError(f"elbo: kl_weight must not be negative, not {shown(kl_weight)}")
        self.model, self.guide, self.kl, self.kl_weight = model, guide, kl, kl_weight

    @property
    def argument_names(self) -> tuple[str, ...]:
        """The model's data arguments, then those that only the guide takes."""
        return guide_arguments(self.model, self.guide)

    def trace(self, arguments: Mapping[str, Any]) -> Trace:
        """Trace the guide, then the model on the guide's values; write one cost per term."""
        trace = trace_model(self.guide, arguments, allow_obs=False)
        latents = {s.name: s for s in trace.random_sites()}
        trace_model(self.model, arguments, into=trace, substitute=latents)
        require_matching_latents("elbo", self.model, self.guide, latents, trace)
        weight = self._kl_weight_node(trace)
        model_sites = model_sites_by_guide_node(trace)
        upstream = Upstream(p.node for p in trace.scored.values() if p.node is not None)
        for name, q in latents.items():
            self._latent_costs(trace, q, model_sites[name], weight, upstream)
        for site in list(trace.sites.values()):
            if site.kind is SiteKind.OBSERVED:
                trace.costs[f"-log p({site.name})"] = observation_cost(site)
        add_factor_costs(trace.factors.values(), trace)
        return trace

    def _kl_weight_node(self, trace: Trace) -> Node:
        node = ops.as_node(self.kl_weight)
        if node.op == "hyper":
            trace.hypers.setdefault(node.attrs["name"], float(self.kl_weight.default))
            trace.least[node.attrs["name"]] = 0.0
        return node

    def _latent_costs(
        self, trace: Trace, q: Site, model_sites: Sequence[Site], weight: Node, upstream: Upstream
    ) -> None:
        assert q.dist is not None and q.node is not None

        def add(name: str, value: Node, site: Site) -> None:
            """One cost a row: a divergence that no parameter makes vary over the rows still counts once for each."""
            value = ops.expand(ops.mul(weight, value), q.axes)
            trace.costs[name] = cost_per_step(name, value, site.where, q.axes, site.scan, site.active)

        for p in model_sites:
            assert p.dist is not None and p.node is not None
            if p.dist.angular and not q.dist.bounds.within(CIRCLE):
                raise ModelError(
                    f"elbo: guide node '{q.name}' ({q.where}) is a {type(q.dist).__name__}, whose samples can leave "
                    f"(-pi, pi], outside of which the model's {type(p.dist).__name__} is no density"
                )
            exact = self._closed_form(q, p, upstream)
            if exact is not None:
                add(f"KL({q.name})", exact, p)
                return
            add(f"-log p({p.name})", ops.neg(p.dist.node_log_prob(p.node)), p)
        add(f"log q({q.name})", own_log_density(q), q)

    def _closed_form(self, q: Site, p: Site, upstream: Upstream) -> Node | None:
        assert q.dist is not None and p.dist is not None and p.node is not None
        if self.kl != "auto" or any(upstream.leads(p.node, n) for n in p.dist.params.values()):
            return None
        if q.dist.event_shape != p.dist.event_shape:
            return None  # the law of one step of a loop, of which the guide's node has all
        if (q.scan, p.scan) == (None, None):
            return kl_divergence(q.dist, p.dist)
        if not _is_conditioned_on_past_only(q, p):
            return None
        params = tuple(move_to_loop(n, q.scan, p.scan) for n in q.dist.params.values())
        return kl_divergence(q.dist.with_params(params), p.dist)


def _is_conditioned_on_past_only(q: Site, p: Site) -> bool:
    """Whether in loops over time the model's law of a step has, of the guide's samples, only those of earlier steps.

    Then the divergence of a step is an expectation given these. A guide that runs backwards, or a model that reads
    samples of later steps from their stack, makes the law depend on the sample itself.
    """
    if q.scan is None or p.scan is None or p.dist is None:
        return False
    if [(s.length, s.reverse) for s in q.scan.chain] != [(s.length, s.reverse) for s in p.scan.chain]:
        return False
    inside = topological([*p.dist.params.values(), *(out for scan in p.scan.chain for out in scan.outs)])
    read = [scan.slices[n] for scan in p.scan.chain for n in inside if n in scan.slices and n is not p.node]
    read += [n for n in inside if n.op in ("stacked", "final") and scan_of(n) is None]
    read += [init for scan in p.scan.chain for init in scan.inits]
    return all(n.op != "sample" or n.attrs["site"] is not q for n in topological(read))


@keywords
def elbo(model: Model, guide: Model, kl: str = "auto", kl_weight: Any = 1.0) -> Elbo:
    """The negative ELBO as an objective to minimise: E_q[log q(z) - log p(x, z)].

    Latents of model and guide match by name, plates, event shape and dtype. A latent without a match is an error,
    unless it is a node of the guide that says `aux=True`. Every term is a separate cost, named `-log p(z)`, `log q(z)`
    or `KL(z)`.

    Parameters
    ----------
    kl : "auto" (closed form where registered and where p's parameters do not depend on the node) or "sampled".
    kl_weight : number or `ppl.hyper(...)` that multiplies the latents' terms.

    Raises
    ------
    OptionError
        `kl_weight` is negative or no finite number.
    ModelError
        Latents do not match; the model's latent is an angle and the guide's samples may leave (-pi, pi]; or the guide
        observes data.

    References
    ----------
    Jordan et al. 1999; Kingma & Welling 2014.
    """
    return Elbo(model, guide, kl, kl_weight)
