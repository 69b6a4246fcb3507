"""Where a NaN or infinity came from: replay one step in the interpreter and name the first bad value.

The replay runs on the gradient program before simplification, where every parameter, distribution parameter,
sample, cost and gradient of the model is still a node of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ppl.compiler.surrogate.expansion import Expansion
from ppl.interrupts import pass_on
from ppl.ir.node import Node, substitute, topological
from ppl.ir.reference.interpret import Env, evaluate_intermediates, turns
from ppl.ir.rewrites.simplify import simplify
from ppl.lang.time.record import base_name, in_words, scan_of, step_text
from ppl.lang.trace import SiteKind
from ppl.runtime.binding import Bound
from ppl.runtime.call import BoundCall
from ppl.runtime.state import Layout
from ppl.runtime.violations import loops_of, place, violation
from ppl.tuning import REPLAYED_ENTRIES

KNOWN_ANGLE = 6.5e6
"""Above it the kernels' sines of float32 are NaN."""


class Culprit(NamedTuple):
    """The first bad value: the name in the model it belongs to, and a clause that says what it is."""

    node: str | None
    text: str


class Named(NamedTuple):
    """A value that the user can name, of all steps of so many `loops` over time."""

    node: Node
    name: str
    text: str
    loops: int = 0


def first_bad(call: BoundCall, mode: str = "gradient") -> Culprit:
    """Replay a call in the mode "gradient" or "value" and find the first value that is NaN or infinite.

    A program that the interpreter cannot run gives a Culprit without a name, since an error here must not hide
    the one that is being reported.
    """
    try:
        found = _replay(call, mode)
        return Culprit(None if found.node is None else base_name(found.node), in_words(found.text))
    except Exception as error:
        pass_on(error)
        return Culprit(None, f"the replay in the interpreter failed ({type(error).__name__}: {error})")


def first_bad_part(layout: Layout, flat: np.ndarray) -> str | None:
    """Name of the first part of a flat vector with a NaN or infinity."""
    return next((name for name, part in layout.split(flat).items() if not np.isfinite(part).all()), None)


def _replay(call: BoundCall, mode: str) -> Culprit:
    compiled, bound = call.compiled, call.data
    expansion = Expansion(compiled.working, compiled.working_plan, mode)  # type: ignore[arg-type]
    expanded = expansion.run()
    forward = list(_forward(compiled.working.trace, expansion, expanded))
    gradients = []
    if mode == "gradient":
        made = compiled.variant("gradient").stages["differentiate"].items()
        wrt = [(node, key[5:]) for key, node in made if key.startswith("grad ")]
        gradients = [Named(node, name, f"the gradient with respect to '{name}'") for node, name in wrt]
    env = call.environment()
    outputs = [n.node for n in (*forward, *gradients)]
    if _entries(outputs, env) > REPLAYED_ENTRIES:
        return Culprit(None, "the call is too large to be replayed; call it on fewer rows or particles")
    with np.errstate(all="ignore"):
        values = evaluate_intermediates(outputs, env)
    bad = {node for node, value in values.items() if _is_bad(node, value)}
    order = {node: i for i, node in enumerate(values)}
    found = _first(forward, bad, values, order)
    wrong = violation(compiled, mode, env, bound)
    if wrong is not None and (found is None or np.isfinite(wrong.value)):
        return Culprit(wrong.site.name, f"node '{wrong.site.name}': {wrong.text}")
    if found is not None:
        return _describe(found, values, bad, bound, env, [])
    found = _first(gradients, bad, values, order)
    if found is not None:
        return _describe(found, values, bad, bound, env, forward)
    lost = _lost_angle(values) if compiled.binder.dtype == np.float32 else ""
    return Culprit(None, lost or "the replay in the interpreter stays finite, so this is a matter of rounding")


def _lost_angle(values: Mapping[Node, Any]) -> str:
    """Which angle is too large for sines in float32, if one is."""
    angles = (
        (n, float(np.max(np.abs(values[n.args[0]]), initial=0.0))) for n in values if n.op in ("sin", "cos", "tan")
    )
    found = next(((n, angle) for n, angle in angles if angle >= KNOWN_ANGLE), None)
    if found is None:
        return ""
    return (f"`{found[0].op}` of {found[1]:.2g}: float32 has it below {KNOWN_ANGLE:.2g} only, since neighbouring "
            "numbers there are half a radian apart; compile with dtype='float64'")  # fmt: skip


def _entries(nodes: Sequence[Node], env: Env) -> int:
    """Entries of all values of an evaluation."""
    sizes = {**env.sizes}
    return sum(
        math.prod(a.size or sizes.get(a.name, 1) for a in n.type.axes) * math.prod(n.type.shape)
        for n in topological(nodes)
    )


