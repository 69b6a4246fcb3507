"""Lowering: the last rewrites of the IR before scheduling, towards what the backends can run.

Markers disappear; a `contract` becomes either a `gemm` (two groups of loops multiplied over a third) or a sum of
products for the fuser; views that no affine map can express get a copy (`copy`) below them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ppl.compiler.lower.copies import copied, in_memory, stored_rows, with_copies
from ppl.compiler.lower.draws import lower_draw
from ppl.compiler.lower.loops.turns import lower_loop
from ppl.compiler.lower.matrices import RULES as MATRICES
from ppl.compiler.lower.short import flattened
from ppl.compiler.lower.tables import table_product
from ppl.compiler.lower.target import NEVER, Rewrites
from ppl.compiler.lower.views import Poly, axis_size, axis_strides, dims_of, resolve, row_axis
from ppl.ir import ops
from ppl.ir.node import Node, make, rebuild, remake
from ppl.ir.op_facts import LANES
from ppl.ir.types import Axis, Type

Label = str | Axis


def lower(outputs: Sequence[Node], rules: Rewrites) -> list[Node]:
    """Rewrite `outputs` into the ops that the scheduler knows, as a target's `rules` say; values are unchanged."""
    inside = replace(rules, table_width=NEVER)  # where steps of their own would be called once for every step of a loop

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        if node.op == "loop":
            return lower_loop(node, args, lambda outputs: lower(outputs, inside))
        return _visit(node, args, rules)

    return with_copies(rebuild(outputs, visit))


def _visit(node: Node, args: tuple[Node, ...], rules: Rewrites) -> Node:
    if node.op in ("stop", "scale_grad", "kept", "stopped"):
        return args[0]
    if node.op == "cast" and args[0].type.dtype == node.attrs["dtype"]:
        return args[0]
    if node.op == "contract":
        return _contract(node, args[0], args[1], rules)
    if node.op == "column_dot":
        return remake(node, tuple(stored_rows(x) for x in args))
    if node.op in MATRICES:
        return MATRICES[node.op](node, *args)
    if node.op in ("external", "cumsum"):
        return remake(node, tuple(in_memory(x) for x in args))
    if node.op == "take" and args[0].type.shape[0] == 1:  # the index is clamped to the only entry
        shape = (*(1 for _ in args[1].type.shape), *args[0].type.shape[1:])
        return ops.expand(ops.reshape(args[0], shape), (), node.type.shape)
    if node.op == "take" and _few(node, _one_table(args[0]), rules):
        return _chosen(node, _one_table(args[0]), args[1])
    if node.op in LANES:
        return lower_draw(node, args, rules)
    return flattened(node, args, rules) or remake(node, args)


def _one_table(table: Node) -> Node:
    """`table` before broadcasts over axes."""
    while table.op == "expand" and table.args[0].type.shape == table.type.shape:
        table = table.args[0]
    return table


def _few(node: Node, table: Node, rules: Rewrites) -> bool:
    """Whether many entries are taken from a table of a few numbers that is the same in every row."""
    shape = table.type.shape
    rows = row_axis(node.type.axes) is not None and row_axis(table.type.axes) is None
    return rows and len(shape) == 1 and 1 < shape[0] <= rules.choices and table.type.dtype == "float"


def _chosen(node: Node, table: Node, index: Node) -> Node:
    """`take` by comparisons: they vectorise, and clamp the index; reading memory lane by lane is slower."""
    axes, shape = node.type.axes, node.type.shape
    size = table.type.shape[0]
    entries = [ops.reshape(ops.window(table, ((k, 1, 1),)), ()) for k in range(size)]
    found = ops.expand(entries[-1], axes, shape)
    for k in reversed(range(size - 1)):
        found = ops.where(ops.less_equal(index, k), ops.expand(entries[k], axes, shape), found)
    return found


def double_sums(outputs: Sequence[Node], scalars: int) -> tuple[list[Node], set[Node]]:
    """Give the sums over rows below the first `scalars` outputs accumulators in float64.

    Such a sum is split, so that what it adds up within a row stays in the program's float type.
    """
    found: set[Node] = set()
    stack, seen = list(outputs[:scalars]), set(outputs[:scalars])
    while stack:
        node = stack.pop()
        row = row_axis(node.args[0].type.axes) if node.op == "sum" else None
        if row is not None and row in node.attrs["axes"] and not node.type.axes and node.type.event_size == 1:
            found.add(node)
        else:
            stack += [a for a in node.args if not a.type.axes and a not in seen and node.op != "get"]
            seen.update(node.args)
    in_double: set[Node] = set()

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        if node not in found:
            return remake(node, args)
        row = row_axis(args[0].type.axes)
        rest, dims = tuple(a for a in node.attrs["axes"] if a != row), node.attrs["dims"]
        inner = make("sum", args[0], axes=rest, dims=dims) if rest or dims else args[0]
        outer = make("sum", inner, axes=(row,), dims=())
        in_double.add(outer)
        return outer

    return (rebuild(outputs, visit), in_double) if found else (list(outputs), in_double)


def _strip(x: Node, labels: str) -> tuple[Node, str]:
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


