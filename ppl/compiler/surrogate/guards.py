"""Guards: add NaN to the loss where a condition on parameters, observations or indices fails.

A condition that interval arithmetic does not prove becomes a *guard*: 0 where it holds, NaN where it fails. The sum of
guards is added to the loss, whose bits stay as they are, so that a violation reaches everything that looks at the loss,
a training loop in compiled code included. Conditions on data arguments are checked when these are bound
(`data_checks`); conditions on constants alone when the model is compiled. `ppl.runtime.nonfinite` names the condition
that failed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import NamedTuple

import numpy as np

from ppl.compiler.surrogate.data_checks import observed_argument, parameter_argument
from ppl.compiler.surrogate.expansion import Expansion
from ppl.distributions.bounds import bounds_of
from ppl.distributions.constraints import BoundaryValue, Condition, constant_value, in_interval, without_expand
from ppl.distributions.intervals import Interval
from ppl.distributions.observable import conditions_on_observation
from ppl.errors import ParameterError
from ppl.graph.stochastic import RandomNode
from ppl.ir import ops
from ppl.ir.differentiate import vjp
from ppl.ir.node import Node, topological
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate
from ppl.ir.rewrites.loops import merge_loops
from ppl.ir.traversal import view_of_leaf
from ppl.ir.types import Axis, Kind
from ppl.lang.loops import base_name, scan_of, sum_over_loops
from ppl.lang.trace import FormulaUse, RangeGuard, Site, SiteKind, SymbolicIndex, Trace

INDEX_SITE = "index"


def index_conditions(trace: Trace) -> Iterator[tuple[SymbolicIndex, Site, Condition]]:
    """Yield every index that is computed or drawn, a site that stands for its line, and its condition."""
    for index in trace.indices:
        node, last = index.node, index.length - 1
        if view_of_leaf(node) is None:
            interval = Interval(0.0, float(last), False, False)
            good = in_interval(interval, ops.cast(node, "float"))
            site = Site(INDEX_SITE, SiteKind.DETERMINISTIC, node.type.axes, index.where)
            wanted = f"between 0 and {last}"
            proved = bounds_of(node).within(interval)
            yield index, site, Condition("an index", wanted, node, good, node.type.shape, proved)


def mark_readers(
    trace: Trace, listed: Sequence[TracedCondition], costs: Iterable[Node], closed: Set[int] = frozenset()
) -> None:
    """Note of the reader of every condition whether `costs`, and which sites, are computed with what it reads.

    What they are computed with through a branch of a `where` in `closed` alone does not count.
    """
    if listed:
        used = _ancestor_ids(costs, closed)
        sites = {name: _ancestor_ids([s.node, s.redrawn], closed) for name, s in trace.sites.items()}
        for reader in (c.reader for c in listed if c.reader is not None):
            reader.costs = id(reader.read) in used
            reader.sites = frozenset(name for name, above in sites.items() if id(reader.read) in above)


def _ancestor_ids(nodes: Iterable[Node | None], closed: Set[int]) -> set[int]:
    """Return the ids of all nodes that `nodes` are computed with, those in the branches of closed `where` left out."""
    found: set[int] = set()
    stack = [n for n in nodes if n is not None]
    while stack:
        node = stack.pop()
        if id(node) not in found:
            found.add(id(node))
            stack += node.args[:1] if id(node) in closed else node.args
    return found


def guard_applies(guard: RangeGuard | TracedCondition, above: set[str], sites: Sequence[str] | None = None) -> bool:
    """Say whether a guard belongs to the loss, or to a sample of `sites`, which random nodes `above` lead to."""
    if guard.reader is not None:
        return guard.reader.costs if sites is None else not guard.reader.sites.isdisjoint(sites)
    return guard.name in above if guard.drawn else sites is None


def formula_conditions(trace: Trace) -> Iterator[tuple[FormulaUse, Site, Condition]]:
    """Yield the unproved conditions on a formula's parameters, with a site that stands for the formula's line."""
    for use in trace.uses:
        conditions = [c for c in use.dist.conditions() if not c.proved]
        above = {id(n) for n in topological([use.read])} if conditions else set()
        for condition in conditions:
            if _formula_reads_parameter(use, condition, above):
                name = type(use.dist).__name__
                yield use, Site(name, SiteKind.DETERMINISTIC, use.read.type.axes, use.where, use.dist), condition


def _formula_reads_parameter(use: FormulaUse, condition: Condition, above: set[int]) -> bool:
    """Say whether a formula is computed from a condition's parameter: the mean of a Normal is not from its scale."""
    if constant_value(condition.value) is not None or id(condition.value) in above:
        return True
    params = {id(without_expand(n)) for n in use.dist.params.values()}
    stack = [condition.value]
    while stack:
        node = stack.pop()
        if id(node) in params and id(node) in above:
            return True
        stack += () if id(node) in params else node.args
    return False


