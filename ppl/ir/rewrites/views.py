"""Rules of reshapes, transposes, slices, pieces and collected axes: views compose and inverses cancel."""

from __future__ import annotations

from ppl.ir.node import Node, make
from ppl.ir.rewrites.match import Rule, reshaped


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
    return reshaped(x.args[0], n.type.shape) if x.op == "reshape" else None


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
    return reshaped(n.args[0], n.type.shape) if moved == sorted(moved) else None


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


RULES: dict[str, list[Rule]] = {
    "reshape": [trivial_view, merge_reshapes],
    "transpose": [trivial_view, transpose_to_reshape, merge_transposes],
    "slice": [trivial_view, merge_slices, slice_of_concat, slice_of_pad],
    "pad": [trivial_pad],
    "concat": [single_concat],
    "collect": [inverse_axes],
    "distribute": [inverse_axes],
}
