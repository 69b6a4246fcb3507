"""Rules of sums and products: reduce less, pull out constant factors, and contract small operands only.

Reductions merge, skip dimensions that are only repeated, and become contractions; contractions and `put` run only over
what both operands vary along."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from ppl.ir.node import Node, make
from ppl.ir.rewrites.patterns import (
    Rule,
    Unexpanded,
    expand_like,
    expand_to,
    is_constant,
    multiply_by_sizes,
    op,
    reshape_event,
    strip_expands,
    sum_over,
    without_axes,
)
from ppl.ir.types import Type


def _without_dims(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
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
    small = reshape_event(x, _without_dims(x.type.shape, unit))
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
    found = strip_expands(n.args[0])
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
        small = multiply_by_sizes(small, (a for a in axes if a in found.added), count)
    return expand_like(small, n.type)


def _factor_out(n: Node, factor: Unexpanded, other: Node, name: str) -> Node | None:
    """sum(other ∘ factor) as sum(sum(other) ∘ factor), the inner sum over what `factor` repeats along."""
    axes = tuple(a for a in n.attrs["axes"] if a in factor.added)
    dims = factor.missing(n.attrs["dims"])
    if not axes and not dims:
        return None
    inner = sum_over(other, axes, dims)
    small = expand_like(reshape_event(factor.core, _without_dims(factor.padded, dims)), inner.type)
    product = op(name, inner, small)
    rest = tuple(d for d in n.attrs["dims"] if d not in dims)
    rank = len(factor.padded)
    return sum_over(product, (a for a in n.attrs["axes"] if a not in axes), _inner_dims(rank, dims, rest))


def sum_of_multiple(n: Node) -> Node | None:
    """Convert sum(x · expand(y)) to sum(x) · y, and the same for division, over what y only repeats along."""
    (x,) = n.args
    if x.op not in ("mul", "div"):
        return None
    a, b = x.args
    found = _factor_out(n, strip_expands(b), a, x.op)
    return _factor_out(n, strip_expands(a), b, "mul") if found is None and x.op == "mul" else found


def sum_of_negative(n: Node) -> Node | None:
    """Convert sum(-x) to -sum(x)."""
    (x,) = n.args
    return op("neg", make("sum", x.args[0], **n.attrs)) if x.op == "neg" else None


def sum_of_selection(n: Node) -> Node | None:
    """Convert the sum of where(c, x, 0) and where(c, 0, x) when c does not vary to where(c, sum x, 0)."""
    (x,) = n.args
    if x.op != "where" or not any(is_constant(a, 0) for a in x.args[1:]):
        return None
    c = strip_expands(x.args[0])
    rank = len(c.padded)
    dims = n.attrs["dims"]
    if any(a not in c.added for a in n.attrs["axes"]) or c.missing(dims) != dims:
        return None
    condition = (
        expand_to(reshape_event(c.core, _without_dims(c.padded, dims)), n.type.axes, n.type.shape) if rank else c.core
    )
    parts = (make("sum", a, **n.attrs) for a in x.args[1:])
    return op("where", expand_like(condition, n.type), *parts)


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
    return sum_over(make("put", *x.args, size=x.attrs["size"], over=over), (), n.attrs["dims"])


_has_table_cache: WeakKeyDictionary[Node, bool] = WeakKeyDictionary()
"""Results of `_has_table`. Terms are shared, so without this the walk would visit them once for every path."""


def _has_table(n: Node) -> bool:
    """Whether a `put` or an outer product, whose sum over rows is a product, is among the terms of `n`."""
    stack = [n]
    while stack:
        node = stack[-1]
        terms = _terms(node)
        missing = [a for a in terms if a not in _has_table_cache]
        if not missing:
            _has_table_cache[node] = _is_table(node) or any(_has_table_cache[a] for a in terms)
            stack.pop()
        stack += missing
    return _has_table_cache[n]


def _terms(n: Node) -> tuple[Node, ...]:
    """The terms of a sum, or of a sum times a number."""
    if n.op == "mul":
        return tuple(x for x, y in (n.args, n.args[::-1]) if strip_expands(y).core.type == Type())
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
    parts = (sum_over(a, n.attrs["axes"], ()) for a in x.args)
    return sum_over(op(x.op, *parts), (), n.attrs["dims"])


def sum_of_view(n: Node) -> Node | None:
    """Convert the sum over named axes of a reshape, transpose, slice or pad to that view of the sum."""
    (x,) = n.args
    if x.op not in ("reshape", "transpose", "slice", "pad") or not n.attrs["axes"]:
        return None
    inner = make(x.op, make("sum", x.args[0], axes=n.attrs["axes"], dims=()), **x.attrs)
    return sum_over(inner, (), n.attrs["dims"])


def sum_all_of_view(n: Node) -> Node | None:
    """Convert the sum over the whole event of a view of x to that of x, which has no unit dimensions."""
    (x,) = n.args
    whole = n.attrs["dims"] == tuple(range(len(x.type.shape)))
    if x.op not in ("reshape", "transpose", "pad") or not whole:
        return None
    (y,) = x.args
    return None if 1 in y.type.shape else sum_over(y, n.attrs["axes"], range(len(y.type.shape)))


COMMON_REDUCTION_RULES: list[Rule] = [empty_reduction, unit_reduction, merge_reductions, reduce_expand]

REDUCTION_RULES: dict[str, list[Rule]] = {
    "sum": [
        *COMMON_REDUCTION_RULES, sum_of_negative, sum_of_multiple, sum_of_selection, sum_of_contract, sum_of_put,
        sum_of_added_tables, sum_of_view, sum_all_of_view,
    ],
    "amax": COMMON_REDUCTION_RULES,
}  # fmt: skip


def _contract_like(n: Node, x: Node, y: Node, /, **changes: object) -> Node:
    return make("contract", x, y, **{**n.attrs, **changes})


def contract_broadcast_axes(n: Node) -> Node | None:
    """Convert contract(expand(x), y) to a contraction without the named axes A that x only repeats along.

    Kept axes that neither operand varies along are added afterwards; summed axes of that kind multiply by
    their length; summed axes that only one operand varies along are summed in that operand first.
    """
    a, b = n.args
    over = n.attrs["over"]
    lazy_a, lazy_b = set(strip_expands(a).added), set(strip_expands(b).added)
    gone = {x for x in a.type.axes if (x in lazy_a and x in lazy_b) or (x in over and x in lazy_a | lazy_b)}
    if not gone:
        return None

    def shrink(x: Node, lazy: set) -> Node:
        return sum_over(without_axes(x, gone & lazy), tuple(s for s in x.type.axes if s in gone - lazy), ())

    small = _contract_like(n, shrink(a, lazy_a), shrink(b, lazy_b), over=tuple(x for x in over if x not in gone))
    doubled = tuple(x for x in a.type.axes if x in over and x in lazy_a & lazy_b)
    return expand_like(multiply_by_sizes(small, doubled), n.type)


def contract_broadcast_labels(n: Node) -> Node | None:
    """Convert contract(expand(x), y) to a contraction without the event labels that x only repeats along."""
    out = n.attrs["out"]
    for mine, other, i in ((n.attrs["a"], n.attrs["b"], 0), (n.attrs["b"], n.attrs["a"], 1)):
        found = strip_expands(n.args[i])
        gone = found.missing(range(len(mine)))
        if not gone:
            continue
        labels = "".join(c for d, c in enumerate(mine) if d not in gone)
        small = reshape_event(found.core, tuple(m for d, m in enumerate(found.padded) if d not in gone))
        dims = [d for d in range(len(mine)) if d not in gone]
        small = expand_to(small, found.full.type.axes, tuple(found.full.type.shape[d] for d in dims))
        sizes = dict(zip(mine, found.full.type.shape, strict=True))
        lost = [mine[d] for d in gone if mine[d] not in other]
        count = 1
        for c in lost:
            count *= 1 if c in out else sizes[c]
        new_out = "".join(c for c in out if c not in lost)
        args = (small, n.args[1]) if i == 0 else (n.args[0], small)
        result = _contract_like(n, *args, a=labels if i == 0 else other, b=other if i == 0 else labels, out=new_out)
        result = multiply_by_sizes(result, (), count)
        shape = tuple(1 if c in lost else m for c, m in zip(out, n.type.shape, strict=True))
        return expand_like(reshape_event(result, shape), n.type)
    return None


def sum_private_labels(n: Node) -> Node | None:
    """Convert a contraction over a label that only one operand has to a contraction of that operand's sum."""
    labels = [n.attrs["a"], n.attrs["b"]]
    args = list(n.args)
    for i in (0, 1):
        mine, other = labels[i], labels[1 - i]
        dims = tuple(d for d, c in enumerate(mine) if c not in other and c not in n.attrs["out"])
        if dims:
            args[i] = sum_over(args[i], (), dims)
            labels[i] = "".join(c for d, c in enumerate(mine) if d not in dims)
    return (
        _contract_like(n, *args, a=labels[0], b=labels[1])
        if args[0] is not n.args[0] or args[1] is not n.args[1]
        else None
    )


