"""Rules that sum less: reductions merge, skip what is only repeated, and pull out constant factors."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from ppl.ir.node import Node, make
from ppl.ir.rewrites.match import (
    Core,
    Rule,
    is_value,
    op,
    reshaped,
    spread,
    spread_like,
    strip,
    summed,
    times_sizes,
)
from ppl.ir.types import Type


def _drop(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(m for d, m in enumerate(shape) if d not in dims)


def _outer_dims(rank: int, gone: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    """Dimensions `dims` of an event of `rank` without `gone`, as numbered with them."""
    left = [d for d in range(rank) if d not in gone]
    return tuple(left[d] for d in dims)


def _inner_dims(rank: int, gone: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    """Dimensions `dims` (none of them `gone`) of an event of `rank`, as numbered without `gone`."""
    left = [d for d in range(rank) if d not in gone]
    return tuple(left.index(d) for d in dims)


def empty_reduction(n: Node) -> Node | None:
    """Convert a reduction over nothing to its argument."""
    return n.args[0] if not n.attrs["axes"] and not n.attrs["dims"] else None


def unit_reduction(n: Node) -> Node | None:
    """Convert a reduction over event dimensions of length one to a reshape."""
    (x,) = n.args
    unit = tuple(d for d in n.attrs["dims"] if x.type.shape[d] == 1)
    if not unit:
        return None
    rest = tuple(d for d in n.attrs["dims"] if d not in unit)
    dims = _inner_dims(len(x.type.shape), unit, rest)
    small = reshaped(x, _drop(x.type.shape, unit))
    return make(n.op, small, axes=n.attrs["axes"], dims=dims) if n.attrs["axes"] or dims else small


def merge_reductions(n: Node) -> Node | None:
    """Convert sum(sum(x)) and amax(amax(x)) to one reduction."""
    (x,) = n.args
    if x.op != n.op:
        return None
    rank = len(x.args[0].type.shape)
    dims = (*x.attrs["dims"], *_outer_dims(rank, x.attrs["dims"], n.attrs["dims"]))
    axes = tuple(a for a in x.args[0].type.axes if a in x.attrs["axes"] + n.attrs["axes"])
    return make(n.op, x.args[0], axes=axes, dims=tuple(sorted(dims)))


def reduce_expand(n: Node) -> Node | None:
    """Convert a reduction of expand(x) to an expand of that of x, times the lengths only repeated along."""
    found = strip(n.args[0])
    if found.core is found.full:
        return None
    axes, dims, lead = n.attrs["axes"], n.attrs["dims"], len(found.padded) - len(found.core.type.shape)
    inner_axes = tuple(a for a in axes if a in found.core.type.axes)
    inner_dims = tuple(d - lead for d in dims if d >= lead)
    small = found.core
    if inner_axes or inner_dims:
        small = make(n.op, small, axes=inner_axes, dims=inner_dims)
    if n.op == "sum":
        count = 1
        for d in found.missing(dims):
            count *= found.full.type.shape[d]
        small = times_sizes(small, (a for a in axes if a in found.added), count)
    return spread_like(small, n.type)


def _factor_out(n: Node, factor: Core, other: Node, name: str) -> Node | None:
    """sum(other ∘ factor) as sum(sum(other) ∘ factor), the inner sum over what `factor` repeats along."""
    axes = tuple(a for a in n.attrs["axes"] if a in factor.added)
    dims = factor.missing(n.attrs["dims"])
    if not axes and not dims:
        return None
    inner = summed(other, axes, dims)
    small = spread_like(reshaped(factor.core, _drop(factor.padded, dims)), inner.type)
    product = op(name, inner, small)
    rest = tuple(d for d in n.attrs["dims"] if d not in dims)
    rank = len(factor.padded)
    return summed(product, (a for a in n.attrs["axes"] if a not in axes), _inner_dims(rank, dims, rest))


def sum_of_multiple(n: Node) -> Node | None:
    """Convert sum(x · expand(y)) to sum(x) · y, and the same for division, over what y only repeats along."""
    (x,) = n.args
    if x.op not in ("mul", "div"):
        return None
    a, b = x.args
    found = _factor_out(n, strip(b), a, x.op)
    return _factor_out(n, strip(a), b, "mul") if found is None and x.op == "mul" else found


def sum_of_negative(n: Node) -> Node | None:
    """Convert sum(-x) to -sum(x)."""
    (x,) = n.args
    return op("neg", make("sum", x.args[0], **n.attrs)) if x.op == "neg" else None


def sum_of_selection(n: Node) -> Node | None:
    """Convert the sum of where(c, x, 0) and where(c, 0, x) when c does not vary to where(c, sum x, 0)."""
    (x,) = n.args
    if x.op != "where" or not any(is_value(a, 0) for a in x.args[1:]):
        return None
    c = strip(x.args[0])
    rank = len(c.padded)
    dims = n.attrs["dims"]
    if any(a not in c.added for a in n.attrs["axes"]) or c.missing(dims) != dims:
        return None
    condition = spread(reshaped(c.core, _drop(c.padded, dims)), n.type.axes, n.type.shape) if rank else c.core
    parts = (make("sum", a, **n.attrs) for a in x.args[1:])
    return op("where", spread_like(condition, n.type), *parts)


def sum_of_contract(n: Node) -> Node | None:
    """Convert the sum of a contract to a contract over more axes and labels."""
    (x,) = n.args
    if x.op != "contract":
        return None
    out = "".join(c for d, c in enumerate(x.attrs["out"]) if d not in n.attrs["dims"])
    over = tuple(a for a in x.args[0].type.axes if a in x.attrs["over"] + n.attrs["axes"])
    return make("contract", *x.args, a=x.attrs["a"], b=x.attrs["b"], out=out, over=over)


def sum_of_put(n: Node) -> Node | None:
    """Convert the sum over named axes of a put to a put over more axes."""
    (x,) = n.args
    if x.op != "put" or not n.attrs["axes"]:
        return None
    over = tuple(a for a in x.args[0].type.axes if a in x.attrs["over"] + n.attrs["axes"])
    return summed(make("put", *x.args, size=x.attrs["size"], over=over), (), n.attrs["dims"])


_tables: WeakKeyDictionary[Node, bool] = WeakKeyDictionary()
"""Results of `_has_table`. Terms are shared, so without this the walk would visit them once for every path."""


def _has_table(n: Node) -> bool:
    """Whether a `put` or an outer product, whose sum over rows is a product, is among the terms of `n`."""
    stack = [n]
    while stack:
        node = stack[-1]
        terms = _terms(node)
        missing = [a for a in terms if a not in _tables]
        if not missing:
            _tables[node] = _is_table(node) or any(_tables[a] for a in terms)
            stack.pop()
        stack += missing
    return _tables[n]


def _terms(n: Node) -> tuple[Node, ...]:
    """The terms of a sum, or of a sum times a number."""
    if n.op == "mul":
        return tuple(x for x, y in (n.args, n.args[::-1]) if strip(y).core.type == Type())
    return n.args if n.op in ("add", "sub", "neg") else ()


def _is_table(n: Node) -> bool:
    outer = n.op == "contract" and n.type.event_size > max(a.type.event_size for a in n.args)
    return outer or n.op == "put"


def sum_of_added_tables(n: Node) -> Node | None:
    """Convert the sum over named axes of a ± b to sum(a) ± sum(b) when a put or an outer product is among them.

    Rows then touch only their own entries of a table, and outer products become one product over all rows, where
    else the whole table would be written for each of them.
    """
    (x,) = n.args
    if x.op not in ("add", "sub") or not n.attrs["axes"] or not _has_table(x):
        return None
    parts = (summed(a, n.attrs["axes"], ()) for a in x.args)
    return summed(op(x.op, *parts), (), n.attrs["dims"])


def sum_of_view(n: Node) -> Node | None:
    """Convert the sum over named axes of a reshape, transpose, slice or pad to that view of the sum."""
    (x,) = n.args
    if x.op not in ("reshape", "transpose", "slice", "pad") or not n.attrs["axes"]:
        return None
    inner = make(x.op, make("sum", x.args[0], axes=n.attrs["axes"], dims=()), **x.attrs)
    return summed(inner, (), n.attrs["dims"])


def sum_all_of_view(n: Node) -> Node | None:
    """Convert the sum over the whole event of a view of x to that of x, which has no unit dimensions."""
    (x,) = n.args
    whole = n.attrs["dims"] == tuple(range(len(x.type.shape)))
    if x.op not in ("reshape", "transpose", "pad") or not whole:
        return None
    (y,) = x.args
    return None if 1 in y.type.shape else summed(y, n.attrs["axes"], range(len(y.type.shape)))


COMMON: list[Rule] = [empty_reduction, unit_reduction, merge_reductions, reduce_expand]
RULES: dict[str, list[Rule]] = {
    "sum": [
        *COMMON, sum_of_negative, sum_of_multiple, sum_of_selection, sum_of_contract, sum_of_put,
        sum_of_added_tables, sum_of_view, sum_all_of_view,
    ],
    "amax": COMMON,
}  # fmt: skip
