"""Pieces that objectives share: the cost of an observation, and merging the traces of a model and a guide."""

from __future__ import annotations

import dataclasses

from ppl.distributions.support import Support
from ppl.errors import ModelError
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang.trace import Cost, Site, SiteKind, Trace

SAFE_VALUE = {Support.POSITIVE: 1.0, Support.UNIT_INTERVAL: 0.5, Support.SIMPLEX: 0.5}


def log_likelihood(site: Site) -> Node:
    """log p of an observed site, masked-out units left out, so that even NaN there cannot reach a gradient."""
    dist, value = site.dist, site.node
    assert dist is not None and value is not None
    if site.mask is None:
        return dist.node_log_prob(value)
    mask = ops.cast(site.mask, "bool")
    over_units = ops.reshape(mask, mask.type.shape + (1,) * dist.unit_rank)
    value = ops.where(over_units, value, ops.cast(ops.const(SAFE_VALUE.get(dist.support, 0.0)), value.type.dtype))
    return dist.mask(mask).node_log_prob(value)


def negative_log_likelihood(site: Site) -> Cost:
    """The cost -log p(obs) of an observed site."""
    return Cost(f"-log p({site.name})", ops.neg(log_likelihood(site)), site.where, site.axes)


def merge_traces(guide: Trace, model: Trace) -> Trace:
    """One trace of guide and model: random sites of the guide, observations and deterministics of both."""
    merged = Trace()
    for name, param in [*guide.params.items(), *model.params.items()]:
        other = merged.params.get(name)
        if other is not None and not (other.shared and param.shared):
            raise ModelError(
                f"parameter '{name}' is declared in the guide ({guide.params[name].where}) and in the model "
                f"({model.params[name].where}); rename one, or declare both with shared=True"
            )
        merged.params.setdefault(name, param)
    for part in (guide, model):
        for name, site in part.sites.items():
            if site.kind is SiteKind.SCORED:
                continue
            if name in merged.sites:
                raise ModelError(f"site '{name}' stands in the guide and in the model ({site.where})")
            merged.sites[name] = site
        for name, cost in part.costs.items():
            if name in merged.costs:
                raise ModelError(f"cost '{name}' stands in the guide and in the model ({cost.where})")
            merged.costs[name] = cost
        merged.hypers.update(part.hypers)
    for name, given in [*model.inputs.items(), *guide.inputs.items()]:
        known = merged.inputs.setdefault(name, given)
        if known.plate is None and given.plate is not None:
            raise ModelError(f"argument '{name}' opens plate '{given.plate.name}' in one of model and guide only")
    for name, axis in [*guide.plates.items(), *model.plates.items()]:
        known_axis = merged.plates.setdefault(name, axis)
        if known_axis != axis:
            raise ModelError(f"plate '{name}' differs between guide ({known_axis}) and model ({axis})")
    return merged


def copy_trace(trace: Trace, **changes: object) -> Trace:
    """A shallow copy of `trace` with fields replaced."""
    fields = {f.name: dict(getattr(trace, f.name)) for f in dataclasses.fields(trace)}
    return Trace(**{**fields, **changes})  # type: ignore[arg-type]
