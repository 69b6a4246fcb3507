"""Emission of products: one call of BLAS, or of what looks for zeros and bits first, for each pair of operands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ppl.compiler.emit.address import start_of
from ppl.compiler.emit.checks import tail
from ppl.compiler.emit.code import (
    Assign,
    Choice,
    Do,
    Expression,
    Name,
    Tuple,
    assign,
    both,
    call,
    compare,
    names,
    term,
)
from ppl.compiler.emit.scalar import ONE, ZERO, kernel, to_int
from ppl.compiler.emit.steps import Row, operand
from ppl.compiler.lower.joined import pairs
from ppl.compiler.lower.rewrites import group_strides
from ppl.compiler.lower.views import Poly, axis_size
from ppl.compiler.schedule.stages import Opaque, Stage
from ppl.compiler.schedule.values import Builder
from ppl.ir.node import Node
from ppl.ir.types import Axis

NARROW, NARROW_RESULT = 16, 64
"""Columns of data or binary samples, and columns of the result, up to which products take them as dense. [tuned] Zen 4,
100 rows of 13 by 50 columns: 2.2 µs instead of 2.5 (numbers), 3.4 (one in a row) or 5.7 (bits); by 400, looking for
zeros gains. The other ways also take three seconds to compile for the first time.
"""


def gemm(step: Opaque, builder: Builder, stage: Stage, dtype: str, name: str = "gemm") -> list[Do | Assign]:
    """The calls for a `gemm` node; where it is shared, for the rows of the result that belong to `slab`.

    `name` is that of the kernel, of which there is one for operands that may be mostly zeros.
    """
    value, row, slab = step.target, stage.row, Name("slab")
    assert value.buffer is not None
    out = start_of(value, row)
    lines: list[Do | Assign] = []
    if step.shared:
        ends = [call("share_start", to_int(step.shared), x, "slabs") for x in (slab, slab + 1)]
        lines.append(assign(names("lo", "hi"), Tuple(tuple(ends))))
    for i, (attrs, a, b) in enumerate(pairs(step.node)):
        flags, (m, n, k), (lda, ldb), apart = layout(attrs, a, b, row)
        sparse = "data_" if _may_be_sparse(builder.access(a).value.node) and not _is_narrow(m, n, k) else ""
        at, size, more = out, term(m), None
        if step.shared:
            assert apart is not None
            at, size, more = out + Name("lo") * n, Name("hi") - "lo", Name("lo") * apart
        left, right = operand(builder, a, row, more), operand(builder, b, row)
        beta, into = ONE if i else _beta(step, stage), tail(value, at, "a product")
        operands = *flags, size, n, k, ONE, left, lda, right, ldb, beta, into, n
        lines.append(Do(kernel(f"{sparse}{name}_{'f32' if dtype == 'float32' else 'f64'}", *operands)))
    return lines


def _beta(step: Opaque, stage: Stage) -> Expression:
    """What the old content of the result counts."""
    if not (step.shared or step.target.accumulates):
        return ZERO
    first = [compare(f"first_{stage.name}", "==", 0)] if stage.owned else []
    first += [compare("t0", "==", "lo")] if step.target.accumulates else []
    return Choice(both(first), ZERO, ONE)


def _may_be_sparse(node: Node) -> bool:
    """Whether many entries may be 0, or all 0 or 1: data, and binary samples, several of them side by side included."""
    if node.op in ("route", "concat"):
        return all(map(_may_be_sparse, node.args))
    return node.op == "input" or (node.op == "cast" and node.args[0].type.dtype == "bool")


def _is_narrow(m: Poly, n: Poly, k: Poly) -> bool:
    """Whether looking for zeros does not pay: the first operand has few columns or rows, and the result few columns."""
    sizes = [x.constant for x in (m, k) if x.constant is not None]
    return min(sizes, default=NARROW + 1) <= NARROW and n.constant is not None and n.constant <= NARROW_RESULT


def _merged(chain: Sequence[tuple[Any, Any]], sizes: Sequence[Poly]) -> tuple[Poly, Poly | None]:
    """Size of a merged group of loops and its stride (None for a single entry)."""
    total = Poly.of(1)
    for size in sizes:
        total = total * size
    return total, Poly.of(chain[-1][1]) if chain else None


def layout(attrs: Mapping[str, Any], a: Node, b: Node, row: Row) -> tuple[Any, Any, Any, Poly | None]:
    """Which operands are transposed, the sizes m, n and k, the distances between stored rows, and what lies between
    the places in `a` of two rows of the result."""
    groups: dict[str, tuple[Poly, Poly | None]] = {}
    for side, x in zip("ab", (a, b), strict=True):
        for group in ("rows", "inner") if side == "a" else ("inner", "cols"):
            chain = group_strides(x, attrs[side], attrs[group])
            assert chain is not None
            sizes = []
            for item in attrs[group]:
                if item == row:
                    sizes.append(Poly.of("n"))
                elif isinstance(item, Axis):
                    sizes.append(axis_size(item))
                else:
                    sizes.append(Poly.of(x.type.shape[attrs[side].index(item)]))
            groups[side + group] = _merged(chain, sizes)
    (m, am), (k, ak) = groups["arows"], groups["ainner"]
    (_, bk), (n, bn) = groups["binner"], groups["bcols"]
    one = Poly.of(1)
    ta = not (ak is None or ak == one) and am is not None
    tb = not (bn is None or bn == one) and bk is not None
    return (ta, tb), (m, n, k), ((ak if ta else am) or k, (bn if tb else bk) or n), am
