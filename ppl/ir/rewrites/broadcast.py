"""Rules that compute on small operands and broadcast afterwards: expands sink towards a value's users."""

from __future__ import annotations

import numpy as np

from ppl.ir.node import Node, make
from ppl.ir.op_facts import ELEMENTWISE
from ppl.ir.rewrites.match import Core, Rule, op, reshaped, spread, spread_like, strip, without
from ppl.ir.types import Kind, sort_axes


def trivial_expand(n: Node) -> Node | None:
    """Convert an expand that adds nothing to its argument."""
    return n.args[0] if n.type == n.args[0].type else None


def merge_expands(n: Node) -> Node | None:
    """Convert expand(expand(x)) to one expand."""
    (inner,) = n.args
    if inner.op != "expand":
        return None
    live = n.attrs["live"] if n.attrs["live"] is not None else inner.attrs["live"]
    axes = sort_axes(n.attrs["axes"] + inner.attrs["axes"])
    return make("expand", inner.args[0], axes=axes, shape=n.attrs["shape"], live=live)


def expand_of_padding(n: Node) -> Node | None:
    """Convert expand(reshape(x)) to expand(x) when the reshape only puts ones in front of the event."""
    (x,) = n.args
    if x.op != "reshape":
        return None
    inner = x.args[0].type.shape
    ones = len(x.type.shape) - len(inner)
    return make("expand", x.args[0], **n.attrs) if ones >= 0 and x.type.shape == (1,) * ones + inner else None


def sink_elementwise(n: Node) -> Node | None:
    """Convert f(expand(x), expand(y), …) to expand(f(x, y, …)) over what no argument needs."""
    cores = [strip(a) for a in n.args]
    if any(c.core is c.full for c in cores):
        return None
    axes = sort_axes(a for c in cores for a in c.core.type.axes)
    shape = np.broadcast_shapes(*(c.core.type.shape for c in cores))
    if len(axes) == len(n.type.axes) and shape == n.type.shape:
        return None
    small = make(n.op, *(spread(c.core, axes, shape) for c in cores), **n.attrs)
    return spread_like(small, n.type)


def sink_named(n: Node) -> Node | None:
    """Convert f(expand(x), …) to expand(f(x, …)) over named axes that every argument only repeats along."""
    common = set.intersection(*(set(strip(a).added) for a in n.args)) if n.args else set()
    common -= {n.attrs.get("axis")}
    if not common:
        return None
    return spread_like(make(n.op, *(without(a, common) for a in n.args), **n.attrs), n.type)


def _event_only(n: Node) -> Core | None:
    """The argument of `n` if it is an expand of the event."""
    found = strip(n.args[0])
    return found if found.core.type.shape != found.full.type.shape else None


def reshape_of_expand(n: Node) -> Node | None:
    """Convert reshape(expand(x)) to expand(reshape(x)) when x is one number or unit dimensions change."""
    found = _event_only(n)
    if found is None:
        return None
    core, shape = found.core, n.attrs["shape"]
    if core.type.event_size == 1:
        return spread_like(reshaped(core, ()), n.type)
    old = [(m, c) for m, c in zip(found.full.type.shape, found.padded, strict=True) if m != 1]
    if [m for m, _ in old] != [m for m in shape if m != 1]:
        return None
    sizes = iter(c for _, c in old)
    small = tuple(1 if m == 1 else next(sizes) for m in shape)
    return spread_like(reshaped(core, small), n.type)


def transpose_of_expand(n: Node) -> Node | None:
    """Convert transpose(expand(x)) to expand(transpose(x))."""
    found = _event_only(n)
    if found is None:
        return None
    small = make("transpose", reshaped(found.core, found.padded), perm=n.attrs["perm"])
    return spread_like(small, n.type)


def slice_of_expand(n: Node) -> Node | None:
    """Convert slice(expand(x)) to expand(slice(x)), which reads only dimensions that x has."""
    found = _event_only(n)
    if found is None:
        return None
    full, lead = found.full.type.shape, len(found.full.type.shape) - len(found.core.type.shape)
    pairs = zip(n.attrs["window"][lead:], found.core.type.shape, full[lead:], strict=True)
    window = tuple((0, 1, 1) if m == 1 != f else w for w, m, f in pairs)
    return spread_like(make("slice", found.core, window=window), n.type)


def collect_of_expand(n: Node) -> Node | None:
    """Convert collect(expand(x)) to an expand of the event when x lacks the collected axis."""
    found, axis = strip(n.args[0]), n.attrs["axis"]
    if axis not in found.added:
        return None
    return spread_like(without(n.args[0], {axis}), n.type)


def distribute_of_expand(n: Node) -> Node | None:
    """Convert distribute(expand(x)) to an expand over the axis when x lacks the leading dimension."""
    found = _event_only(n)
    if found is None or found.padded[0] != 1 or n.args[0].type.shape[0] == 1:
        return None
    whole = len(found.core.type.shape) == len(found.padded)
    return spread_like(reshaped(found.core, found.padded[1:]) if whole else found.core, n.type)


def route_of_expand(n: Node) -> Node | None:
    """Convert route(expand(x), …) to expand(route(x, …)) over plain axes and events that all repeat along."""
    cores = [strip(a) for a in n.args]
    plain = sort_axes(a for c in cores for a in c.core.type.axes if a.kind is not Kind.BRANCH)
    shape = np.broadcast_shapes(*(c.core.type.shape for c in cores))
    if shape == n.type.shape and all(a in plain for a in n.type.axes if a.kind is not Kind.BRANCH):
        return None
    branches = [() if c.full.type.branch is None else (c.full.type.branch,) for c in cores]
    small = [spread(c.core, plain + own, shape) for c, own in zip(cores, branches, strict=True)]
    return spread_like(op("route", *small, **n.attrs), n.type)


NAMED = ("pad", "concat", "take", "argmax", "cumsum")
MATRICES = ("solve", "cholesky", "inverse", "linsolve", "det", "log_det", "sign_det")
RULES: dict[str, list[Rule]] = {
    "expand": [trivial_expand, merge_expands, expand_of_padding],
    "reshape": [reshape_of_expand, sink_named],
    "transpose": [transpose_of_expand, sink_named],
    "slice": [slice_of_expand, sink_named],
    "collect": [collect_of_expand, sink_named],
    "distribute": [distribute_of_expand, sink_named],
    "route": [route_of_expand],
    **{name: [sink_named] for name in (*NAMED, *MATRICES)},
    **{name: [sink_elementwise] for name in sorted(ELEMENTWISE)},
}