def explicit_selections(trace: Trace) -> set[int]:
    """Return the `where` that the model wrote, and those of masks: what stands in their branches need not count."""
    sites = [*trace.sites.values(), *trace.scored.values()]
    masks = {id(n) for s in sites if s.mask is not None for n in _mask_conjuncts(s.mask)}
    dists = [*(s.dist for s in sites if s.dist is not None), *(use.dist for use in trace.uses)]
    masks |= {id(n) for d in dists if d.event_mask is not None for n in _mask_conjuncts(d.event_mask)}
    results = [n for s in sites for n in (s.node, s.redrawn) if n is not None]
    results += [c.node for c in trace.costs.values()]
    results += [c.bound.log_weights for c in trace.costs.values() if c.bound is not None]
    found = {
        id(n)
        for n in topological(results)
        if n.op == "where" and any(id(m) in masks for m in _mask_conjuncts(n.args[0]))
    }
    return found | {id(n) for n in trace.choices}


def _mask_conjuncts(x: Node) -> list[Node]:
    """Return the masks that `x` asks for together, as they were given."""
    while x.op in ("cast", "expand", "reshape"):
        x = x.args[0]
    return [part for arg in x.args for part in _mask_conjuncts(arg)] if x.op == "and" else [x]


def condition_or_masked(site: Site, condition: Condition) -> Node:
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


LARGEST_PATH_VARIANCE = 100.0
"""Largest relative variance of a path through a mixture's cdf: below, 1 % of the samples lie between its components."""

WEIGHT_NOISE_PURPOSE = 31
"""Purpose of the noise that weighs entries, so that what moves two of them in opposite ways does not cancel."""

NodeEdge = tuple[RandomNode, BoundaryValue]


def unsampled_penalty(expansion: Expansion) -> Node | None:
    """0, but NaN where draws do not show what a derivative consists of; None where that cannot be."""
    if "unsampled" not in expansion.penalties:
        expansion.penalties["unsampled"] = _compute_unsampled_penalty(expansion)
    return expansion.penalties["unsampled"]


def _compute_unsampled_penalty(expansion: Expansion) -> Node | None:
    total: Node | None = None
    if expansion.unsampled_edges:
        total = ops.where(
            ops.less(0.0, edge_sensitivity(expansion, list(expansion.unsampled_edges.values()))), np.nan, 0.0
        )
    for rn, spread in expansion.mixture_paths.values():
        term = ops.where(samples_cross_components(expansion, spread), 0.0, np.nan)
        term = ops.reduce_sum(expansion.stack_over_steps(term, rn.site.scan))
        term = ops.sum_axes(term, [a for a in term.type.axes if a.kind is not Kind.REPEATS])
        total = term if total is None else ops.add(total, term)
    return total


def with_unsampled_penalty(surrogate: Node, expansion: Expansion) -> Node:
    """Return `surrogate`, whose gradient is NaN where the penalty is."""
    penalty = unsampled_penalty(expansion)
    return surrogate if penalty is None else ops.mul(surrogate, ops.add(1.0, penalty))


def gradients_with_unsampled_penalty(
    surrogate: Node, expansion: Expansion, leaves: Sequence[Node]
) -> list[Node | None]:
    """Return the gradients of `with_unsampled_penalty(surrogate, expansion)`.

    The penalty, a sum over all rows, multiplies the gradients and not what they are made of: rows need not be gone
    through again once it is known. Gradients of tables stay sums of scattered rows.
    """
    penalty, one = unsampled_penalty(expansion), ops.const(1.0)
    found = vjp([(surrogate, one)], leaves)
    if penalty is None:
        return found
    if any(n.op == "put" for n in topological([g for g in found if g is not None])):
        return vjp([(with_unsampled_penalty(surrogate, expansion), one)], leaves)
    factor = ops.add(1.0, penalty)
    return [g if g is None else ops.mul(g, ops.expand(factor, g.type.axes, g.type.shape)) for g in found]


def samples_cross_components(expansion: Expansion, spread: Node) -> Node:
    """Return whether enough samples lie between the components of a mixture, wherever it is drawn."""
    return expansion.reducer.mask_unreached(ops.less_equal(spread, LARGEST_PATH_VARIANCE), True)