def contract_of_transpose(n: Node) -> Node | None:
    """Convert contract(transpose(x), y) to a contraction with the labels of x permuted."""
    labels, args = [n.attrs["a"], n.attrs["b"]], list(n.args)
    for i, x in enumerate(n.args):
        found = strip_expands(x)
        if found.core.op != "transpose" or found.core.type.shape != found.full.type.shape:
            continue
        perm = found.core.attrs["perm"]
        back = [perm.index(d) for d in range(len(perm))]
        labels[i] = "".join(labels[i][d] for d in back)
        inner = found.core.args[0]
        args[i] = expand_to(inner, x.type.axes, inner.type.shape)
    changed = any(a is not b for a, b in zip(args, n.args, strict=True))
    return _contract_like(n, *args, a=labels[0], b=labels[1]) if changed else None


def transpose_of_contract(n: Node) -> Node | None:
    """Convert transpose(contract(x, y)) to a contraction with the output labels permuted."""
    (x,) = n.args
    if x.op != "contract":
        return None
    return _contract_like(x, *x.args, out="".join(x.attrs["out"][p] for p in n.attrs["perm"]))


def contract_of_negative(n: Node) -> Node | None:
    """Convert contract(-x, y) and contract(x, -y) to -contract(x, y)."""
    a, b = n.args
    if a.op == "neg":
        return op("neg", _contract_like(n, a.args[0], b))
    return op("neg", _contract_like(n, a, b.args[0])) if b.op == "neg" else None


