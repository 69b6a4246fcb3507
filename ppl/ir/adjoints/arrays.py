"""Adjoints of moves of entries, sums, products and users' functions."""

from __future__ import annotations

from ppl.ir import ops
from ppl.ir.external import Result, packed_size, part, values_of
from ppl.ir.node import Node, make
from ppl.ir.types import Kind

Cotangents = tuple[Node | None, ...]


def expand(g: Node, n: Node, x: Node) -> Cotangents:
    """Sums over what was broadcast."""
    new, live = n.attrs["axes"], n.attrs["live"]
    branch = next((a for a in new if a.kind is Kind.BRANCH), None)
    if branch is not None:
        terms = tuple((0, t) for t in range(len(branch.copies)) if live is None or live[t])
        if not terms:
            return (None,)
        g = make("route", g, to=None, terms=(terms,), live=(True,))
    offset = len(n.type.shape) - len(x.type.shape)
    stretched = tuple(d for d, m in enumerate(x.type.shape, offset) if m == 1 != n.type.shape[d])
    dims = tuple(range(offset)) + stretched
    axes = tuple(a for a in new if a.kind is not Kind.BRANCH)
    g = make("sum", g, axes=axes, dims=dims) if axes or dims else g
    return (ops.reshape(g, x.type.shape),)


def route(g: Node, n: Node, *args: Node) -> Cotangents:
    """Each entry gets what was read from it."""
    terms, live = n.attrs["terms"], n.attrs["live"]
    out: list[Node | None] = []
    for i, arg in enumerate(args):
        branch = arg.type.branch
        count = 1 if branch is None else len(branch.copies)
        back = tuple(
            tuple((0, t) for t, pairs in enumerate(terms) if live[t] for pair in pairs if pair == (i, s))
            for s in range(count)
        )
        out.append(make("route", g, to=branch, terms=back, live=(True,) * count) if any(back) else None)
    return tuple(out)


def keepdims(g: Node, n: Node, x: Node) -> Node:
    """`g`, broadcast to the argument of the reduction `n`."""
    shape = tuple(1 if d in n.attrs["dims"] else m for d, m in enumerate(x.type.shape))
    return (
        make("expand", ops.reshape(g, shape), axes=n.attrs["axes"], shape=x.type.shape, live=None)
        if n.attrs["axes"]
        else ops.expand(ops.reshape(g, shape), (), x.type.shape)
    )


def amax(g: Node, n: Node, x: Node) -> Cotangents:
    """To the largest entries, in equal shares."""
    hit = ops.cast(ops.equal(x, keepdims(n, n, x)), "float")
    count = make("sum", hit, axes=n.attrs["axes"], dims=n.attrs["dims"])
    return (ops.mul(keepdims(ops.div(g, count), n, x), hit),)


def _one_contract(g: Node, n: Node, other: Node, lo: str, mine: Node, lm: str) -> Node:
    lg = n.attrs["out"]
    kept = "".join(c for c in lm if c in lg or c in lo)
    g = make("expand", g, axes=n.attrs["over"], shape=g.type.shape, live=None) if n.attrs["over"] else g
    out = make("contract", g, other, a=lg, b=lo, out=kept, over=())
    shape = tuple(m if c in kept else 1 for c, m in zip(lm, mine.type.shape, strict=True))
    return ops.expand(ops.reshape(out, shape), (), mine.type.shape)


def contract(g: Node, n: Node, a: Node, b: Node) -> Cotangents:
    """Each operand gets the contraction of `g` with the other."""
    return _one_contract(g, n, b, n.attrs["b"], a, n.attrs["a"]), _one_contract(g, n, a, n.attrs["a"], b, n.attrs["b"])


def concat(g: Node, n: Node, *args: Node) -> Cotangents:
    """Each argument gets its window."""
    out, start, dim = [], 0, n.attrs["dim"]
    for arg in args:
        window = [(0, m, 1) for m in n.type.shape]
        window[dim] = (start, arg.type.shape[dim], 1)
        out.append(ops.window(g, window))
        start += arg.type.shape[dim]
    return tuple(out)


def cumsum(g: Node, n: Node, x: Node) -> Cotangents:
    """Sums from the other end."""
    *lead, last = g.type.shape
    back = (*((0, m, 1) for m in lead), (last - 1, last, -1))
    return (ops.window(ops.cumsum(ops.window(g, back)), back),)


def put(g: Node, n: Node, value: Node, index: Node) -> Cotangents:
    """Reads the rows that were written."""
    return ops.take(make("expand", g, axes=n.attrs["over"], shape=g.type.shape, live=None), index), None


def inverse(perm: tuple[int, ...]) -> tuple[int, ...]:
    """The inverse of a permutation."""
    return tuple(perm.index(i) for i in range(len(perm)))


def external(g: Node, n: Node, *args: Node) -> Cotangents:
    """The user's gradient, where there is one: the parts of what one call of it returns."""
    fn = n.attrs["fn"]
    if fn.gradient is None or n.attrs["output"] is not None:
        return (None,) * len(args)
    slopes = [Result(a.type.shape, "float" if a.type.dtype == "float" else "") for a in values_of(n)]
    given = [part(g, fn.outputs, i) for i, r in enumerate(fn.outputs) if r.dtype == "float"] or [g]
    packed = make("external", *args, *given, fn=fn, output="gradient", axes=n.attrs["axes"],
                  shape=(packed_size(slopes),), dtype="float")  # fmt: skip
    found = [part(packed, slopes, i) if slope.dtype else None for i, slope in enumerate(slopes)]
    return (*((None,) if fn.key else ()), *found)
