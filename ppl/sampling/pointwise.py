"""Log-likelihoods of observations entry by entry, and observed data, as sites that a program can sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang.trace import Site, SiteKind, Trace
from ppl.objectives.base import Objective

LOG_LIKELIHOOD, DATA = "log-likelihood of ", "data of "
"""What the names of such sites begin with."""


class Pointwise:
    """An objective whose trace has these sites besides; costs are those of `base`."""

    def __init__(self, base: Objective):
        self.base, self.model = base, base.model
        if hasattr(base, "guide"):
            self.guide = base.guide

    @property
    def argument_names(self) -> tuple[str, ...]:
        """Those of the objective."""
        return self.base.argument_names

    def trace(self, arguments: Mapping[str, Any]) -> Trace:
        """The objective's trace, with the sites."""
        trace = self.base.trace(arguments)
        add_pointwise(trace)
        return trace


def add_pointwise(trace: Trace) -> None:
    """Add log-likelihood and data of every observed site."""
    for name, site in list(trace.sites.items()):
        if site.kind is SiteKind.OBSERVED:
            trace.sites[LOG_LIKELIHOOD + name] = _seen(site, LOG_LIKELIHOOD, _log_likelihood(site))
            trace.sites[DATA + name] = _seen(site, DATA, _data(site))


def _seen(site: Site, prefix: str, node: Node) -> Site:
    node = ops.expand(node, site.axes)
    seen = Site(prefix + site.name, SiteKind.DETERMINISTIC, site.axes, site.where, node=node)
    seen.scan, seen.times, seen.active = site.scan, site.times, site.active
    return seen


def _log_likelihood(site: Site) -> Node:
    """A number for each unit of the observation, which is a scalar or a vector of a multivariate law; 0 where masked.

    It is that of the data in draws of the posterior predictive, too, where a draw stands for a masked `site.node`.
    """
    dist, value = site.dist, site.node
    assert dist is not None and value is not None
    value = value if site.mask is None else value.args[0]
    units = dist.unit_log_prob(ops.expand(value, (), dist.event_shape))
    for mask in (site.mask, dist.event_mask):
        units = units if mask is None else ops.where(mask, units, 0.0)
    return units


def _data(site: Site) -> Node:
    """The observation, NaN in units that a mask drops."""
    dist, value = site.dist, site.observed
    assert dist is not None and value is not None
    if site.mask is None:
        return value
    unit = ops.reshape(site.mask, (*site.mask.type.shape, *(1,) * dist.unit_rank))
    return ops.where(ops.expand(unit, (), value.type.shape), ops.cast(value, "float"), float("nan"))