def edge_sensitivity(expansion: Expansion, edges: Sequence[NodeEdge]) -> Node:
    """Return the sum of absolute derivatives, in all parameters, of what lies at an edge, entries weighed at random."""
    seeds = []
    for rn, edge in edges:
        there = expansion.reducer.mask_unreached(edge.there, False)
        weighed = ops.mul(edge.value, ops.stop(ops.where(there, _random_weights(expansion, rn, edge.value), 0.0)))
        seeds.append(expansion.stack_over_steps(weighed, rn.site.scan))
    total = ops.expand(ops.const(0.0), expansion.repeat_axes)
    for slope in vjp([(x, ops.const(1.0)) for x in merge_loops(seeds)], [*expansion.wrt.values()]):
        if slope is not None:
            total = ops.add(total, ops.reduce_sum(ops.absolute(slope)))
    return ops.stop(total)


def _random_weights(expansion: Expansion, rn: RandomNode, value: Node) -> Node:
    """Return numbers between 0 and 1 for the entries of `value`: noise over rows, constants over enumerated states."""
    axes, shape = value.type.axes, value.type.shape
    times = expansion.expand(rn.site.times)
    weights = ops.noise(
        base_name(rn.name), WEIGHT_NOISE_PURPOSE, [a for a in axes if a.kind is not Kind.ENUM], shape, times
    )
    for axis in axes:
        if axis.kind is Kind.ENUM:
            levels = np.random.default_rng(axis.depth).uniform(0.5, 1.0, axis.size or 1)
            weights = ops.mul(weights, ops.distribute(ops.const(levels), axis))
    return weights


OUT_OF_RANGE = "parameters out of range"
"""The array of a sampling program that is NaN where the parameters of a node are out of range."""


def find_guards(trace: Trace) -> list[RangeGuard]:
    """Find the conditions to compute: not proved, not checked when data are bound, and of a node that counts."""
    objective = objective_nodes(trace)
    used = {id(n) for n in topological(objective)}
    listed = [c for c in conditions(trace) if not c.condition.proved]
    indices = [c for c in listed if isinstance(c.reader, SymbolicIndex)]
    formulas = [c for c in listed if isinstance(c.reader, FormulaUse)]
    mark_readers(trace, indices, objective)
    mark_readers(trace, formulas, objective, explicit_selections(trace) if formulas else frozenset())
    found = [c.guard() for c in listed if c.reader is None and _is_guarded(c.site, c.condition, used)]
    return found + [c.guard() for c in (*indices, *formulas) if c.reader and (c.reader.costs or c.reader.sites)]


def _is_guarded(site: Site, condition: Condition, used: Set[int]) -> bool:
    """Say whether a node's unproved condition has to be computed; objectives are computed from the nodes `used`."""
    if condition.shows or parameter_argument(site, condition) is not None:
        return False
    return site.kind is SiteKind.RANDOM or id(without_expand(condition.value)) in used


def loss_conditions(trace: Trace) -> list[RangeGuard]:
    """Return all conditions of what the loss is computed from, proved or not: NaN breaks those that are proved."""
    above = random_ancestors(objective_nodes(trace))
    return [c.guard() for c in conditions(trace) if guard_applies(c, above)]


class TracedCondition(NamedTuple):
    """A condition of a trace and its site, which stands for the line of `reader` where an index or a formula has it."""

    site: Site
    condition: Condition
    reader: SymbolicIndex | FormulaUse | None = None

    @property
    def name(self) -> str:
        """Name of the site."""
        return self.site.name

    @property
    def drawn(self) -> bool:
        """Whether the site is that of a random node."""
        return self.site.kind is SiteKind.RANDOM

    @property
    def good(self) -> Node:
        """Truth values: the condition, or the unit does not count."""
        return condition_or_masked(self.site, self.condition)

    def guard(self) -> RangeGuard:
        """Return the guard: 0 where all truth values hold, else NaN, summed over the steps of loops over time."""
        term = ops.where(self.good, 0.0, np.nan)
        term = ops.reduce_sum(term) if term.type.shape else term
        return RangeGuard(self.name, sum_over_loops(term, scan_of(term)), self.drawn, self.condition.whole, self.reader)


def conditions(trace: Trace) -> Iterator[TracedCondition]:
    """Yield the conditions of all nodes, then those of formulas that are not proved, then those of indices."""
    yield from (TracedCondition(site, condition) for site, condition in parameter_conditions(trace))
    for listed in (formula_conditions(trace), index_conditions(trace)):
        yield from (TracedCondition(site, condition, reader) for reader, site, condition in listed)


