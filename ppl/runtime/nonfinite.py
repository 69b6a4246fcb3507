"""Refuse results that are NaN or infinite, and name the node where the first such value appeared.

A call pays for one look at its loss and one pass over its gradient. Only when that finds something is the call
evaluated again in the interpreter. First, all conditions on parameters, observations and indices are evaluated: one
that fails is named with node, row and value (`find_violation`; guards of the loss,
`ppl.compiler.surrogate.guards`, made the loss NaN). Else the gradient program before simplification is
replayed, where every parameter, distribution parameter, sample, cost and gradient is still a node of its own
(`find_first_bad_value`)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from ppl.arguments import choice, fits_memory
from ppl.compiler.lower.request import Result
from ppl.compiler.surrogate.expansion import Expansion
from ppl.compiler.surrogate.guards import (
    conditions,
    edge_sensitivity,
    guard_applies,
    objective_nodes,
    random_ancestors,
    reads_relaxable_samples,
    samples_cross_components,
    site_values,
)
from ppl.distributions.constraints import Condition
from ppl.errors import NonFiniteError, ParameterError, TooLargeError
from ppl.estimators import by_default
from ppl.estimators.base import Estimator, check_support
from ppl.graph.stochastic import RandomNode
from ppl.interrupts import pass_on
from ppl.ir import ops
from ppl.ir.node import Node, substitute, topological
from ppl.ir.reference.environment import Env
from ppl.ir.reference.interpret import evaluate, evaluate_intermediates, run_iterations
from ppl.ir.rewrites.simplify import simplify
from ppl.ir.types import Axis, Kind
from ppl.lang.loops import Scan, base_name, innermost_scan, scan_of, stack_over_loops, step_text, steps_in_words
from ppl.lang.trace import Site, SiteKind
from ppl.lazy import optimizers
from ppl.runtime.binding import BoundData
from ppl.runtime.call import BoundCall
from ppl.runtime.state import Layout, State
from ppl.tuning import REPLAYED_ENTRIES, SCANNED_BY_PYTHON

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
        node = steps_in_words(f"node '{self.site.name}'")
        return ParameterError(f"{node}: {self.text}\n  at {self.site.where}", name, self.parameter)


def find_violation(
    compiled: Compiled, mode: str, env: Env, bound: BoundData, sites: Sequence[str] = (),
    plan: Mapping[str, Estimator] | None = None,
) -> Violation | None:  # fmt: skip
    """The first condition that fails in an evaluation, or None; of a sample, among the nodes that `sites` come from."""
    graph = compiled.graph if mode == "sample" else compiled.working if plan is None else compiled.flat
    trace = graph.trace
    if plan is None:
        plan = {} if mode == "sample" else compiled.working_plan
    expansion = Expansion(graph, plan, mode)  # type: ignore[arg-type]
    expansion.run()
    above = random_ancestors(objective_nodes(trace) if mode != "sample" else site_values(trace, sites))
    asked = sites if mode == "sample" else None
    listed = [c for c in conditions(trace) if guard_applies(c, above, asked)]
    pairs = [(c.condition.value, c.good) for c in listed]
    scans = [innermost_scan(map(scan_of, pair)) for pair in pairs]
    outputs = [stack_over_loops(n, scan) for pair, scan in zip(pairs, scans, strict=True) for n in pair]
    walked = [ops.pick_branch(n) for n in expansion.expand(simplify(outputs))]
    walked[1::2] = [expansion.reducer.mask_unreached(n, True) for n in walked[1::2]]
    values = evaluate(walked, env)
    for i, (site, condition, _) in enumerate(listed):
        soft = mode == "gradient" and condition.whole and reads_relaxable_samples(condition.value)
        value, good = walked[2 * i : 2 * i + 2]
        if not soft and not values[2 * i + 1].all():
            made = (value, values[2 * i]), (good, values[2 * i + 1])
            return _describe_violation(site, condition, *made, bound, loop_depth(scans[i]))
    return _find_boundary_probability(expansion, env, bound) or _find_unseen_mixture_path(expansion, env, bound)


def _find_boundary_probability(expansion: Expansion, env: Env, bound: BoundData) -> Violation | None:
    """The first probability of 0 or 1 that a parameter moves under an estimator that sees draws only, or None."""
    for rn, edge in expansion.unsampled_edges.values():
        seen = (expansion.reducer.mask_unreached(edge.there, False), edge.value)
        there, beside = (expansion.stack_over_steps(n, rn.site.scan) for n in seen)
        moved, truth, value = evaluate([edge_sensitivity(expansion, [(rn, edge)]), there, beside], env)
        if not np.any(moved > 0):
            continue
        at = tuple(int(i) for i in np.argwhere(truth)[0])
        shown = float(_failing_entry((beside, value), there, at))
        label, where = expansion.plan[rn.name].label, describe_place(there, at, bound, loop_depth(rn.site.scan))
        text = (
            f"{edge.name} of {type(rn.dist).__name__} is {shown:g}{where}, and a parameter moves it: "
            f"what has probability 0 is never drawn, so {label} would miss its share of the derivative; "
            f"{_suggest_estimators(rn, lambda e: not e.drawn_only)}keep {edge.name} inside its range"
        )
        return Violation(rn.site, edge.name, text, shown)
    return None


def _find_unseen_mixture_path(expansion: Expansion, env: Env, bound: BoundData) -> Violation | None:
    """The first mixture whose path its samples do not show, or None."""
    for rn, spread in expansion.mixture_paths.values():
        seen = (samples_cross_components(expansion, spread), ops.pick_branch(spread))
        good, beside = (expansion.stack_over_steps(n, rn.site.scan) for n in seen)
        truth, value = evaluate([good, beside], env)
        if truth.all():
            continue
        at = tuple(int(i) for i in np.argwhere(~truth)[0])
        shown = float(_failing_entry((beside, value), good, at))
        label, where = expansion.plan[rn.name].label, describe_place(good, at, bound, loop_depth(rn.site.scan))
        text = (
            f"the components of {type(rn.dist).__name__} stand apart{where}: about one sample in "
            f"{shown:.3g} lies between them, and these alone carry what the weights move along a path through the cdf, "
            f"so {label} would miss it; {_suggest_estimators(rn, lambda e: True)}keep the components closer together"
        )
        return Violation(rn.site, "weights", text, shown)
    return None


def _suggest_estimators(rn: RandomNode, sees: Callable[[type[Estimator]], bool]) -> str:
    """The advice to name one of the unbiased estimators that admit a node and see what its draws do not show."""
    through = rn.dist.through_cdf
    found = [e for e in by_default() if sees(type(e)) and not e.biased and not (through and e.follows_path)]
    names = [e.label for e in found if check_support(e, rn).ok]
    return f"name {', '.join(names[:-1])}{' or ' if names[1:] else ''}{names[-1]} for this node, or " if names else ""


def _describe_violation(
    site: Site, condition: Condition, value: tuple[Node, Any], good: tuple[Node, Any], bound: BoundData, loops: int
) -> Violation:
    node, truth = good
    at = tuple(int(i) for i in np.argwhere(~truth)[0])
    shown = _failing_entry(value, node, at)
    owner = "" if site.dist is None else f" of {type(site.dist).__name__}"
    text = f"{condition.name}{owner} must be {condition.wanted}, not {shown}"
    text += f"{describe_place(node, at, bound, loops)}{steps_in_words(_describe_sources(condition.good))}"
    return Violation(site, condition.name, text, float(shown))


def _failing_entry(value: tuple[Node, Any], like: Node, at: tuple[int, ...]) -> Any:
    """The entry of a parameter where a condition of type `like` fails."""
    (node, array), axes = value, like.type.axes
    own = tuple(at[axes.index(a)] for a in node.type.axes)
    event = at[len(axes) :]
    shape = node.type.shape
    event = event[len(event) - len(shape) :] if len(event) >= len(shape) else event
    return array[own + tuple(i if n > 1 else 0 for i, n in zip(event, shape, strict=False))]


def _describe_sources(node: Node) -> str:
    """The leaves and random nodes that a parameter is computed from."""
    found: list[str] = []
    stack, seen = [node], set()
    while stack:
        x = stack.pop(0)
        if id(x) in seen:
            continue
        seen.add(id(x))
        if x.op in LEAF_WORDS:
            found.append(f"{LEAF_WORDS[x.op]} '{x.attrs['name']}'")
        elif x.op == "sample":
            found.append(f"node '{x.attrs['site'].name}'")
        else:
            stack += x.args
    return f"; it is computed from {', '.join(dict.fromkeys(found))}" if found else ""


LEAF_WORDS = {"param": "parameter", "input": "argument", "hyper": "hyper parameter", "aux": "carried"}


def loop_depth(scan: Scan | None) -> int:
    """How many loops over time a step of `scan` is in."""
    return 0 if scan is None else len(scan.chain)


def describe_place(node: Node, at: tuple[int, ...], bound: BoundData, loops: int = 0) -> str:
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


LARGEST_FLOAT32_ANGLE = 6.5e6
"""Above it the kernels' sines of float32 are NaN."""


