"""Rules that move entries: views compose and inverses cancel; expands sink towards a value's users.

Views are reshapes, transposes, slices, pieces and collected axes. Where an op reads an expanded value, the op is
computed on the small operand and its result is expanded."""

from __future__ import annotations

import numpy as np

from ppl.ir.node import Node, make
from ppl.ir.op_facts import ELEMENTWISE
from ppl.ir.rewrites.patterns import (
    Rule,
    Unexpanded,
    expand_like,
    expand_to,
    op,
    reshape_event,
    strip_expands,
    without_axes,
)
from ppl.ir.types import Kind, sort_axes


def trivial_view(n: Node) -> Node | None:
    """Convert a reshape to the same shape, an identical permutation or a whole slice to its argument."""
    (x,) = n.args
    if n.op == "reshape":
        same = n.type.shape == x.type.shape
    elif n.op == "transpose":
        same = n.attrs["perm"] == tuple(range(len(x.type.shape)))
    else:
        same = all(w[:2] == (0, m) and w[2] == 1 for w, m in zip(n.attrs["window"], x.type.shape, strict=True))
    return x if same else None


def merge_reshapes(n: Node) -> Node | None:
    """Convert reshape(reshape(x)) to one reshape."""
    (x,) = n.args
    return reshape_event(x.args[0], n.type.shape) if x.op == "reshape" else None


def merge_transposes(n: Node) -> Node | None:
    """Convert transpose(transpose(x)) to one transpose."""
    (x,) = n.args
    if x.op != "transpose":
        return None
    return make("transpose", x.args[0], perm=tuple(x.attrs["perm"][p] for p in n.attrs["perm"]))


def transpose_to_reshape(n: Node) -> Node | None:
    """Convert a transpose that moves only dimensions of length one to a reshape."""
    shape = n.args[0].type.shape
    moved = [p for p in n.attrs["perm"] if shape[p] != 1]
    return reshape_event(n.args[0], n.type.shape) if moved == sorted(moved) else None


def merge_slices(n: Node) -> Node | None:
    """Convert slice(slice(x)) to one slice."""
    (x,) = n.args
    if x.op != "slice":
        return None
    pairs = zip(x.attrs["window"], n.attrs["window"], strict=True)
    window = tuple((s + step * s2, length, step * step2) for (s, _, step), (s2, length, step2) in pairs)
    return make("slice", x.args[0], window=window)


def slice_of_concat(n: Node) -> Node | None:
    """Convert slice(concat(x, y, …)) to a slice of the one piece that it reads."""
    (x,) = n.args
    if x.op != "concat":
        return None
    dim = x.attrs["dim"]
    start, length, step = n.attrs["window"][dim]
    low, high = sorted((start, start + step * (length - 1)))
    offset = 0
    for piece in x.args:
        end = offset + piece.type.shape[dim]
        if length and offset <= low and high < end:
            window = list(n.attrs["window"])
            window[dim] = (start - offset, length, step)
            return make("slice", piece, window=tuple(window))
        offset = end
    return None


def slice_of_pad(n: Node) -> Node | None:
    """Convert slice(pad(x)) to x when it reads the same window."""
    (x,) = n.args
    return x.args[0] if x.op == "pad" and x.attrs["window"] == n.attrs["window"] else None


def trivial_pad(n: Node) -> Node | None:
    """Convert a pad that adds no zeros to its argument."""
    full = tuple((0, m, 1) for m in n.type.shape)
    return n.args[0] if n.attrs["window"] == full else None


def single_concat(n: Node) -> Node | None:
    """Convert the concatenation of one value to that value."""
    return n.args[0] if len(n.args) == 1 else None


def inverse_axes(n: Node) -> Node | None:
    """Convert collect(distribute(x)) and distribute(collect(x)) over one axis to x."""
    (x,) = n.args
    pair = {n.op, x.op} == {"collect", "distribute"}
    return x.args[0] if pair and x.attrs["axis"] == n.attrs["axis"] else None


VIEW_RULES: dict[str, list[Rule]] = {
    "reshape": [trivial_view, merge_reshapes],
    "transpose": [trivial_view, transpose_to_reshape, merge_transposes],
    "slice": [trivial_view, merge_slices, slice_of_concat, slice_of_pad],
    "pad": [trivial_pad],
    "concat": [single_concat],
    "collect": [inverse_axes],
    "distribute": [inverse_axes],
}


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
    cores = [strip_expands(a) for a in n.args]
    if any(c.core is c.full for c in cores):
        return None
    axes = sort_axes(a for c in cores for a in c.core.type.axes)
    shape = np.broadcast_shapes(*(c.core.type.shape for c in cores))
    if len(axes) == len(n.type.axes) and shape == n.type.shape:
        return None
    small = make(n.op, *(expand_to(c.core, axes, shape) for c in cores), **n.attrs)
    return expand_like(small, n.type)


