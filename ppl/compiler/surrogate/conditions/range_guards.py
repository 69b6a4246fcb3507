"""Conditions on parameters, observations and indices as guards of the loss: found at no cost where nothing is wrong.

A condition on a parameter (`Distribution.conditions`), on a computed observation or on an index that interval
arithmetic does not prove becomes a *guard*: 0 where it holds, NaN where it fails, summed and added to the loss, whose
bits stay as they are. So a violation reaches everything that looks at the loss, a training loop in compiled code
included, even where densities and samples would have been finite. Arguments that are one of these as they stand are
checked when they are bound (`checks.py`) instead. `ppl.runtime.violations` names the condition that failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ppl.compiler.surrogate.conditions.blind import blind_penalty
from ppl.compiler.surrogate.conditions.checks import fed_by, observed_argument
from ppl.compiler.surrogate.conditions.indices import (
    INDEX,
    concerned,
    find_readers,
    index_conditions,
    reader_concerns,
)
from ppl.compiler.surrogate.conditions.uses import all_steps, allowed, guard_term, guards_of_uses, use_conditions
from ppl.compiler.surrogate.expansion import Expansion
from ppl.distributions.domain.conditions import Condition, unexpanded
from ppl.distributions.domain.observable import observed_conditions
from ppl.ir import ops
from ppl.ir.node import Node, topological
from ppl.ir.types import Axis, Kind
from ppl.lang.trace import Guard, Site, SiteKind, Trace

INVALID = "parameters out of range"
"""The array of a sampling program that is NaN where the parameters of a node are out of range."""


def find_guards(trace: Trace) -> list[Guard]:
    """The conditions that must be computed: not proved, not checked when data are bound, and of a node that counts."""
    used = {id(n) for n in topological(results_of(trace))}
    found = []
    for site, condition in parameter_conditions(trace):
        if condition.proved or condition.shows or fed_by(site, condition) is not None:
            continue
        if site.kind is SiteKind.RANDOM or id(unexpanded(condition.value)) in used:
            term = all_steps(guard_term(allowed(site, condition)))
            found.append(Guard(site.name, term, site.kind is SiteKind.RANDOM, condition.whole))
    listed = [(index, condition) for index, _, condition in index_conditions(trace) if not condition.proved]
    find_readers(trace, [index for index, _ in listed], results_of(trace))
    found += [Guard(INDEX, all_steps(guard_term(c.good)), False, False, i) for i, c in listed if i.costs or i.sites]
    return found + guards_of_uses(trace, results_of(trace))


def conditions_of_loss(trace: Trace) -> list[Guard]:
    """All conditions of what the loss is computed from, proved or not: NaN breaks those that are proved."""
    above = drawn(results_of(trace))
    found = [
        Guard(site.name, all_steps(guard_term(allowed(site, condition))), False, condition.whole)
        for site, condition in parameter_conditions(trace)
        if site.kind is not SiteKind.RANDOM or site.name in above
    ]
    for listed in (use_conditions(trace), index_conditions(trace)):
        for reader, site, condition in listed:
            if reader_concerns(reader, None):
                found.append(Guard(site.name, all_steps(guard_term(allowed(site, condition))), False, condition.whole))
    return found


def parameter_conditions(trace: Trace) -> Iterator[tuple[Site, Condition]]:
    """The conditions of all nodes."""
    for site in (*trace.sites.values(), *trace.scored.values()):
        if site.dist is not None:
            yield from ((site, condition) for condition in site.dist.conditions())
            if site.observed is not None and not site.checked and observed_argument(site) is None:
                yield from ((site, condition) for condition in observed_conditions(site.dist, site.observed))


def results_of(trace: Trace) -> list[Node]:
    """All costs, and the log-weights of multi-sample bounds."""
    bounds = [c.bound.log_weights for c in trace.costs.values() if c.bound is not None]
    return [*(c.node for c in trace.costs.values()), *bounds]


def guarded(loss: Node, expansion: Expansion, keep: Sequence[Axis] = ()) -> Node:
    """`loss` with its bits; NaN where a guard of a node that it depends on fails, over the axes `keep` and repeats."""
    term = penalty_of_loss(expansion, keep)
    loss = loss if term is None else ops.add(loss, term)
    term = blind_penalty(expansion)
    return loss if term is None else ops.add(loss, term)


def penalty_of_loss(expansion: Expansion, keep: Sequence[Axis] = ()) -> Node | None:
    """The sum of the guards of what the loss depends on; None where there are none."""
    trace = expansion.graph.trace
    above = drawn(results_of(trace)) if trace.guards else set()
    return penalty(expansion, [g for g in trace.guards if concerned(g, above)], keep)


def penalty_of_sites(expansion: Expansion, sites: Sequence[str]) -> Node | None:
    """The sum of the guards of what the values of `sites` are drawn from; None where there are none."""
    trace = expansion.graph.trace
    above = drawn(values_of(trace, sites)) if trace.guards else set()
    return penalty(expansion, [g for g in trace.guards if concerned(g, above, sites)])


def penalty(expansion: Expansion, guards: Sequence[Guard], keep: Sequence[Axis] = ()) -> Node | None:
    """The sum of the guards; None where there are none.

    Relaxed samples are no whole numbers, so nothing is asked of counts that are made of them in a gradient.
    """
    total: Node | None = None
    for guard in guards:
        if guard.whole and expansion.mode == "gradient" and relaxed(guard.node):
            continue
        (term,) = expansion.walk([guard.node])
        term = expansion.reducer.reached(term, 0.0)
        term = ops.sum_axes(term, [a for a in term.type.axes if a.kind is not Kind.REPEATS and a not in keep])
        total = term if total is None else ops.add(total, term)
    return total


def relaxed(node: Node) -> bool:
    """Whether a node is computed from samples that a relaxed estimator may soften."""
    return any(n.op == "sample" and n.attrs["site"].dist.relaxable for n in topological([node]))


def drawn(nodes: Sequence[Node]) -> set[str]:
    """The random nodes that `nodes` are computed from."""
    return {n.attrs["site"].name for n in topological(nodes) if n.op == "sample"}


def values_of(trace: Trace, sites: Sequence[str]) -> list[Node]:
    """The values of sites."""
    return [node for name in sites if (node := trace.sites[name].node) is not None]
