"""Formulas of distributions in a model (`Normal(0, a).cdf(x)`): the conditions of their parameters, and who is computed
with their results.

A formula is finite for many parameters that its distribution does not have. A loss or a site that is computed with
one is refused, as that of a random node would be. A result that the model's own `np.where`, or a mask, chooses is left
alone: the model says itself where it counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ppl.compiler.surrogate.conditions.indices import find_readers
from ppl.distributions.domain.checks import constant_value
from ppl.distributions.domain.conditions import Condition, unexpanded
from ppl.ir import ops
from ppl.ir.node import Node, topological
from ppl.lang.time.record import scan_of, total
from ppl.lang.trace import Guard, Site, SiteKind, Trace, Use


def use_conditions(trace: Trace) -> Iterator[tuple[Use, Site, Condition]]:
    """The unproved conditions on a formula's parameters, with a site that stands for the formula's line."""
    for use in trace.uses:
        conditions = [c for c in use.dist.conditions() if not c.proved]
        above = {id(n) for n in topological([use.read])} if conditions else set()
        for condition in conditions:
            if _matters(use, condition, above):
                name = type(use.dist).__name__
                yield use, Site(name, SiteKind.DETERMINISTIC, use.read.type.axes, use.where, use.dist), condition


def _matters(use: Use, condition: Condition, above: set[int]) -> bool:
    """Whether a formula is computed from the parameter of a condition: the mean of a Normal is not from its scale."""
    if constant_value(condition.value) is not None or id(condition.value) in above:
        return True
    params = {id(unexpanded(n)) for n in use.dist.params.values()}
    stack = [condition.value]
    while stack:
        node = stack.pop()
        if id(node) in params and id(node) in above:
            return True
        stack += () if id(node) in params else node.args
    return False


def guards_of_uses(trace: Trace, costs: Sequence[Node]) -> list[Guard]:
    """The guards of the formulas that `costs` or sites are computed with."""
    listed = list(use_conditions(trace))
    if listed:
        find_readers(trace, [use for use, _, _ in listed], costs, closed_choices(trace))
    counted = [(use, site, c) for use, site, c in listed if use.costs or use.sites]
    return [Guard(site.name, all_steps(guard_term(allowed(site, c))), False, c.whole, use) for use, site, c in counted]


def closed_choices(trace: Trace) -> set[int]:
    """The `where` that the model wrote, and those of masks: what stands in their branches need not count."""
    sites = [*trace.sites.values(), *trace.scored.values()]
    masks = {id(n) for s in sites if s.mask is not None for n in _masks(s.mask)}
    dists = [*(s.dist for s in sites if s.dist is not None), *(use.dist for use in trace.uses)]
    masks |= {id(n) for d in dists if d.event_mask is not None for n in _masks(d.event_mask)}
    results = [n for s in sites for n in (s.node, s.redrawn) if n is not None]
    results += [c.node for c in trace.costs.values()]
    results += [c.bound.log_weights for c in trace.costs.values() if c.bound is not None]
    found = {id(n) for n in topological(results) if n.op == "where" and any(id(m) in masks for m in _masks(n.args[0]))}
    return found | {id(n) for n in trace.choices}


def _masks(x: Node) -> list[Node]:
    """The masks that `x` asks for together, as they were given."""
    while x.op in ("cast", "expand", "reshape"):
        x = x.args[0]
    return [part for arg in x.args for part in _masks(arg)] if x.op == "and" else [x]


def all_steps(term: Node) -> Node:
    """A guard of a step of a loop over time, summed over the steps."""
    return total(term, scan_of(term))


def guard_term(good: Node) -> Node:
    """0 where all truth values hold, else NaN."""
    term = ops.where(good, 0.0, np.nan)
    return ops.reduce_sum(term) if term.type.shape else term


def allowed(site: Site, condition: Condition) -> Node:
    """Truth values: the condition, or the unit does not count."""
    good, dist = condition.good, site.dist
    if site.active is not None:
        good = ops.logical_or(good, ops.expand(ops.logical_not(site.active), (), good.type.shape))
    if dist is None:
        return good
    for mask in (dist.event_mask, site.mask):
        if mask is not None:
            tail = len(condition.shape) - len(dist.batch_of_units)
            expanded = ops.expand(ops.reshape(mask, (*mask.type.shape, *(1,) * tail)), (), condition.shape)
            good = ops.logical_or(ops.expand(good, (), condition.shape), ops.logical_not(expanded))
    return good