def _forward(trace: Any, expansion: Expansion, expanded: Any) -> Iterator[Named]:
    """Everything with a name, as nodes of the expanded program.

    The trace was simplified after distributions and constraints were declared, so their nodes are simplified
    here: equal expressions are the same node. One that was simplified away has no name of its own.
    """
    where = expansion.env
    for name, param in trace.params.items():
        yield Named(where.get(id(param.node), param.node), name, f"parameter '{name}'")
        (value,) = simplify([param.value])
        if id(value) in where and value is not param.node:
            yield Named(where[id(value)], name, f"parameter '{name}' under its constraint \"{param.constraint}\"")
    for name, spec in trace.inputs.items():
        yield Named(spec.node, name, f"data argument '{name}'")
    for site in (*trace.scored.values(), *trace.sites.values()):
        if site.dist is not None:
            kind = type(site.dist).__name__
            nodes = simplify(list(site.dist.params.values()))
            if site.node is not None and site.node.op == "sample":
                nodes = list(site.node.args)
            for key, node in zip(site.dist.params, nodes, strict=True):
                if id(node) in where:
                    (made,), scan = expansion.walk([node]), scan_of(node)
                    text = f"{key} of node '{site.name}' ({kind})"
                    yield Named(expansion.outside(made, scan), site.name, text, loops_of(scan))
    for name, site in trace.sites.items():
        if name in expanded.values:
            text = "deterministic" if site.kind is SiteKind.DETERMINISTIC else "the value of node"
            yield Named(expanded.values[name], name, f"{text} '{name}'")
        elif site.kind is SiteKind.DETERMINISTIC and id(site.node) in where:
            steps = expansion.outside(where[id(site.node)], site.scan)
            yield Named(steps, name, f"deterministic '{name}'", loops_of(site.scan))
    for name, node in expansion.costs.items():
        cost = trace.costs[name]
        if cost.step is not None and not cost.marginalize and id(cost.step) in where:
            steps = expansion.outside(where[id(cost.step)], cost.scan)
            yield Named(steps, name, f"cost '{name}'", loops_of(cost.scan))
        yield Named(node, name, f"cost '{name}'")
    yield Named(expanded.loss, "loss", "the sum of the costs")
    (surrogate,) = substitute([expanded.surrogate], expanded.deferred)
    yield Named(surrogate, "loss", "the sum of costs and score terms")


def _is_bad(node: Node, value: Any) -> bool:
    return node.op != "loop" and node.type.dtype == "float" and not bool(np.isfinite(value).all())


def _first(
    named: Sequence[Named], bad: set[Node], values: Mapping[Node, Any], order: Mapping[Node, int]
) -> Named | None:
    """The earliest bad one; logits of −inf are allowed, they mean probability 0."""
    suspects = [n for n in named if n.node in bad and not _legitimate(n, values[n.node])]
    return min(suspects, key=lambda n: order[n.node], default=None)


def _legitimate(named: Named, value: np.ndarray) -> bool:
    return named.text.startswith("logits of") and not (np.isnan(value) | (value == np.inf)).any()


def _describe(
    found: Named, values: Mapping[Node, Any], bad: set[Node], bound: Bound, env: Env, forward: Sequence[Named]
) -> Culprit:
    """In words. For a gradient, `forward` has the values among which its first bad operation stands."""
    value = np.asarray(values[found.node])
    at = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
    text = f"{found.text} is {value[at]}{place(found.node, at, bound, found.loops)}"
    ancestors = topological([found.node])
    origin = next(node for node in ancestors if node in bad)
    inside = _inside(origin.args[0], values, env) if origin.op == "get" else None
    if inside is not None:
        node, times = inside
        text += f", first in a `{node.op}`" + ("" if found.loops else f" in {step_text(times)}")
        return Culprit(found.name, text)
    if origin.args:
        text += f", first in a `{origin.op}`"
    if not forward:
        return Culprit(found.name, text)
    upstream = {id(node): i for i, node in enumerate(topological([origin]))}
    near = [n for n in forward if id(n.node) in upstream and n.node.op not in ("param", "input")]
    if not near:
        return Culprit(found.name, text)
    nearest = max(near, key=lambda n: upstream[id(n.node)])
    return Culprit(nearest.name, f"{text} next to {nearest.text}")


def _inside(loop: Node, values: Mapping[Node, Any], env: Env) -> tuple[Node, list[int]] | None:
    """The first bad operation in the turns of a loop, and the steps of the loops that it is in."""
    for _, time, made in turns(loop, [values[a] for a in loop.args], env, keep_all=True):
        for node, value in made.items():
            if node.op == "loop" and (deeper := _inside(node, made, env)) is not None:
                return deeper[0], [time, *deeper[1]]
            if node.args and _is_bad(node, value):
                return node, [time]
    return None
