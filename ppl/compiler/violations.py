"""Parameters, observations and indices out of range at run time: found at no cost where nothing is wrong, then named.

A condition on a parameter (`Distribution.conditions`), on a computed observation or on an index that interval
arithmetic does not prove becomes a *guard*: 0
where it holds, NaN where it fails, summed and added to the loss, whose bits stay as they are. So a violation reaches
everything that looks at the loss, a training loop in compiled code included, even where densities and samples would
have been finite. Arguments that are one of these as they stand are checked when they are bound (`checks.py`) instead.
Whoever finds the loss not finite asks `violation`, which evaluates all conditions in the interpreter and names the
first one that fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ppl.compiler.bind import Bound
from ppl.compiler.blind import blind_penalty, crosses, movement
from ppl.compiler.checks import fed_by, observed_argument
from ppl.compiler.expand import Expansion
from ppl.compiler.indices import INDEX, concerned, find_readers, index_conditions, reader_concerns
from ppl.compiler.uses import allowed, guard_term, guards_of_uses, use_conditions
from ppl.distributions.conditions import Condition, narrowest
from ppl.distributions.observable import observed_conditions
from ppl.errors import ParameterError
from ppl.estimators.base import Estimator
from ppl.ir import ops
from ppl.ir.interpret import Env, evaluate
from ppl.ir.node import Node, topological
from ppl.ir.simplify import simplify
from ppl.ir.types import Axis, Kind
from ppl.lang.trace import Guard, Index, Site, SiteKind, Trace, Use

if TYPE_CHECKING:
    from ppl.compiler.compiled import Compiled

INVALID = "parameters out of range"
"""The array of a sampling program that is NaN where the parameters of a node are out of range."""


def find_guards(trace: Trace) -> list[Guard]:
    """The conditions that must be computed: not proved, not checked when data are bound, and of a node that counts."""
    used = {id(n) for n in topological(_results(trace))}
    found = []
    for site, condition in _conditions(trace):
        if condition.proved or condition.shows or fed_by(site, condition) is not None:
            continue
        if site.kind is SiteKind.RANDOM or id(narrowest(condition.value)) in used:
            term = guard_term(allowed(site, condition))
            found.append(Guard(site.name, term, site.kind is SiteKind.RANDOM, condition.whole))
    listed = [(index, condition) for index, _, condition in index_conditions(trace) if not condition.proved]
    find_readers(trace, [index for index, _ in listed], _results(trace))
    found += [Guard(INDEX, guard_term(c.good), False, False, i) for i, c in listed if i.costs or i.sites]
    return found + guards_of_uses(trace, _results(trace))


def _conditions(trace: Trace) -> Iterator[tuple[Site, Condition]]:
    """The conditions of all nodes."""
    for site in (*trace.sites.values(), *trace.scored.values()):
        if site.dist is not None:
            yield from ((site, condition) for condition in site.dist.conditions())
            if site.observed is not None and not site.checked and observed_argument(site) is None:
                yield from ((site, condition) for condition in observed_conditions(site.dist, site.observed))


def _results(trace: Trace) -> list[Node]:
    bounds = [c.bound.log_weights for c in trace.costs.values() if c.bound is not None]
    return [*(c.node for c in trace.costs.values()), *bounds]


def guarded(loss: Node, expansion: Expansion, keep: Sequence[Axis] = ()) -> Node:
    """`loss` with its bits; NaN where a guard of a node that it depends on fails, over the axes `keep` and repeats."""
    trace = expansion.graph.trace
    if trace.guards:
        above = drawn(_results(trace))
        term = penalty(expansion, [g for g in trace.guards if concerned(g, above)], keep)
        loss = loss if term is None else ops.add(loss, term)
    term = blind_penalty(expansion)
    return loss if term is None else ops.add(loss, term)


def penalty(expansion: Expansion, guards: Sequence[Guard], keep: Sequence[Axis] = ()) -> Node | None:
    """The sum of the guards; None where there are none.

    Relaxed samples are no whole numbers, so nothing is asked of counts that are made of them in a gradient.
    """
    total: Node | None = None
    for guard in guards:
        if guard.whole and expansion.mode == "gradient" and _relaxed(guard.node):
            continue
        (term,) = expansion.walk([guard.node])
        term = expansion.reducer.reached(term, 0.0)
        term = ops.sum_axes(term, [a for a in term.type.axes if a.kind is not Kind.REPEATS and a not in keep])
        total = term if total is None else ops.add(total, term)
    return total


def _relaxed(node: Node) -> bool:
    return any(n.op == "sample" and n.attrs["site"].dist.relaxable for n in topological([node]))


def drawn(nodes: Sequence[Node]) -> set[str]:
    """The random nodes that `nodes` are computed from."""
    return {n.attrs["site"].name for n in topological(nodes) if n.op == "sample"}


class Violation(NamedTuple):
    """A condition that failed: node, parameter, the clause that says what it is and should be, its value."""

    site: Site
    parameter: str
    text: str
    value: float

    def error(self) -> ParameterError:
        """What is raised where nothing else went wrong before."""
        name = self.site.name
        if self.site.kind is SiteKind.DETERMINISTIC:
            return ParameterError(f"{self.text}\n  at {self.site.where}", name, self.parameter)
        return ParameterError(f"node '{name}': {self.text}\n  at {self.site.where}", name, self.parameter)


def values_of(trace: Trace, sites: Sequence[str]) -> list[Node]:
    """The values of sites."""
    return [node for name in sites if (node := trace.sites[name].node) is not None]


def violation(
    compiled: Compiled, mode: str, env: Env, bound: Bound, sites: Sequence[str] = (),
    plan: Mapping[str, Estimator] | None = None,
) -> Violation | None:  # fmt: skip
    """The first condition that fails in an evaluation, or None; of a sample, among the nodes that `sites` come from."""
    trace = compiled.trace
    if plan is None:
        plan = {} if mode == "sample" else compiled.plan.estimators
    expansion = Expansion(compiled.graph, plan, mode)  # type: ignore[arg-type]
    expansion.run()
    above = drawn(_results(trace) if mode != "sample" else values_of(trace, sites))
    listed = [
        (site, condition)
        for site, condition in _conditions(trace)
        if (site.name in above if site.kind is SiteKind.RANDOM else mode != "sample")
    ]
    asked = sites if mode == "sample" else None
    readers: list[tuple[Index | Use, Site, Condition]] = [*use_conditions(trace), *index_conditions(trace)]
    listed += [(site, c) for reader, site, c in readers if reader_concerns(reader, asked)]
    outputs = [n for site, c in listed for n in (c.value, allowed(site, c))]
    walked = [ops.pick(n) for n in expansion.walk(simplify(outputs))]
    walked[1::2] = [expansion.reducer.reached(n, True) for n in walked[1::2]]
    values = evaluate(walked, env)
    for i, (site, condition) in enumerate(listed):
        soft = mode == "gradient" and condition.whole and _relaxed(condition.value)
        value, good = walked[2 * i : 2 * i + 2]
        if not soft and not values[2 * i + 1].all():
            return _named(site, condition, (value, values[2 * i]), (good, values[2 * i + 1]), bound)
    return _at_edge(expansion, env, bound) or _across(expansion, env, bound)


def _at_edge(expansion: Expansion, env: Env, bound: Bound) -> Violation | None:
    """The first probability of 0 or 1 that a parameter moves under an estimator that sees draws only, or None."""
    for rn, edge in expansion.edges.values():
        there = expansion.reducer.reached(edge.there, False)
        moved, truth, value = evaluate([movement(expansion, [(rn, edge)]), there, edge.value], env)
        if not np.any(moved > 0):
            continue
        at = tuple(int(i) for i in np.argwhere(truth)[0])
        shown = float(_entry((edge.value, value), there, at))
        label = type(expansion.plan[rn.name]).__name__
        text = (
            f"{edge.name} of {type(rn.dist).__name__} is {shown:g}{place(there, at, bound)}, and a parameter moves it: "
            f"what has probability 0 is never drawn, so {label} would miss its share of the derivative; name Enumerate "
            f"or MeasureValued for this node, or keep {edge.name} inside its range"
        )
        return Violation(rn.site, edge.name, text, shown)
    return None


def _across(expansion: Expansion, env: Env, bound: Bound) -> Violation | None:
    """The first mixture whose path its samples do not show, or None."""
    for rn, spread in expansion.crossings.values():
        good = crosses(expansion, spread)
        truth, value = evaluate([good, ops.pick(spread)], env)
        if truth.all():
            continue
        at = tuple(int(i) for i in np.argwhere(~truth)[0])
        shown = float(_entry((ops.pick(spread), value), good, at))
        label = type(expansion.plan[rn.name]).__name__
        text = (
            f"the components of {type(rn.dist).__name__} stand apart{place(good, at, bound)}: about one sample in "
            f"{shown:.3g} lies between them, and these alone carry what the weights move along a path through the cdf, "
            f"so {label} would miss it; name SumComponents or ScoreFunction for this node"
        )
        return Violation(rn.site, "weights", text, shown)
    return None


def _named(
    site: Site, condition: Condition, value: tuple[Node, Any], good: tuple[Node, Any], bound: Bound
) -> Violation:
    node, truth = good
    at = tuple(int(i) for i in np.argwhere(~truth)[0])
    shown = _entry(value, node, at)
    owner = "" if site.dist is None else f" of {type(site.dist).__name__}"
    text = f"{condition.name}{owner} must be {condition.wanted}, not {shown}"
    text += f"{place(node, at, bound)}{_sources(condition.good)}"
    return Violation(site, condition.name, text, float(shown))


def _entry(value: tuple[Node, Any], like: Node, at: tuple[int, ...]) -> Any:
    """The entry of a parameter where a condition of type `like` fails."""
    (node, array), axes = value, like.type.axes
    own = tuple(at[axes.index(a)] for a in node.type.axes)
    event = at[len(axes) :]
    shape = node.type.shape
    event = event[len(event) - len(shape) :] if len(event) >= len(shape) else event
    return array[own + tuple(i if n > 1 else 0 for i, n in zip(event, shape, strict=False))]


def _sources(node: Node) -> str:
    """The leaves and random nodes that a parameter is computed from."""
    found: list[str] = []
    stack, seen = [node], set()
    while stack:
        x = stack.pop(0)
        if id(x) in seen:
            continue
        seen.add(id(x))
        if x.op in LEAVES:
            found.append(f"{LEAVES[x.op]} '{x.attrs['name']}'")
        elif x.op == "sample":
            found.append(f"node '{x.attrs['site'].name}'")
        else:
            stack += x.args
    return f"; it is computed from {', '.join(dict.fromkeys(found))}" if found else ""


LEAVES = {"param": "parameter", "input": "argument", "hyper": "hyper parameter", "aux": "carried"}


def environment(
    compiled: Compiled, params: Mapping[str, Any], aux: Mapping[str, Any], hyper: np.ndarray, bound: Bound,
    particles: int, seed: int, step: int,
) -> Env:  # fmt: skip
    """The interpreter's view of one call of a compiled program."""
    rows = {
        name: ids if isinstance(ids, np.ndarray) else ids + np.arange(bound.rows[name], dtype=np.int64)
        for name, ids in bound.row_ids.items()
    }
    return Env(
        params=params,
        aux=aux,
        hyper=dict(zip(compiled.hypers, hyper, strict=True)),
        inputs={spec.name: array for spec, array in zip(compiled.binder.inputs, bound.arrays, strict=True)},
        sizes={**bound.rows, "particles": particles},
        rows=rows,
        scales=bound.scales,
        total_rows=bound.totals,
        seed=seed,
        step=step,
        dtype=np.dtype(compiled.settings.dtype).type,
    )


def place(node: Node, at: tuple[int, ...], bound: Bound) -> str:
    """Which data row an entry belongs to, and which event entry it is."""
    axes: tuple[Axis, ...] = node.type.axes
    words = []
    for axis, i in zip(axes, at, strict=False):
        if axis.kind is Kind.PLATE:
            ids = bound.row_ids.get(axis.name, 0)
            row = ids[i] if isinstance(ids, np.ndarray) else ids + i
            words.append(f"row {row} of '{axis.name}'")
    event = at[len(axes) :]
    if event:
        words.append(f"entry {event[0] if len(event) == 1 else event}")
    return " in " + ", ".join(words) if words else ""