class FirstBadValue(NamedTuple):
    """The first bad value: the name in the model it belongs to, and a clause that says what it is."""

    node: str | None
    text: str


class NamedValue(NamedTuple):
    """A value that the user can name, of all steps of so many `loops` over time."""

    node: Node
    name: str
    text: str
    loops: int = 0


def find_first_bad_value(call: BoundCall, mode: str = "gradient") -> FirstBadValue:
    """Replay a call in the mode "gradient" or "value" and find the first value that is NaN or infinite.

    A program that the interpreter cannot run gives a Culprit without a name, since an error here must not hide
    the one that is being reported.
    """
    try:
        found = _replay(call, mode)
        return FirstBadValue(None if found.node is None else base_name(found.node), steps_in_words(found.text))
    except Exception as error:
        pass_on(error)
        return FirstBadValue(None, f"the replay in the interpreter failed ({type(error).__name__}: {error})")


def find_bad_part(layout: Layout, flat: np.ndarray) -> str | None:
    """Name of the first part of a flat vector with a NaN or infinity."""
    return next((name for name, part in layout.split(flat).items() if not np.isfinite(part).all()), None)


def _replay(call: BoundCall, mode: str) -> FirstBadValue:
    compiled, bound = call.compiled, call.data
    expansion = Expansion(compiled.working, compiled.working_plan, mode)  # type: ignore[arg-type]
    expanded = expansion.run()
    forward = list(_named_values(compiled.working.trace, expansion, expanded))
    gradients = []
    if mode == "gradient":
        made = compiled.variant("gradient").stages["differentiate"].items()
        wrt = [(node, key[5:]) for key, node in made if key.startswith("grad ")]
        gradients = [NamedValue(node, name, f"the gradient with respect to '{name}'") for node, name in wrt]
    env = call.environment()
    outputs = [n.node for n in (*forward, *gradients)]
    if _count_entries(outputs, env) > REPLAYED_ENTRIES:
        return FirstBadValue(None, "the call is too large to be replayed; call it on fewer rows or particles")
    with np.errstate(all="ignore"):
        values = evaluate_intermediates(outputs, env)
    bad = {node for node, value in values.items() if _is_bad(node, value)}
    order = {node: i for i, node in enumerate(values)}
    found = _earliest_bad(forward, bad, values, order)
    wrong = find_violation(compiled, mode, env, bound)
    if wrong is not None and (found is None or np.isfinite(wrong.value)):
        return FirstBadValue(wrong.site.name, f"node '{wrong.site.name}': {wrong.text}")
    if found is not None:
        return _describe_bad_value(found, values, bad, bound, env, [])
    found = _earliest_bad(gradients, bad, values, order)
    if found is not None:
        return _describe_bad_value(found, values, bad, bound, env, forward)
    lost = _describe_large_angle(values) if compiled.binder.dtype == np.float32 else ""
    return FirstBadValue(None, lost or "the replay in the interpreter stays finite, so this is a matter of rounding")


