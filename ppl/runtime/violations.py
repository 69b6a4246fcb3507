"""Parameters, observations and indices out of range at run time, by name.

Whoever finds a loss that is not finite asks `violation`, which evaluates all conditions in the interpreter and names
the first one that fails. Guards of the loss (`ppl.compiler.surrogate.conditions.range_guards`) make such a loss NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ppl.compiler.surrogate.conditions.blind import crosses, movement
from ppl.compiler.surrogate.conditions.indices import index_conditions, reader_concerns
from ppl.compiler.surrogate.conditions.range_guards import drawn, parameter_conditions, relaxed, results_of, values_of
from ppl.compiler.surrogate.conditions.uses import allowed, use_conditions
from ppl.compiler.surrogate.expansion import Expansion
from ppl.distributions.domain.conditions import Condition
from ppl.errors import ParameterError
from ppl.estimators import by_default
from ppl.estimators.base import Estimator
from ppl.graph.stochastic import RandomNode
from ppl.ir import ops
from ppl.ir.node import Node
from ppl.ir.reference.interpret import Env, evaluate
from ppl.ir.rewrites.simplify import simplify
from ppl.ir.types import Axis, Kind
from ppl.lang.time.record import Scan, base_name, deepest, in_words, scan_of, stacked, step_text
from ppl.lang.trace import Index, Site, SiteKind, Use
from ppl.runtime.binding import Bound

if TYPE_CHECKING:
    from ppl.runtime.compiled import Compiled


class Violation(NamedTuple):
    """A condition that failed: node, parameter, the clause that says what it is and should be, its value."""

    site: Site
    parameter: str
    text: str
    value: float

    def error(self) -> ParameterError:
        """The error to raise if nothing else went wrong before."""
        name = base_name(self.site.name)
        if self.site.kind is SiteKind.DETERMINISTIC:
            return ParameterError(f"{self.text}\n  at {self.site.where}", name, self.parameter)
        node = in_words(f"node '{self.site.name}'")
        return ParameterError(f"{node}: {self.text}\n  at {self.site.where}", name, self.parameter)


def violation(
    compiled: Compiled, mode: str, env: Env, bound: Bound, sites: Sequence[str] = (),
    plan: Mapping[str, Estimator] | None = None,
) -> Violation | None:  # fmt: skip
    """The first condition that fails in an evaluation, or None; of a sample, among the nodes that `sites` come from."""
    graph = compiled.graph if mode == "sample" else compiled.working if plan is None else compiled.flat
    trace = graph.trace
    if plan is None:
        plan = {} if mode == "sample" else compiled.working_plan
    expansion = Expansion(graph, plan, mode)  # type: ignore[arg-type]
    expansion.run()
    above = drawn(results_of(trace) if mode != "sample" else values_of(trace, sites))
    listed = [
        (site, condition)
        for site, condition in parameter_conditions(trace)
        if (site.name in above if site.kind is SiteKind.RANDOM else mode != "sample")
    ]
    asked = sites if mode == "sample" else None
    readers: list[tuple[Index | Use, Site, Condition]] = [*use_conditions(trace), *index_conditions(trace)]
    listed += [(site, c) for reader, site, c in readers if reader_concerns(reader, asked)]
    pairs = [(c.value, allowed(site, c)) for site, c in listed]
    scans = [deepest(map(scan_of, pair)) for pair in pairs]
    outputs = [stacked(n, scan) for pair, scan in zip(pairs, scans, strict=True) for n in pair]
    walked = [ops.pick(n) for n in expansion.walk(simplify(outputs))]
    walked[1::2] = [expansion.reducer.reached(n, True) for n in walked[1::2]]
    values = evaluate(walked, env)
    for i, (site, condition) in enumerate(listed):
        soft = mode == "gradient" and condition.whole and relaxed(condition.value)
        value, good = walked[2 * i : 2 * i + 2]
        if not soft and not values[2 * i + 1].all():
            made = (value, values[2 * i]), (good, values[2 * i + 1])
            return _named(site, condition, *made, bound, loops_of(scans[i]))
    return _at_edge(expansion, env, bound) or _across(expansion, env, bound)


def _at_edge(expansion: Expansion, env: Env, bound: Bound) -> Violation | None:
    """The first probability of 0 or 1 that a parameter moves under an estimator that sees draws only, or None."""
    for rn, edge in expansion.edges.values():
        seen = (expansion.reducer.reached(edge.there, False), edge.value)
        there, beside = (expansion.outside(n, rn.site.scan) for n in seen)
        moved, truth, value = evaluate([movement(expansion, [(rn, edge)]), there, beside], env)
        if not np.any(moved > 0):
            continue
        at = tuple(int(i) for i in np.argwhere(truth)[0])
        shown = float(_entry((beside, value), there, at))
        label, where = expansion.plan[rn.name].label, place(there, at, bound, loops_of(rn.site.scan))
        text = (
            f"{edge.name} of {type(rn.dist).__name__} is {shown:g}{where}, and a parameter moves it: "
            f"what has probability 0 is never drawn, so {label} would miss its share of the derivative; "
            f"{_named_instead(rn, lambda e: not e.drawn_only)}keep {edge.name} inside its range"
        )
        return Violation(rn.site, edge.name, text, shown)
    return None


def _across(expansion: Expansion, env: Env, bound: Bound) -> Violation | None:
    """The first mixture whose path its samples do not show, or None."""
    for rn, spread in expansion.crossings.values():
        seen = (crosses(expansion, spread), ops.pick(spread))
        good, beside = (expansion.outside(n, rn.site.scan) for n in seen)
        truth, value = evaluate([good, beside], env)
        if truth.all():
            continue
        at = tuple(int(i) for i in np.argwhere(~truth)[0])
        shown = float(_entry((beside, value), good, at))
        label, where = expansion.plan[rn.name].label, place(good, at, bound, loops_of(rn.site.scan))
        text = (
            f"the components of {type(rn.dist).__name__} stand apart{where}: about one sample in "
            f"{shown:.3g} lies between them, and these alone carry what the weights move along a path through the cdf, "
            f"so {label} would miss it; {_named_instead(rn, lambda e: True)}keep the components closer together"
        )
        return Violation(rn.site, "weights", text, shown)
    return None


def _named_instead(rn: RandomNode, sees: Callable[[type[Estimator]], bool]) -> str:
    """The advice to name one of the unbiased estimators that admit a node and see what its draws do not show."""
    through = rn.dist.through_cdf
    found = [e for e in by_default() if sees(type(e)) and not e.biased and not (through and e.follows_path)]
    names = [e.label for e in found if e.supports(rn).ok]
    return f"name {', '.join(names[:-1])}{' or ' if names[1:] else ''}{names[-1]} for this node, or " if names else ""


def _named(
    site: Site, condition: Condition, value: tuple[Node, Any], good: tuple[Node, Any], bound: Bound, loops: int
) -> Violation:
    node, truth = good
    at = tuple(int(i) for i in np.argwhere(~truth)[0])
    shown = _entry(value, node, at)
    owner = "" if site.dist is None else f" of {type(site.dist).__name__}"
    text = f"{condition.name}{owner} must be {condition.wanted}, not {shown}"
    text += f"{place(node, at, bound, loops)}{in_words(_sources(condition.good))}"
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


def loops_of(scan: Scan | None) -> int:
    """How many loops over time a step of `scan` is in."""
    return 0 if scan is None else len(scan.chain)


def place(node: Node, at: tuple[int, ...], bound: Bound, loops: int = 0) -> str:
    """Which data row an entry belongs to, which step of as many `loops`, and which event entry it is."""
    axes: tuple[Axis, ...] = node.type.axes
    words = []
    for axis, i in zip(axes, at, strict=False):
        if axis.kind is Kind.PLATE:
            ids = bound.row_ids.get(axis.name, 0)
            row = ids[i] if isinstance(ids, np.ndarray) else ids + i
            words.append(f"row {row} of '{axis.name}'")
    times, event = at[len(axes) : len(axes) + loops], at[len(axes) + loops :]
    if times:
        words.append(step_text(times))
    if event:
        words.append(f"entry {event[0] if len(event) == 1 else event}")
    return " in " + ", ".join(words) if words else ""