def _contract(node: Node, a: Node, b: Node, rules: Rewrites) -> Node:
    out, over = node.attrs["out"], set(node.attrs["over"])
    sizes = {c: n for side, x in (("a", a), ("b", b)) for c, n in zip(node.attrs[side], x.type.shape, strict=True)}
    axes = a.type.axes
    (a, la), (b, lb) = _strip(a, node.attrs["a"]), _strip(b, node.attrs["b"])
    a, la, b, lb = _sum_alone(a, la, b, lb, out, over)
    has_a, has_b = {*la, *a.type.axes}, {*lb, *b.type.axes}
    kept = [x for x in axes if x not in over and (x in has_a or x in has_b)]
    labels = "".join(c for c in out if c in has_a or c in has_b)
    dead: list[Label] = [x for x in (*over, *sizes) if x not in has_a | has_b and (x in over or x not in out)]
    operands = a, la, b, lb, tuple(kept), labels
    core = table_product(*operands, in_memory, rules) or _gemm(*operands, rules) or _products(*operands, sizes)
    for x in dead:
        core = ops.mul(core, ops.size(x) if isinstance(x, Axis) else float(sizes[x]))
    core = ops.reshape(core, tuple(sizes[c] if c in labels else 1 for c in out))
    return ops.expand(core, node.type.axes, node.type.shape)


def _sum_alone(a: Node, la: str, b: Node, lb: str, out: str, over: set[Axis]) -> tuple[Node, str, Node, str]:
    """Sum out the loops that only one operand has before multiplying."""
    done: list[tuple[Node, str]] = []
    for x, lx, other, lo in ((a, la, b, lb), (b, lb, a, la)):
        axes = tuple(i for i in x.type.axes if i in over and i not in other.type.axes)
        dims = tuple(d for d, c in enumerate(lx) if c not in out and c not in lo)
        rest = "".join(c for d, c in enumerate(lx) if d not in dims)
        done.append((make("sum", x, axes=axes, dims=dims) if axes or dims else x, rest))
    return (*done[0], *done[1])


def _extent(items: Sequence[Label], x: Node, labels: str) -> tuple[int, bool]:
    """Product of the known sizes of `items`, and whether some are known only at run time."""
    known, runtime = 1, False
    for i in items:
        n = i.size if isinstance(i, Axis) else x.type.shape[labels.index(i)]
        known, runtime = known * (n or 1), runtime or n is None
    return known, runtime


def _gemm(a: Node, la: str, b: Node, lb: str, kept: tuple[Axis, ...], out: str, rules: Rewrites) -> Node | None:
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
    m, n, k = _extent(rows, a, la), _extent(cols, b, lb), _extent(inner, a, la)
    least = rules.product if m[1] or n[1] or k[1] else rules.single
    if not inner or m[0] * n[0] * k[0] < least or (n == (1, False) and m[0] == 1) or (k == (1, False)):
        return None
    left, right = _operand(a, la, rows, inner), _operand(b, lb, inner, cols)
    if left is None or right is None:
        return None
    labels = "".join(x for x in (*rows, *cols) if isinstance(x, str))
    sizes = {**dict(zip(la, a.type.shape, strict=True)), **dict(zip(lb, b.type.shape, strict=True))}
    type_ = Type(kept, tuple(sizes[c] for c in labels))
    core = make("gemm", left[0], right[0], type=type_, rows=tuple(rows), cols=tuple(cols), inner=tuple(inner),
                a=left[1], b=right[1])  # fmt: skip
    return ops.transpose(core, tuple(labels.index(c) for c in out)) if labels != out else core


def _operand(x: Node, labels: str, first: list[Label], second: list[Label]) -> tuple[Node, str] | None:
    """`x` (copied where needed) and its labels, such that each of the two groups of loops has a single stride."""
    ordered = all([c for c in labels if c in g] == [c for c in g if isinstance(c, str)] for g in (first, second))
    if ordered and all(groups_strided(x, labels, g) for g in (first, second)) and _unit(x, labels):
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
    return copied(x), order


def group_strides(x: Node, labels: str, group: Sequence[Label]) -> list[tuple[Any, Any]] | None:
    """(size, memory stride) of each loop of `group` in operand `x`, innermost last; None where x is not affine."""
    view = resolve(x, {})
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


def groups_strided(x: Node, labels: str, group: Sequence[Label]) -> bool:
    """Whether the loops of `group` merge into one with a constant stride."""
    chain = group_strides(x, labels, group)
    if chain is None:
        return False
    return all(Poly.of(s) == Poly.of(t) * Poly.of(m) for (_, s), (m, t) in itertools.pairwise(chain))


def _unit(x: Node, labels: str) -> bool:
    """Whether some loop of `x` walks through adjacent entries (BLAS needs it) and none stands still."""
    chain = group_strides(x, labels, [*x.type.axes, *labels]) or []
    steps = [Poly.of(s).constant for _, s in chain]
    return 0 not in steps and (1 in steps or not steps)


def _products(a: Node, la: str, b: Node, lb: str, kept: tuple[Axis, ...], out: str, sizes: dict[str, int]) -> Node:
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