def _describe_large_angle(values: Mapping[Node, Any]) -> str:
    """Which angle is too large for sines in float32, if one is."""
    angles = (
        (n, float(np.max(np.abs(values[n.args[0]]), initial=0.0))) for n in values if n.op in ("sin", "cos", "tan")
    )
    found = next(((n, angle) for n, angle in angles if angle >= LARGEST_FLOAT32_ANGLE), None)
    if found is None:
        return ""
    return (f"`{found[0].op}` of {found[1]:.2g}: float32 has it below {LARGEST_FLOAT32_ANGLE:.2g} only, since "
    f"neighbouring "
            "numbers there are half a radian apart; compile with dtype='float64'")  # fmt: skip


def _count_entries(nodes: Sequence[Node], env: Env) -> int:
    """Entries of all values of an evaluation."""
    sizes = {**env.sizes}
    return sum(
        math.prod(a.size or sizes.get(a.name, 1) for a in n.type.axes) * math.prod(n.type.shape)
        for n in topological(nodes)
    )


def _named_values(trace: Any, expansion: Expansion, expanded: Any) -> Iterator[NamedValue]:
    """Everything with a name, as nodes of the expanded program.

    The trace was simplified after distributions and constraints were declared, so their nodes are simplified
    here: equal expressions are the same node. One that was simplified away has no name of its own.
    """
    where = expansion.env
    for name, param in trace.params.items():
        yield NamedValue(where.get(id(param.node), param.node), name, f"parameter '{name}'")
        (value,) = simplify([param.value])
        if id(value) in where and value is not param.node:
            yield NamedValue(where[id(value)], name, f"parameter '{name}' under its constraint \"{param.constraint}\"")
    for name, spec in trace.inputs.items():
        yield NamedValue(spec.node, name, f"data argument '{name}'")
    for site in (*trace.scored.values(), *trace.sites.values()):
        if site.dist is not None:
            kind = type(site.dist).__name__
            nodes = simplify(list(site.dist.params.values()))
            if site.node is not None and site.node.op == "sample":
                nodes = list(site.node.args)
            for key, node in zip(site.dist.params, nodes, strict=True):
                if id(node) in where:
                    (made,), scan = expansion.expand([node]), scan_of(node)
                    text = f"{key} of node '{site.name}' ({kind})"
                    yield NamedValue(expansion.stack_over_steps(made, scan), site.name, text, loop_depth(scan))
    for name, site in trace.sites.items():
        if name in expanded.values:
            text = "deterministic" if site.kind is SiteKind.DETERMINISTIC else "the value of node"
            yield NamedValue(expanded.values[name], name, f"{text} '{name}'")
        elif site.kind is SiteKind.DETERMINISTIC and id(site.node) in where:
            steps = expansion.stack_over_steps(where[id(site.node)], site.scan)
            yield NamedValue(steps, name, f"deterministic '{name}'", loop_depth(site.scan))
    for name, node in expansion.costs.items():
        cost = trace.costs[name]
        if cost.step is not None and not cost.marginalize and id(cost.step) in where:
            steps = expansion.stack_over_steps(where[id(cost.step)], cost.scan)
            yield NamedValue(steps, name, f"cost '{name}'", loop_depth(cost.scan))
        yield NamedValue(node, name, f"cost '{name}'")
    yield NamedValue(expanded.loss, "loss", "the sum of the costs")
    (surrogate,) = substitute([expanded.surrogate], expanded.deferred)
    yield NamedValue(surrogate, "loss", "the sum of costs and score terms")