def sink_named(n: Node) -> Node | None:
    """Convert f(expand(x), …) to expand(f(x, …)) over named axes that every argument only repeats along."""
    common = set.intersection(*(set(strip_expands(a).added) for a in n.args)) if n.args else set()
    common -= {n.attrs.get("axis")}
    if not common:
        return None
    return expand_like(make(n.op, *(without_axes(a, common) for a in n.args), **n.attrs), n.type)


def _event_expand(n: Node) -> Unexpanded | None:
    """The argument of `n` if it is an expand of the event."""
    found = strip_expands(n.args[0])
    return found if found.core.type.shape != found.full.type.shape else None


def reshape_of_expand(n: Node) -> Node | None:
    """Convert reshape(expand(x)) to expand(reshape(x)) when x is one number or unit dimensions change."""
    found = _event_expand(n)
    if found is None:
        return None
    core, shape = found.core, n.attrs["shape"]
    if core.type.event_size == 1:
        return expand_like(reshape_event(core, ()), n.type)
    old = [(m, c) for m, c in zip(found.full.type.shape, found.padded, strict=True) if m != 1]
    if [m for m, _ in old] != [m for m in shape if m != 1]:
        return None
    sizes = iter(c for _, c in old)
    small = tuple(1 if m == 1 else next(sizes) for m in shape)
    return expand_like(reshape_event(core, small), n.type)


def transpose_of_expand(n: Node) -> Node | None:
    """Convert transpose(expand(x)) to expand(transpose(x))."""
    found = _event_expand(n)
    if found is None:
        return None
    small = make("transpose", reshape_event(found.core, found.padded), perm=n.attrs["perm"])
    return expand_like(small, n.type)


def slice_of_expand(n: Node) -> Node | None:
    """Convert slice(expand(x)) to expand(slice(x)), which reads only dimensions that x has."""
    found = _event_expand(n)
    if found is None:
        return None
    full, lead = found.full.type.shape, len(found.full.type.shape) - len(found.core.type.shape)
    pairs = zip(n.attrs["window"][lead:], found.core.type.shape, full[lead:], strict=True)
    window = tuple((0, 1, 1) if m == 1 != f else w for w, m, f in pairs)
    return expand_like(make("slice", found.core, window=window), n.type)


def collect_of_expand(n: Node) -> Node | None:
    """Convert collect(expand(x)) to an expand of the event when x lacks the collected axis."""
    found, axis = strip_expands(n.args[0]), n.attrs["axis"]
    if axis not in found.added:
        return None
    return expand_like(without_axes(n.args[0], {axis}), n.type)


def distribute_of_expand(n: Node) -> Node | None:
    """Convert distribute(expand(x)) to an expand over the axis when x lacks the leading dimension."""
    found = _event_expand(n)
    if found is None or found.padded[0] != 1 or n.args[0].type.shape[0] == 1:
        return None
    whole = len(found.core.type.shape) == len(found.padded)
    return expand_like(reshape_event(found.core, found.padded[1:]) if whole else found.core, n.type)


def route_of_expand(n: Node) -> Node | None:
    """Convert route(expand(x), …) to expand(route(x, …)) over plain axes and events that all repeat along."""
    cores = [strip_expands(a) for a in n.args]
    plain = sort_axes(a for c in cores for a in c.core.type.axes if a.kind is not Kind.BRANCH)
    shape = np.broadcast_shapes(*(c.core.type.shape for c in cores))
    if shape == n.type.shape and all(a in plain for a in n.type.axes if a.kind is not Kind.BRANCH):
        return None
    branches = [() if c.full.type.branch is None else (c.full.type.branch,) for c in cores]
    small = [expand_to(c.core, plain + own, shape) for c, own in zip(cores, branches, strict=True)]
    return expand_like(op("route", *small, **n.attrs), n.type)


NAMED_AXIS_OPS = ("pad", "concat", "take", "argmax", "cumsum")

MATRIX_OPS = ("solve", "cholesky", "inverse", "linsolve", "det", "log_det", "sign_det")

EXPAND_RULES: dict[str, list[Rule]] = {
    "expand": [trivial_expand, merge_expands, expand_of_padding],
    "reshape": [reshape_of_expand, sink_named],
    "transpose": [transpose_of_expand, sink_named],
    "slice": [slice_of_expand, sink_named],
    "collect": [collect_of_expand, sink_named],
    "distribute": [distribute_of_expand, sink_named],
    "route": [route_of_expand],
    **{name: [sink_named] for name in (*NAMED_AXIS_OPS, *MATRIX_OPS)},
    **{name: [sink_elementwise] for name in sorted(ELEMENTWISE)},
}
