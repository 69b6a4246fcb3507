"""Objectives: the contract of what is minimised, the expected cost of a model, and the costs of observations and
factors.

An objective turns data arguments into one trace whose costs are to be averaged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from ppl.arguments import shown
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang.model import Model
from ppl.lang.trace import Cost, Factor, Site, SiteKind, Trace, cost_per_step
from ppl.lang.tracing import trace_model


class Objective(Protocol):
    """The contract of an objective of a model."""

    model: Model

    @property
    def argument_names(self) -> tuple[str, ...]:
        """Names of the data arguments, in order."""
        ...

    def trace(self, arguments: Mapping[str, Any]) -> Trace:
        """The trace of the objective for example data; its `costs` are all the terms."""
        ...


class ExpectedCost:
    """E[sum of the costs that a model declares]."""

    def __init__(self, model: Model):
        self.model = model

    @property
    def argument_names(self) -> tuple[str, ...]:
        """Names of the model's data arguments."""
        return self.model.arguments

    def trace(self, arguments: Mapping[str, Any]) -> Trace:
        """Trace the model; observations without an objective are an error."""
        trace = trace_model(self.model, dict(arguments))
        observed = [s.name for s in trace.sites.values() if s.kind is SiteKind.OBSERVED]
        if observed:
            raise ModelError(
                f"model '{self.model.name}' observes {', '.join(observed)} but has no objective: "
                "wrap it in ppl.elbo(model, guide) or ppl.likelihood(model)"
            )
        if trace.factors:
            raise ModelError(
                f"model '{self.model.name}' has factors ({', '.join(trace.factors)}) but no objective: wrap it in "
                "ppl.nce(model, noise, k) or ppl.elbo(model, guide), or declare ppl.cost(name, -log_weight)"
            )
        if not trace.costs:
            raise ModelError(f"model '{self.model.name}' declares no ppl.cost, so there is nothing to minimise")
        return trace


def guide_arguments(model: Model, guide: Model) -> tuple[str, ...]:
    """The model's data arguments, then those that only the guide takes."""
    return model.arguments + tuple(n for n in guide.arguments if n not in model.arguments)


def require_models(owner: str, **given: Any) -> None:
    """Raise a ModelError unless all of `given` are `@ppl.model` functions."""
    for role, value in given.items():
        if not isinstance(value, Model):
            raise ModelError(f"{owner}: the {role} is a function decorated with @ppl.model, not {shown(value)}")


def as_objective(value: Any) -> Objective:
    """`value` if it is an objective, the expected cost of a model otherwise."""
    if isinstance(value, Model):
        return ExpectedCost(value)
    if hasattr(value, "trace") and hasattr(value, "argument_names"):
        return value
    raise ModelError(f"ppl.compile takes a @ppl.model or an objective such as ppl.elbo(...), not {shown(value)}")


def log_likelihood(site: Site) -> Node:
    """log p of an observed site. Masked-out entries hold a filler value and do not count, so NaN cannot leak."""
    dist = site.dist
    assert dist is not None and site.node is not None
    return (dist if site.mask is None else dist.mask(site.mask)).node_log_prob(site.node)


def log_likelihood_in_step(site: Site) -> Node:
    """log p of an observed site in a step of its loops; 0 in rows that have stopped."""
    found = log_likelihood(site)
    return found if site.active is None else ops.where(site.active, found, 0.0)


def observation_cost(site: Site) -> Cost:
    """The cost -log p(obs) of an observed site."""
    name = f"-log p({site.name})"
    return cost_per_step(name, ops.neg(log_likelihood(site)), site.where, site.axes, site.scan, site.active)


def factor_log_weight_in_step(factor: Factor) -> Node:
    """The logarithm of a factor in a step of its loops; 0 in rows that have stopped."""
    return factor.node if factor.active is None else ops.where(factor.active, factor.node, 0.0)


def add_factor_costs(factors: Iterable[Factor], trace: Trace) -> None:
    """Give factors of the model their costs, -log_weight."""
    for factor in factors:
        name = f"-factor({factor.name})"
        value = ops.neg(factor.node)
        trace.costs[name] = cost_per_step(name, value, factor.where, factor.axes, factor.scan, factor.active)
