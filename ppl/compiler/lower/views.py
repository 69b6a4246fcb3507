"""Views: where the entries of a value lie in memory, as affine maps.

Every value that is stored keeps its event contiguous, in C order, behind its named axes. Views (`expand`, `reshape`,
`transpose`, `slice`, `collect`, `distribute`, one branch entry) never move data: `resolve_view` turns a chain of them
into a `View` of the stored value below. Where no affine map exists, or a step needs contiguous memory, the value is
copied (`as_contiguous`, `as_stored`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ppl.compiler.lower.sizes import Poly, axis_size
from ppl.ir.node import Node, make, rebuild, remake
from ppl.ir.op_facts import GIVEN, VIEWS
from ppl.ir.types import Axis, Kind
from ppl.records import dataclass
from ppl.tuning import LONG_PLATE

LoopKey = Axis | int
"""A loop of an operation: a named axis, or an event dimension by position."""


class FixedIndex(NamedTuple):
    """A fixed position along a named axis."""

    position: int


def strides_of(shape: tuple[int, ...]) -> list[int]:
    """C-order strides of an event shape, in entries."""
    out, step = [], 1
    for n in reversed(shape):
        out.append(step)
        step *= n
    return out[::-1]


@dataclass(frozen=True)
class View:
    """How a node reads the stored value `base`.

    `axes` says which key of the view (or fixed entry) moves along each named axis of the base; `coefs` and `offset`
    give the flat event index in the base as an affine function of the view's keys.
    """

    base: Node
    axes: Mapping[Axis, LoopKey | FixedIndex]
    coefs: Mapping[LoopKey, int]
    offset: int = 0

    def renamed(self, rename: Mapping[LoopKey, LoopKey]) -> View:
        """With keys renamed."""
        axes = {a: k if isinstance(k, FixedIndex) else rename.get(k, k) for a, k in self.axes.items()}
        return View(self.base, axes, {rename.get(k, k): c for k, c in self.coefs.items()}, self.offset)

    def axis_keys(self) -> set[LoopKey]:
        """Keys that move along named axes of the base."""
        return {k for k in self.axes.values() if not isinstance(k, FixedIndex)}


def identity_view(node: Node) -> View:
    """The view of a stored value by itself."""
    steps = strides_of(node.type.shape)
    coefs: dict[LoopKey, int] = {k: s for k, (s, n) in enumerate(zip(steps, node.type.shape, strict=True)) if n != 1}
    return View(node, {a: a for a in node.type.axes}, coefs)


def is_view(node: Node) -> bool:
    """Whether `node` only re-reads its argument."""
    if node.op == "route":
        return node.attrs["to"] is None and len(node.attrs["terms"][0]) == 1 and len(node.args) == 1
    return node.op in VIEWS


def resolve_view(node: Node, memo: dict[Node, View | None]) -> View | None:
    """The view that `node` is, or None where it needs its argument copied first."""
    if node not in memo:
        if not is_view(node):
            memo[node] = identity_view(node)
        else:
            inner = resolve_view(node.args[0], memo)
            memo[node] = None if inner is None else _compose_view(node, inner)
    return memo[node]


def _compose_view(node: Node, inner: View) -> View | None:
    attrs, arg = node.attrs, node.args[0]
    rank = len(arg.type.shape)
    if node.op == "expand":
        shift = len(node.type.shape) - rank
        fixed = {k for k in range(rank) if arg.type.shape[k] != node.type.shape[k + shift]}
        axes = {a: FixedIndex(0) if k in fixed else k for a, k in inner.axes.items()}
        kept = View(inner.base, axes, {k: c for k, c in inner.coefs.items() if k not in fixed}, inner.offset)
        return kept.renamed({k: k + shift for k in range(rank)})
    if node.op == "transpose":
        return inner.renamed({old: new for new, old in enumerate(attrs["perm"])})
    if node.op == "collect":
        return inner.renamed({attrs["axis"]: 0, **{k: k + 1 for k in range(rank)}})
    if node.op == "distribute":
        return inner.renamed({0: attrs["axis"], **{k: k - 1 for k in range(1, rank)}})
    if node.op == "route":
        entry, branch = FixedIndex(attrs["terms"][0][0][1]), arg.type.branch
        moved = {a: entry if k == branch else k for a, k in inner.axes.items()}
        return View(inner.base, moved, inner.coefs, inner.offset)
    if node.op == "slice":
        return _slice_view(inner, attrs["window"], arg.type.shape)
    return _reshape_view(inner, arg.type.shape, node.type.shape)


def _slice_view(inner: View, window: tuple[tuple[int, int, int], ...], shape: tuple[int, ...]) -> View | None:
    coefs, axes, offset, moving = dict(inner.coefs), dict(inner.axes), inner.offset, inner.axis_keys()
    for k, (start, length, step) in enumerate(window):
        if (start, length, step) == (0, shape[k], 1):
            continue
        if k in moving:
            if length != 1:
                return None
            axes = {a: FixedIndex(start) if q == k else q for a, q in axes.items()}
        if k in coefs:
            offset += start * coefs[k]
            coefs[k] *= step
            if length == 1:
                del coefs[k]
    return View(inner.base, axes, coefs, offset)


def _matching_dimensions(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Smallest runs of old and new dimensions (longer than 1) with equal products."""
    a = [k for k, n in enumerate(old) if n != 1]
    b = [k for k, n in enumerate(new) if n != 1]
    out: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(a) and j < len(b):
        xs, ys, p, q = [a[i]], [b[j]], old[a[i]], new[b[j]]
        i, j = i + 1, j + 1
        while p != q:
            if p < q:
                p, i = p * old[a[i]], i + 1
                xs.append(a[i - 1])
            else:
                q, j = q * new[b[j]], j + 1
                ys.append(b[j - 1])
        out.append((xs, ys))
    return out