def contract_of_multiple(n: Node) -> Node | None:
    """Convert contract(x · s, y) to contract(x, y) · s when s is one number for all rows."""
    for i in (0, 1):
        x = n.args[i]
        if x.op != "mul":
            continue
        for factor, rest in ((x.args[1], x.args[0]), (x.args[0], x.args[1])):
            core = strip_expands(factor).core
            if not core.type.axes and not core.type.shape:
                args = (rest, n.args[1]) if i == 0 else (n.args[0], rest)
                return op("mul", _contract_like(n, *args), expand_like(core, n.type))
    return None


def contract_with_number(n: Node) -> Node | None:
    """Convert a contraction that sums over nothing and has a label-free operand to a product."""
    a, b = n.attrs["a"], n.attrs["b"]
    if n.attrs["over"] or (a and b):
        return None
    x, y, labels = (n.args[0], n.args[1], b) if not a else (n.args[1], n.args[0], a)
    if labels != n.attrs["out"]:
        return None
    return op("mul", y, expand_like(x, n.type))


def put_broadcast_axes(n: Node) -> Node | None:
    """Convert put(expand(x), expand(i)) to a put without the named axes that the index only repeats along."""
    value, index = n.args
    over = n.attrs["over"]
    lazy_value, lazy_index = set(strip_expands(value).added), set(strip_expands(index).added)
    gone = {a for a in lazy_index if a in over or a in lazy_value}
    if not gone:
        return None
    small_value = without_axes(value, gone & lazy_value)
    small_value = sum_over(small_value, tuple(a for a in value.type.axes if a in gone - lazy_value), ())
    kept = tuple(a for a in over if a not in gone)
    small = make("put", small_value, without_axes(index, gone), size=n.attrs["size"], over=kept)
    doubled = tuple(a for a in value.type.axes if a in over and a in gone & lazy_value)
    return expand_like(multiply_by_sizes(small, doubled), n.type)


CONTRACTION_RULES: dict[str, list[Rule]] = {
    "contract": [
        contract_broadcast_axes,
        contract_broadcast_labels,
        sum_private_labels,
        contract_of_transpose,
        contract_of_negative,
        contract_of_multiple,
        contract_with_number,
    ],
    "transpose": [transpose_of_contract],
    "put": [put_broadcast_axes],
}
