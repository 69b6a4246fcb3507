"""Sizes and views: where the entries of a value lie in memory, as affine maps.

Every value that is stored keeps its event contiguous, in C order, behind its named axes. Views (`expand`, `reshape`,
`transpose`, `slice`, `collect`, `distribute`, one branch entry) never move data: `resolve` turns a chain of them into a
`View` of the stored value below. Where no affine map exists it says so, and the value is copied (see `lower`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ppl.compiler.lower.identifiers import identifier
from ppl.ir.node import Node
from ppl.ir.op_facts import VIEWS
from ppl.ir.types import Axis, Kind, Type
from ppl.records import dataclass
from ppl.tuning import LONG_PLATE

Key = Axis | int
"""A loop of an operation: a named axis, or an event dimension by position."""


class Entry(NamedTuple):
    """A fixed position along a named axis."""

    position: int


@dataclass(frozen=True)
class Poly:
    """A polynomial in run-time sizes with integer coefficients; prints as a Python expression."""

    terms: tuple[tuple[tuple[str, ...], int], ...] = ()

    @staticmethod
    def of(value: int | str | Poly) -> Poly:
        """A constant or one symbol."""
        if isinstance(value, Poly):
            return value
        if isinstance(value, str):
            return Poly((((value,), 1),))
        return Poly((((), int(value)),)) if value else Poly()

    def __add__(self, other: int | str | Poly) -> Poly:
        out = dict(self.terms)
        for names, coef in Poly.of(other).terms:
            out[names] = out.get(names, 0) + coef
        return Poly(tuple(sorted((k, c) for k, c in out.items() if c)))

    def __mul__(self, other: int | str | Poly) -> Poly:
        out: dict[tuple[str, ...], int] = {}
        for a, x in self.terms:
            for b, y in Poly.of(other).terms:
                key = tuple(sorted(a + b))
                out[key] = out.get(key, 0) + x * y
        return Poly(tuple(sorted((k, c) for k, c in out.items() if c)))

    @property
    def constant(self) -> int | None:
        """The value, if it does not depend on run-time sizes."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and not self.terms[0][0] else None

    @property
    def names(self) -> set[str]:
        """The run-time sizes it depends on."""
        return {n for names, _ in self.terms for n in names}

    def renamed(self, names: Mapping[str, str]) -> Poly:
        """The same in other symbols."""
        found = Poly()
        for factors, coef in self.terms:
            found = found + Poly(((tuple(sorted(names.get(n, n) for n in factors)), coef),))
        return found

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """Its value at given run-time sizes."""
        total = 0
        for names, coef in self.terms:
            for name in names:
                coef *= sizes[name]
            total += coef
        return total

    def __str__(self) -> str:
        parts = []
        for names, coef in self.terms:
            factors = [*names] if coef == 1 and names else [*names, str(coef)]
            parts.append(" * ".join(factors))
        text = " + ".join(parts) or "0"
        return f"({text})" if len(parts) > 1 else text


def axis_size(axis: Axis) -> Poly:
    """Length of a named axis, symbolic where known only at run time."""
    return Poly.of(axis.size if axis.size is not None else f"n_{identifier(axis.name)}")


def entries(kind: Type) -> Poly:
    """Number of entries of a value of this type."""
    size = Poly.of(kind.event_size)
    for axis in kind.axes:
        size = size * axis_size(axis)
    return size


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
    axes: Mapping[Axis, Key | Entry]
    coefs: Mapping[Key, int]
    offset: int = 0

    def renamed(self, rename: Mapping[Key, Key]) -> View:
        """With keys renamed."""
        axes = {a: k if isinstance(k, Entry) else rename.get(k, k) for a, k in self.axes.items()}
        return View(self.base, axes, {rename.get(k, k): c for k, c in self.coefs.items()}, self.offset)

    def axis_keys(self) -> set[Key]:
        """Keys that move along named axes of the base."""
        return {k for k in self.axes.values() if not isinstance(k, Entry)}