def _is_bad(node: Node, value: Any) -> bool:
    return node.op != "loop" and node.type.dtype == "float" and not bool(np.isfinite(value).all())


def _earliest_bad(
    named: Sequence[NamedValue], bad: set[Node], values: Mapping[Node, Any], order: Mapping[Node, int]
) -> NamedValue | None:
    """The earliest bad one; logits of −inf are allowed, they mean probability 0."""
    suspects = [n for n in named if n.node in bad and not _is_allowed_infinity(n, values[n.node])]
    return min(suspects, key=lambda n: order[n.node], default=None)


def _is_allowed_infinity(named: NamedValue, value: np.ndarray) -> bool:
    return named.text.startswith("logits of") and not (np.isnan(value) | (value == np.inf)).any()


def _describe_bad_value(
    found: NamedValue,
    values: Mapping[Node, Any],
    bad: set[Node],
    bound: BoundData,
    env: Env,
    forward: Sequence[NamedValue],
) -> FirstBadValue:
    """In words. For a gradient, `forward` has the values among which its first bad operation stands."""
    value = np.asarray(values[found.node])
    at = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
    text = f"{found.text} is {value[at]}{describe_place(found.node, at, bound, found.loops)}"
    ancestors = topological([found.node])
    origin = next(node for node in ancestors if node in bad)
    inside = _first_bad_in_loop(origin.args[0], values, env) if origin.op == "get" else None
    if inside is not None:
        node, times = inside
        text += f", first in a `{node.op}`" + ("" if found.loops else f" in {step_text(times)}")
        return FirstBadValue(found.name, text)
    if origin.args:
        text += f", first in a `{origin.op}`"
    if not forward:
        return FirstBadValue(found.name, text)
    upstream = {id(node): i for i, node in enumerate(topological([origin]))}
    near = [n for n in forward if id(n.node) in upstream and n.node.op not in ("param", "input")]
    if not near:
        return FirstBadValue(found.name, text)
    nearest = max(near, key=lambda n: upstream[id(n.node)])
    return FirstBadValue(nearest.name, f"{text} next to {nearest.text}")