def _reshape_view(inner: View, old: tuple[int, ...], new: tuple[int, ...]) -> View | None:
    if 0 in old:
        return None
    moving = inner.axis_keys()
    rename: dict[LoopKey, LoopKey] = {}
    coefs: dict[LoopKey, int] = {k: c for k, c in inner.coefs.items() if not isinstance(k, int)}
    for xs, ys in _matching_dimensions(old, new):
        if len(xs) == len(ys) == 1:
            rename[xs[0]] = ys[0]
            if xs[0] in inner.coefs:
                coefs[ys[0]] = inner.coefs[xs[0]]
            continue
        if any(k in moving for k in xs):
            return None
        steps = [inner.coefs.get(k, 0) for k in xs]
        if any(steps[i] != steps[i + 1] * old[xs[i + 1]] for i in range(len(xs) - 1)):
            return None
        step = steps[-1]
        for k in reversed(ys):
            if step:
                coefs[k] = step
            step *= new[k]
    renamed = {k: FixedIndex(0) if isinstance(k, int) and old[k] == 1 else rename.get(k, k) for k in moving}
    axes = {a: k if isinstance(k, FixedIndex) else renamed[k] for a, k in inner.axes.items()}
    return View(inner.base, axes, coefs, inner.offset)


def row_axis(axes: tuple[Axis, ...]) -> Axis | None:
    """The axis that slabs share: the first repeats or plate axis that is long or known only at run time."""
    for a in axes:
        if a.kind in (Kind.REPEATS, Kind.PLATE) and (a.size is None or a.size >= LONG_PLATE) and not a.together:
            return a
    return None


class Dim(NamedTuple):
    """One loop of an operation."""

    key: LoopKey
    size: Poly

    @property
    def token(self) -> Axis | Poly:
        """What loops must share to be fused: the axis, or for event dimensions the length."""
        return self.size if isinstance(self.key, int) else self.key


def dims_of(axes: tuple[Axis, ...], shape: tuple[int, ...]) -> tuple[Dim, ...]:
    """Loops over a value in memory order: row axis, other named axes, event dimensions; those of length 1 left out."""
    row = row_axis(axes)
    named = ([row] if row else []) + [a for a in axes if a != row]
    dims = [Dim(a, axis_size(a)) for a in named if a.size != 1]
    return tuple(dims + [Dim(k, Poly.of(n)) for k, n in enumerate(shape) if n != 1])


def axis_strides(axes: tuple[Axis, ...], event_size: int) -> dict[Axis, Poly]:
    """Memory strides of the named axes of a stored value."""
    row = row_axis(axes)
    named = ([row] if row else []) + [a for a in axes if a != row]
    out, step = {}, Poly.of(event_size)
    for a in reversed(named):
        out[a] = step
        step = step * axis_size(a)
    return out


def contiguous_copy(x: Node) -> Node:
    """A contiguous copy of `x`."""
    return make("copy", x)


def is_contiguous(x: Node) -> bool:
    """Whether `x` is in memory, with its event contiguous; single numbers that are constant are in code instead."""
    view = resolve_view(x, {})
    return (
        view is not None
        and view.base.op not in ("scale", "size")
        and not (x.type.shape and view.base.op == "const" and view.base.attrs["value"].value.size == 1)
        and view.coefs == identity_view(x).coefs
        and not any(isinstance(k, int) for k in view.axes.values() if not isinstance(k, FixedIndex))
    )


def as_contiguous(x: Node) -> Node:
    """`x`, or a copy whose event is contiguous in memory."""
    return x if is_contiguous(x) else contiguous_copy(x)


def as_stored(x: Node) -> Node:
    """`x`, or a copy, as a value that a step computed and that has memory for all its named axes and entries."""
    view = resolve_view(x, {})
    whole = view is not None and is_contiguous(x) and view.base.op not in GIVEN and view.base.type.axes == x.type.axes
    return x if whole else contiguous_copy(x)


def copy_unresolved_views(outputs: Sequence[Node]) -> list[Node]:
    """`outputs` with a copy below every view that no affine map can express."""
    memo: dict[Node, Any] = {}

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        new = remake(node, args)
        if is_view(new) and resolve_view(new, memo) is None:
            new = remake(new, (contiguous_copy(args[0]),))
        return new

    return rebuild(outputs, visit)


def stored_operands(node: Node) -> list[Node]:
    """The stored values that a node reads."""
    out = []
    for arg in node.args:
        while is_view(arg):
            arg = arg.args[0]
        out.append(arg)
    return out


def innermost_view(node: Node) -> Node:
    """The innermost of the views that stand on one another at `node`: the one that reads a value."""
    while is_view(node) and is_view(node.args[0]):
        node = node.args[0]
    return node
