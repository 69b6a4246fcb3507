"""The cost of an observation, shared by the objectives."""

from __future__ import annotations

from collections.abc import Iterable

from ppl.ir import ops
from ppl.ir.node import Node
from ppl.lang.time.costs import step_cost
from ppl.lang.trace import Cost, Factor, Site, Trace


def log_likelihood(site: Site) -> Node:
    """log p of an observed site. Masked-out entries hold a filler value and do not count, so NaN cannot leak."""
    dist = site.dist
    assert dist is not None and site.node is not None
    return (dist if site.mask is None else dist.mask(site.mask)).node_log_prob(site.node)


def step_log_likelihood(site: Site) -> Node:
    """log p of an observed site in a step of its loops; 0 in rows that have stopped."""
    found = log_likelihood(site)
    return found if site.active is None else ops.where(site.active, found, 0.0)


def negative_log_likelihood(site: Site) -> Cost:
    """The cost -log p(obs) of an observed site."""
    name = f"-log p({site.name})"
    return step_cost(name, ops.neg(log_likelihood(site)), site.where, site.axes, site.scan, site.active)


def step_log_weight(factor: Factor) -> Node:
    """The logarithm of a factor in a step of its loops; 0 in rows that have stopped."""
    return factor.node if factor.active is None else ops.where(factor.active, factor.node, 0.0)


def add_factor_costs(factors: Iterable[Factor], trace: Trace) -> None:
    """Give factors of the model their costs, -log_weight."""
    for factor in factors:
        name = f"-factor({factor.name})"
        value = ops.neg(factor.node)
        trace.costs[name] = step_cost(name, value, factor.where, factor.axes, factor.scan, factor.active)
