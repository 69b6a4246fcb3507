"""Products: contractions as matrix products, as products with rows of tables, or as sums of elementwise products.

A `contract` becomes a `gemm` (two groups of loops multiplied over a third), a step that reads rows of a table where
they lie, or a sum of products for the fuser. Sums of matrix products over rows become one product with one accumulator
(`fuse_products`).

=============  =====================================  ================================
op             arguments                              value
=============  =====================================  ================================
`table_dot`    table (N, D), index (K,) or (), x (D)  table[index] @ x, (K,) or ()
`table_sum`    table (N, D), index (K,), x (K)        x @ table[index], (D,)
=============  =====================================  ================================"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ppl.compiler.lower.sizes import Poly, axis_size, entry_count
from ppl.compiler.lower.target import Rewrites
from ppl.compiler.lower.views import as_contiguous, axis_strides, contiguous_copy, dims_of, resolve_view, row_axis
from ppl.ir import ops
from ppl.ir.node import Node, make, rebuild, remake, topological
from ppl.ir.types import Axis, Type


def lower_table_product(
    a: Node,
    la: str,
    b: Node,
    lb: str,
    kept: tuple[Axis, ...],
    out: str,
    plain: Callable[[Node], Node],
    rules: Rewrites,
) -> Node | None:
    """The product over `kept` and the labels `out` as such a step; None if neither operand is a read of rows.

    `plain` makes an operand contiguous.
    """
    for x, lx, other, lo in ((a, la, b, lb), (b, lb, a, la)):
        if (
            x.op != "take"
            or not _reads_parameter_rows(x, kept, rules)
            or other.type.axes != kept
            or other.type.dtype != "float"
        ):
            continue
        table, index = x.args
        picked, width = lx[:-1], lx[-1]
        if (lo, out) == (width, picked):
            return make("table_dot", table, plain(index), plain(other))
        if (lo, out) == (picked, width) and len(picked) == 1:
            return make("table_sum", table, plain(index), plain(other))
    return None


def _reads_parameter_rows(x: Node, kept: tuple[Axis, ...], rules: Rewrites) -> bool:
    """Whether `x` reads rows of a parameter, over one plate whose length is that of the data."""
    table, index = x.args
    while table.op == "expand" and table.type.shape == table.args[0].type.shape:
        table = table.args[0]
    if table.op != "param" or table.type.axes or len(table.type.shape) != 2 or table.type.shape[1] < rules.table_width:
        return False
    one_plate = len(kept) == 1 and kept[0].size is None and row_axis(kept) == kept[0] and index.type.axes == kept
    return one_plate and len(index.type.shape) <= 1 and resolve_view(index, {}) is not None


OPERAND_ATTRIBUTES = ("rows", "cols", "inner", "a", "b")
"""Attributes of a product that belong to its two operands."""


class _ScaledProduct(NamedTuple):
    gemm: Node
    factor: Node | None


def fuse_products(outputs: Sequence[Node]) -> list[Node]:
    """`outputs` with such sums as one product, where nothing else reads the products."""
    uses = Counter(a for node in topological(outputs) for a in node.args) + Counter(outputs)

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        if node.op in ("add", "sub") and all(uses[a] == 1 for a in node.args):
            first, second = (_as_scaled_product(old, new, uses) for old, new in zip(node.args, args, strict=True))
            if first is not None and second is not None:
                return _fuse_two(first, second if node.op == "add" else _negate_product(second))
        return remake(node, args)

    return rebuild(outputs, visit)


def _as_scaled_product(old: Node, new: Node, uses: Counter[Node]) -> _ScaledProduct | None:
    """`new`, which replaces `old`, as a product that adds up over rows, times a number."""
    if old.op == "neg" and uses[old.args[0]] == 1:
        found = _as_scaled_product(old.args[0], new.args[0], uses)
        return None if found is None else _negate_product(found)
    if old.op == "mul":
        for i, other in ((0, 1), (1, 0)):
            number, found = _repeated_number(new.args[other]), _as_scaled_product(old.args[i], new.args[i], uses)
            if number is not None and found is not None and found.factor is None and uses[old.args[i]] == 1:
                return _ScaledProduct(found.gemm, number)
        return None
    over_rows = old.op == "gemm" and row_axis(tuple(i for i in old.attrs["inner"] if isinstance(i, Axis))) is not None
    return _ScaledProduct(new, None) if over_rows and "more" not in new.attrs and not new.type.axes else None


def _repeated_number(x: Node) -> Node | None:
    """The one number that `x` repeats, or None."""
    while x.op == "expand":
        x = x.args[0]
    return x if not x.type.axes and not x.type.shape else None


def _negate_product(term: _ScaledProduct) -> _ScaledProduct:
    return _ScaledProduct(term.gemm, ops.const(-1.0) if term.factor is None else ops.neg(term.factor))


def _fuse_two(first: _ScaledProduct, second: _ScaledProduct) -> Node:
    more = tuple(second.gemm.attrs[name] for name in OPERAND_ATTRIBUTES)
    args = (*_scaled_operands(first), *_scaled_operands(second))
    own = {name: first.gemm.attrs[name] for name in OPERAND_ATTRIBUTES}
    return make("gemm", *args, type=first.gemm.type, more=(more,), **own)


def _scaled_operands(term: _ScaledProduct) -> tuple[Node, Node]:
    a, b = term.gemm.args
    return (a, b) if term.factor is None else (a, ops.mul(b, term.factor))


def operand_pairs(gemm: Node) -> list[tuple[dict[str, Any], Node, Node]]:
    """Attributes and operands of each pair of a product."""
    attrs = [
        dict(gemm.attrs),
        *(dict(zip(OPERAND_ATTRIBUTES, more, strict=True)) for more in gemm.attrs.get("more", ())),
    ]
    return [(own, gemm.args[2 * i], gemm.args[2 * i + 1]) for i, own in enumerate(attrs)]


def multiplication_count(gemm: Node) -> Poly:
    """Number of multiplications of a product."""
    total = Poly()
    for attrs, a, _ in operand_pairs(gemm):
        size = entry_count(gemm.type)
        for x in attrs["inner"]:
            size = size * (axis_size(x) if isinstance(x, Axis) else a.type.shape[attrs["a"].index(x)])
        total = total + size
    return total


ContractionLabel = str | Axis


def _strip_broadcast(x: Node, labels: str) -> tuple[Node, str]:
    """`x` without lazy broadcasting: only the named axes and labels along which it varies."""
    while x.op == "expand":
        inner = x.args[0]
        offset = len(x.type.shape) - len(inner.type.shape)
        pairs = list(enumerate(labels))
        same = [(d, c) for d, c in pairs if d >= offset and inner.type.shape[d - offset] == x.type.shape[d]]
        shape = tuple(x.type.shape[d] for d, _ in same)
        if shape != inner.type.shape:
            inner = make("reshape", inner, shape=shape)
        x, labels = inner, "".join(c for _, c in same)
    return x, labels


def lower_contraction(node: Node, a: Node, b: Node, rules: Rewrites) -> Node:
    """Lower the `contract` of `a` and `b` to a product of a table, a matrix product, or a sum of products."""
    out, over = node.attrs["out"], set(node.attrs["over"])
    sizes = {c: n for side, x in (("a", a), ("b", b)) for c, n in zip(node.attrs[side], x.type.shape, strict=True)}
    axes = a.type.axes
    (a, la), (b, lb) = _strip_broadcast(a, node.attrs["a"]), _strip_broadcast(b, node.attrs["b"])
    a, la, b, lb = _sum_unshared_loops(a, la, b, lb, out, over)
    has_a, has_b = {*la, *a.type.axes}, {*lb, *b.type.axes}
    kept = [x for x in axes if x not in over and (x in has_a or x in has_b)]
    labels = "".join(c for c in out if c in has_a or c in has_b)
    dead: list[ContractionLabel] = [
        x for x in (*over, *sizes) if x not in has_a | has_b and (x in over or x not in out)
    ]
    operands = a, la, b, lb, tuple(kept), labels
    core = (
        lower_table_product(*operands, as_contiguous, rules)
        or _matrix_product(*operands, rules)
        or _sum_of_products(*operands, sizes)
    )
    for x in dead:
        core = ops.mul(core, ops.size(x) if isinstance(x, Axis) else float(sizes[x]))
    core = ops.reshape(core, tuple(sizes[c] if c in labels else 1 for c in out))
    return ops.expand(core, node.type.axes, node.type.shape)


def _sum_unshared_loops(a: Node, la: str, b: Node, lb: str, out: str, over: set[Axis]) -> tuple[Node, str, Node, str]:
    """Sum out the loops that only one operand has before multiplying."""
    done: list[tuple[Node, str]] = []
    for x, lx, other, lo in ((a, la, b, lb), (b, lb, a, la)):
        axes = tuple(i for i in x.type.axes if i in over and i not in other.type.axes)
        dims = tuple(d for d, c in enumerate(lx) if c not in out and c not in lo)
        rest = "".join(c for d, c in enumerate(lx) if d not in dims)
        done.append((make("sum", x, axes=axes, dims=dims) if axes or dims else x, rest))
    return (*done[0], *done[1])


def _known_extent(items: Sequence[ContractionLabel], x: Node, labels: str) -> tuple[int, bool]:
    """Product of the known sizes of `items`, and whether some are known only at run time."""
    known, runtime = 1, False
    for i in items:
        n = i.size if isinstance(i, Axis) else x.type.shape[labels.index(i)]
        known, runtime = known * (n or 1), runtime or n is None
    return known, runtime


def _matrix_product(
    a: Node, la: str, b: Node, lb: str, kept: tuple[Axis, ...], out: str, rules: Rewrites
) -> Node | None:
    has_a, has_b, keep = [*a.type.axes, *la], [*b.type.axes, *lb], {*kept, *out}
    if any(x in has_b and x in keep for x in has_a):
        return None
    inner = [x for x in has_a if x in has_b]
    rows, cols = [x for x in has_a if x in keep], [x for x in has_b if x in keep]
    if any(isinstance(x, Axis) for x in cols):
        if any(isinstance(x, Axis) for x in rows):
            return None
        a, la, b, lb, rows, cols = b, lb, a, la, cols, rows
    elif not any(isinstance(x, Axis) for x in rows) and out and out[0] in cols:
        a, la, b, lb, rows, cols = b, lb, a, la, cols, rows
    m, n, k = _known_extent(rows, a, la), _known_extent(cols, b, lb), _known_extent(inner, a, la)
    least = rules.product if m[1] or n[1] or k[1] else rules.single
    if not inner or m[0] * n[0] * k[0] < least or (n == (1, False) and m[0] == 1) or (k == (1, False)):
        return None
    left, right = _gemm_operand(a, la, rows, inner), _gemm_operand(b, lb, inner, cols)
    if left is None or right is None:
        return None
    labels = "".join(x for x in (*rows, *cols) if isinstance(x, str))
    sizes = {**dict(zip(la, a.type.shape, strict=True)), **dict(zip(lb, b.type.shape, strict=True))}
    type_ = Type(kept, tuple(sizes[c] for c in labels))
    core = make("gemm", left[0], right[0], type=type_, rows=tuple(rows), cols=tuple(cols), inner=tuple(inner),
                a=left[1], b=right[1])  # fmt: skip
    return ops.transpose(core, tuple(labels.index(c) for c in out)) if labels != out else core


def _gemm_operand(
    x: Node, labels: str, first: list[ContractionLabel], second: list[ContractionLabel]
) -> tuple[Node, str] | None:
    """`x` (copied where needed) and its labels, such that each of the two groups of loops has a single stride."""
    ordered = all([c for c in labels if c in g] == [c for c in g if isinstance(c, str)] for g in (first, second))
    if ordered and all(has_single_stride(x, labels, g) for g in (first, second)) and _has_unit_stride(x, labels):
        return x, labels
    axes = x.type.axes
    lead = first if (axes and axes[0] in first) or not axes else second
    rest = second if lead is first else first
    named = [a for a in axes if a in lead]
    if tuple(named) != axes[: len(named)] or (len(named) < len(axes) and any(isinstance(i, str) for i in lead)):
        return None
    order = "".join([i for i in lead if isinstance(i, str)] + [i for i in rest if isinstance(i, str)])
    if order != labels:
        x = ops.transpose(x, tuple(labels.index(c) for c in order))
    return contiguous_copy(x), order


def group_strides(x: Node, labels: str, group: Sequence[ContractionLabel]) -> list[tuple[Any, Any]] | None:
    """(size, memory stride) of each loop of `group` in operand `x`, innermost last; None where x is not affine."""
    view = resolve_view(x, {})
    if view is None:
        return None
    steps = axis_strides(view.base.type.axes, view.base.type.event_size)
    keys = [i if isinstance(i, Axis) else labels.index(i) for i in group]
    order = [d.key for d in dims_of(x.type.axes, x.type.shape)]
    out = []
    for key in sorted((k for k in keys if k in order), key=order.index):
        size = axis_size(key) if isinstance(key, Axis) else x.type.shape[key]
        moved = [steps[a] for a, k in view.axes.items() if k == key]
        out.append((size, moved[0] if moved else view.coefs.get(key, 0)))
    return out


def has_single_stride(x: Node, labels: str, group: Sequence[ContractionLabel]) -> bool:
    """Whether the loops of `group` merge into one with a constant stride."""
    chain = group_strides(x, labels, group)
    if chain is None:
        return False
    return all(Poly.of(s) == Poly.of(t) * Poly.of(m) for (_, s), (m, t) in itertools.pairwise(chain))


def _has_unit_stride(x: Node, labels: str) -> bool:
    """Whether some loop of `x` walks through adjacent entries (BLAS needs it) and none stands still."""
    chain = group_strides(x, labels, [*x.type.axes, *labels]) or []
    steps = [Poly.of(s).constant for _, s in chain]
    return 0 not in steps and (1 in steps or not steps)


def _sum_of_products(
    a: Node, la: str, b: Node, lb: str, kept: tuple[Axis, ...], out: str, sizes: dict[str, int]
) -> Node:
    summed = "".join(c for c in sizes if c not in out and (c in la or c in lb))
    # The innermost loop runs over adjacent entries; sums over other loops add up whole rows.
    first = bool(summed and out) and max(la, lb, key=len)[-1] in out
    order = summed + out if first else out + summed
    axes = tuple(dict.fromkeys((*a.type.axes, *b.type.axes)))
    shape = tuple(sizes[c] for c in order)
    sides = []
    for x, lx in ((a, la), (b, lb)):
        places = [order.index(c) for c in lx]
        x = ops.transpose(x, tuple(sorted(range(len(lx)), key=places.__getitem__)))
        x = ops.reshape(x, tuple(sizes[c] if c in lx else 1 for c in order))
        sides.append(ops.expand(x, axes, shape))
    over = tuple(x for x in sides[0].type.axes if x not in kept)
    dims = tuple(d for d, c in enumerate(order) if c in summed)
    product = make("mul", *sides)
    return make("sum", product, axes=over, dims=dims) if over or dims else product