def identity(node: Node) -> View:
    """The view of a stored value by itself."""
    steps = strides_of(node.type.shape)
    coefs: dict[Key, int] = {k: s for k, (s, n) in enumerate(zip(steps, node.type.shape, strict=True)) if n != 1}
    return View(node, {a: a for a in node.type.axes}, coefs)


def is_view(node: Node) -> bool:
    """Whether `node` only re-reads its argument."""
    if node.op == "route":
        return node.attrs["to"] is None and len(node.attrs["terms"][0]) == 1 and len(node.args) == 1
    return node.op in VIEWS


def resolve(node: Node, memo: dict[Node, View | None]) -> View | None:
    """The view that `node` is, or None where it needs its argument copied first."""
    if node not in memo:
        if not is_view(node):
            memo[node] = identity(node)
        else:
            inner = resolve(node.args[0], memo)
            memo[node] = None if inner is None else _apply(node, inner)
    return memo[node]


def _apply(node: Node, inner: View) -> View | None:
    attrs, arg = node.attrs, node.args[0]
    rank = len(arg.type.shape)
    if node.op == "expand":
        shift = len(node.type.shape) - rank
        fixed = {k for k in range(rank) if arg.type.shape[k] != node.type.shape[k + shift]}
        axes = {a: Entry(0) if k in fixed else k for a, k in inner.axes.items()}
        kept = View(inner.base, axes, {k: c for k, c in inner.coefs.items() if k not in fixed}, inner.offset)
        return kept.renamed({k: k + shift for k in range(rank)})
    if node.op == "transpose":
        return inner.renamed({old: new for new, old in enumerate(attrs["perm"])})
    if node.op == "collect":
        return inner.renamed({attrs["axis"]: 0, **{k: k + 1 for k in range(rank)}})
    if node.op == "distribute":
        return inner.renamed({0: attrs["axis"], **{k: k - 1 for k in range(1, rank)}})
    if node.op == "route":
        entry, branch = Entry(attrs["terms"][0][0][1]), arg.type.branch
        moved = {a: entry if k == branch else k for a, k in inner.axes.items()}
        return View(inner.base, moved, inner.coefs, inner.offset)
    if node.op == "slice":
        return _slice(inner, attrs["window"], arg.type.shape)
    return _reshape(inner, arg.type.shape, node.type.shape)


def _slice(inner: View, window: tuple[tuple[int, int, int], ...], shape: tuple[int, ...]) -> View | None:
    coefs, axes, offset, moving = dict(inner.coefs), dict(inner.axes), inner.offset, inner.axis_keys()
    for k, (start, length, step) in enumerate(window):
        if (start, length, step) == (0, shape[k], 1):
            continue
        if k in moving:
            if length != 1:
                return None
            axes = {a: Entry(start) if q == k else q for a, q in axes.items()}
        if k in coefs:
            offset += start * coefs[k]
            coefs[k] *= step
            if length == 1:
                del coefs[k]
    return View(inner.base, axes, coefs, offset)


def _groups(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
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


def _reshape(inner: View, old: tuple[int, ...], new: tuple[int, ...]) -> View | None:
    if 0 in old:
        return None
    moving = inner.axis_keys()
    rename: dict[Key, Key] = {}
    coefs: dict[Key, int] = {k: c for k, c in inner.coefs.items() if not isinstance(k, int)}
    for xs, ys in _groups(old, new):
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
    renamed = {k: Entry(0) if isinstance(k, int) and old[k] == 1 else rename.get(k, k) for k in moving}
    axes = {a: k if isinstance(k, Entry) else renamed[k] for a, k in inner.axes.items()}
    return View(inner.base, axes, coefs, inner.offset)


def row_axis(axes: tuple[Axis, ...]) -> Axis | None:
    """The axis that slabs share: the first repeats or plate axis that is long or known only at run time."""
    for a in axes:
        if a.kind in (Kind.REPEATS, Kind.PLATE) and (a.size is None or a.size >= LONG_PLATE) and not a.together:
            return a
    return None


class Dim(NamedTuple):
    """One loop of an operation."""

    key: Key
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