def _first_bad_in_loop(loop: Node, values: Mapping[Node, Any], env: Env) -> tuple[Node, list[int]] | None:
    """The first bad operation in the turns of a loop, and the steps of the loops that it is in."""
    for _, time, made in run_iterations(loop, [values[a] for a in loop.args], env, keep_all=True):
        for node, value in made.items():
            if node.op == "loop" and (deeper := _first_bad_in_loop(node, made, env)) is not None:
                return deeper[0], [time, *deeper[1]]
            if node.args and _is_bad(node, value):
                return node, [time]
    return None


RAISE_OPTION = "raise"
"""The default, which is recognised by being this object."""

KEEP_HINT = '; nonfinite="keep" returns such results'


def keeps_nonfinite(nonfinite: Any) -> bool:
    """Whether NaN and infinite results are returned; raises unless the option is "raise" or "keep"."""
    return nonfinite is not RAISE_OPTION and choice("nonfinite", nonfinite, ("raise", "keep")) == "keep"


def all_finite_entries(vector: np.ndarray) -> bool:
    """Whether no entry is NaN or infinite."""
    if vector.size <= SCANNED_BY_PYTHON:
        return all(map(math.isfinite, vector.tolist()))
    return bool(optimizers.all_finite(vector))


def require_finite_gradient(bound: BoundCall, result: Result, adapted: bool) -> None:
    """Raise unless loss and gradient, and where they are `adapted` the auxiliary variables, are finite."""
    loss = result.scalars["loss"]
    if math.isfinite(loss) and all_finite_entries(result.grad) and (not adapted or all_finite_entries(result.aux)):
        return
    if not math.isfinite(loss):
        raise_nonfinite(bound, f"the loss is {loss}")
    params, aux = bound.state._layouts
    if (name := find_bad_part(params, result.grad)) is not None:
        raise_nonfinite(bound, f"the gradient with respect to '{name}' is not finite")
    raise_nonfinite(bound, f"the adapted variable '{find_bad_part(aux, result.aux)}' is not finite")