def parameter_conditions(trace: Trace) -> Iterator[tuple[Site, Condition]]:
    """Yield the conditions of all nodes."""
    for site in (*trace.sites.values(), *trace.scored.values()):
        if site.dist is not None:
            yield from ((site, condition) for condition in site.dist.conditions())
            if site.observed is not None and not site.checked and observed_argument(site) is None:
                yield from ((site, condition) for condition in conditions_on_observation(site.dist, site.observed))


def objective_nodes(trace: Trace) -> list[Node]:
    """Return all costs, and the log-weights of multi-sample bounds."""
    bounds = [c.bound.log_weights for c in trace.costs.values() if c.bound is not None]
    return [*(c.node for c in trace.costs.values()), *bounds]


def add_guards(loss: Node, expansion: Expansion, keep: Sequence[Axis] = ()) -> Node:
    """Return `loss` with its bits; NaN where a guard that it depends on fails, over the axes `keep` and repeats."""
    term = loss_penalty(expansion, keep)
    loss = loss if term is None else ops.add(loss, term)
    term = unsampled_penalty(expansion)
    return loss if term is None else ops.add(loss, term)


def loss_penalty(expansion: Expansion, keep: Sequence[Axis] = ()) -> Node | None:
    """Return the sum of the guards of what the loss depends on; None where there are none."""
    trace = expansion.graph.trace
    above = random_ancestors(objective_nodes(trace)) if trace.guards else set()
    return sum_guards(expansion, [g for g in trace.guards if guard_applies(g, above)], keep)


def site_penalty(expansion: Expansion, sites: Sequence[str]) -> Node | None:
    """Return the sum of the guards of what the values of `sites` are drawn from; None where there are none."""
    trace = expansion.graph.trace
    above = random_ancestors(site_values(trace, sites)) if trace.guards else set()
    return sum_guards(expansion, [g for g in trace.guards if guard_applies(g, above, sites)])


def sum_guards(expansion: Expansion, guards: Sequence[RangeGuard], keep: Sequence[Axis] = ()) -> Node | None:
    """Return the sum of the guards; None where there are none.

    Relaxed samples are no whole numbers, so nothing is asked of counts that are made of them in a gradient.
    """
    total: Node | None = None
    for guard in guards:
        if guard.whole and expansion.mode == "gradient" and reads_relaxable_samples(guard.node):
            continue
        (term,) = expansion.expand([guard.node])
        term = expansion.reducer.mask_unreached(term, 0.0)
        term = ops.sum_axes(term, [a for a in term.type.axes if a.kind is not Kind.REPEATS and a not in keep])
        total = term if total is None else ops.add(total, term)
    return total


def reads_relaxable_samples(node: Node) -> bool:
    """Return whether a node is computed from samples that a relaxed estimator may soften."""
    return any(n.op == "sample" and n.attrs["site"].dist.relaxable for n in topological([node]))


def random_ancestors(nodes: Sequence[Node]) -> set[str]:
    """Return the random nodes that `nodes` are computed from."""
    return {n.attrs["site"].name for n in topological(nodes) if n.op == "sample"}


def site_values(trace: Trace, sites: Sequence[str]) -> list[Node]:
    """Return the values of sites."""
    return [node for name in sites if (node := trace.sites[name].node) is not None]


def check_constants(trace: Trace, dtype: np.dtype) -> None:
    """Raise a ParameterError for the first condition that constants fail in `dtype`; after `find_guards`."""
    for each in conditions(trace):
        site, condition, good = each.site, each.condition, each.good
        if condition.proved or good.type.axes or not (_counts_at_once(each) and _is_constant(good)):
            continue
        with np.errstate(all="ignore"):
            truth, value = evaluate([good, condition.value], Env(dtype=dtype.type))
        if not truth.all():
            at = tuple(int(i) for i in np.argwhere(~np.broadcast_to(truth, good.type.shape))[0])
            shown = np.broadcast_to(value, np.broadcast_shapes(value.shape, truth.shape))[at]
            owner = "" if site.dist is None else f" of {type(site.dist).__name__}"
            node = "" if site.kind is SiteKind.DETERMINISTIC else f"node '{site.name}': "
            text = f"{node}{condition.name}{owner} must be {condition.wanted}, not {shown} (in {dtype})"
            raise ParameterError(f"{text}\n  at {site.where}", site.name, condition.name)


def _counts_at_once(each: TracedCondition) -> bool:
    """Say whether constants that fail it are an error before any call; `find_guards` has looked at formulas."""
    if isinstance(each.reader, FormulaUse):
        return each.reader.costs or bool(each.reader.sites)
    return each.reader is None and (each.drawn or each.site.mask is not None or not each.condition.draws)


def _is_constant(node: Node) -> bool:
    return all((n.args and n.op != "sample") or n.op == "const" for n in topological([node]))