def require_finite_update(bound: BoundCall, loss: float, grad: np.ndarray, new: State, transform: Any) -> None:
    """Raise unless loss, new parameters and auxiliary variables are finite; then the gradient says where it began."""
    if math.isfinite(loss) and all_finite_entries(new._flat) and all_finite_entries(new._aux):
        return  # what is not finite in the gradient of a parameter that moves is not finite in the parameter
    if not math.isfinite(loss):
        raise_nonfinite(bound, f"the loss is {loss}")
    frozen = getattr(transform, "trainable", None)
    if not np.isfinite(grad if frozen is None else grad[frozen(new._layouts[0])]).all():
        raise_nonfinite(bound, "the gradient is not finite")
    for layout, flat, what in zip(new._layouts, (new._flat, new._aux), ("parameter", "adapted variable"), strict=True):
        if (name := find_bad_part(layout, flat)) is not None:
            raise NonFiniteError(f"update: {what} '{name}' is no longer finite{KEEP_HINT}", name)


def require_finite_loss(bound: BoundCall, loss: Any, per_row: bool) -> None:
    """Raise unless a loss, or the loss of every row, is finite."""
    if not per_row and not math.isfinite(loss):
        raise_nonfinite(bound, f"the loss is {loss}", "value")
    if per_row and not np.isfinite(loss).all():
        at = int(np.argwhere(~np.isfinite(loss))[0, 0])
        raise_nonfinite(bound, f"the loss of row {at} is {loss[at]}", "value")


def require_finite_sample(
    bound: BoundCall,
    arrays: Mapping[str, np.ndarray],
    invalid: bool,
    method: str = "sample",
    impossible: bool = False,
) -> None:
    """Raise if parameters were out of range, the data have probability 0, or a site is not finite.

    `method` is what was called.
    """
    names = tuple(arrays)
    if invalid:
        raise_invalid_draw(bound, method, names)
    if impossible:
        raise NonFiniteError(
            f"{method}: the data have probability 0 given the parameters, so latents have no posterior{KEEP_HINT}", None
        )
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not all_finite_entries(np.ravel(array)):
            raise_if_violated(bound, "sample", names)
            at = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            place = f" at {at}" if at else ""
            raise NonFiniteError(f"{method}: '{name}' is {array[at]}{place}{KEEP_HINT}", name)


def raise_nonfinite(bound: BoundCall, what: str, mode: str = "gradient", advice: str = KEEP_HINT) -> NoReturn:
    """Raise a ParameterError if a condition is violated, else say where the first value that is not finite appeared."""
    with contextlib.suppress(TooLargeError):  # an error here must not hide the one that is being reported
        raise_if_violated(bound, mode)
    found = find_first_bad_value(bound, mode)
    raise NonFiniteError(f"{what}. First: {found.text}{advice}", found.node)


def raise_invalid_draw(bound: BoundCall, method: str, sites: Sequence[str]) -> NoReturn:
    """Raise a ParameterError of what was out of range where sites were drawn, or in the evidence they are given."""
    raise_if_violated(bound, "sample", sites)
    raise_if_violated(bound, "value")
    raise NonFiniteError(f"{method}: a parameter, an observation or an index is out of range{KEEP_HINT}", None)


def raise_if_violated(
    bound: BoundCall, mode: str, sites: Sequence[str] = (), plan: Mapping[str, Estimator] | None = None
) -> None:
    """Raise a ParameterError if a parameter, an observation or an index was out of range in this call."""
    with fits_memory("the search for a parameter that is out of range"):
        found = find_violation(bound.compiled, mode, bound.environment(), bound.data, sites, plan)
    if found is not None:
        raise found.error()
