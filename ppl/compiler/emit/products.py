"""Products: write calls of BLAS, and functions for products with rows of tables.

A matrix product is one call for each pair of operands: of BLAS, or of a kernel that looks for zeros and bits first.
A product with rows of a table is one function
for the rows of a tile, in which sizes are constants; it asks for table rows some rows of the tile earlier
(`prefetch`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ppl.compiler.emit.addresses import RowAxis, product_view_from, tile_start, view_from
from ppl.compiler.emit.code import (
    Argument,
    Assign,
    Choice,
    Do,
    Expression,
    ExpressionLike,
    Function,
    Name,
    Statement,
    Tuple,
    add_to,
    all_of,
    as_expression,
    assign,
    call,
    compare,
    do,
    loop,
    name_tuple,
    sum_of,
    when,
)
from ppl.compiler.emit.scalar import ONE, ZERO, kernel_call, to_int
from ppl.compiler.lower.products import group_strides, operand_pairs
from ppl.compiler.lower.sizes import Poly, axis_size
from ppl.compiler.lower.views import FixedIndex
from ppl.compiler.schedule.builder import ScheduleBuilder
from ppl.compiler.schedule.stages import Opaque, Stage
from ppl.ir.node import Node
from ppl.ir.types import Axis
from ppl.tuning import CACHE_LINE, TABLE_ROWS_AT_ONCE

NARROW, NARROW_RESULT = 16, 64
"""Columns of data or binary samples, and columns of the result, up to which products take them as dense. [tuned] Zen 4,
100 rows of 13 by 50 columns: 2.2 µs instead of 2.5 (numbers), 3.4 (one in a row) or 5.7 (bits); by 400, looking for
zeros gains. The other ways also take three seconds to compile for the first time.
"""


def emit_gemm(
    step: Opaque, builder: ScheduleBuilder, stage: Stage, dtype: str, name: str = "gemm"
) -> list[Do | Assign]:
    """The calls for a `gemm` node; where it is shared, for the rows of the result that belong to `slab`.

    `name` is that of the kernel, of which there is one for operands that may be mostly zeros.
    """
    value, row, slab = step.target, stage.row, Name("slab")
    assert value.buffer is not None
    out = tile_start(value, row)
    lines: list[Do | Assign] = []
    if step.shared:
        ends = [call("partition_start", to_int(step.shared), x, "slabs") for x in (slab, slab + 1)]
        lines.append(assign(name_tuple("lo", "hi"), Tuple(tuple(ends))))
    for i, (attrs, a, b) in enumerate(operand_pairs(step.node)):
        flags, (m, n, k), (lda, ldb), apart = gemm_layout(attrs, a, b, row)
        sparse = "data_" if _may_be_sparse(builder.access(a).value.node) and not _is_narrow(m, n, k) else ""
        at, size, more = out, as_expression(m), None
        if step.shared:
            assert apart is not None
            at, size, more = out + Name("lo") * n, Name("hi") - "lo", Name("lo") * apart
        left, right = product_operand(builder, a, row, more), product_operand(builder, b, row)
        beta, into = ONE if i else _beta(step, stage), product_view_from(value, at, "a product")
        operands = *flags, size, n, k, ONE, left, lda, right, ldb, beta, into, n
        lines.append(Do(kernel_call(f"{sparse}{name}_{'f32' if dtype == 'float32' else 'f64'}", *operands)))
    return lines


def _beta(step: Opaque, stage: Stage) -> Expression:
    """What the old content of the result counts."""
    if not (step.shared or step.target.accumulates):
        return ZERO
    first = [compare(f"first_{stage.name}", "==", 0)] if stage.partitioned else []
    first += [compare("t0", "==", "lo")] if step.target.accumulates else []
    return Choice(all_of(first), ZERO, ONE)


def _may_be_sparse(node: Node) -> bool:
    """Whether many entries may be 0, or all 0 or 1: data, and binary samples, several of them side by side included."""
    if node.op in ("route", "concat"):
        return all(map(_may_be_sparse, node.args))
    return node.op == "input" or (node.op == "cast" and node.args[0].type.dtype == "bool")


def _is_narrow(m: Poly, n: Poly, k: Poly) -> bool:
    """Whether looking for zeros does not pay: the first operand has few columns or rows, and the result few columns."""
    sizes = [x.constant for x in (m, k) if x.constant is not None]
    return min(sizes, default=NARROW + 1) <= NARROW and n.constant is not None and n.constant <= NARROW_RESULT


def _merged_stride(chain: Sequence[tuple[Any, Any]], sizes: Sequence[Poly]) -> tuple[Poly, Poly | None]:
    """Size of a merged group of loops and its stride (None for a single entry)."""
    total = Poly.of(1)
    for size in sizes:
        total = total * size
    return total, Poly.of(chain[-1][1]) if chain else None


def gemm_layout(attrs: Mapping[str, Any], a: Node, b: Node, row: RowAxis) -> tuple[Any, Any, Any, Poly | None]:
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
            groups[side + group] = _merged_stride(chain, sizes)
    (m, am), (k, ak) = groups["arows"], groups["ainner"]
    (_, bk), (n, bn) = groups["binner"], groups["bcols"]
    one = Poly.of(1)
    ta = not (ak is None or ak == one) and am is not None
    tb = not (bn is None or bn == one) and bk is not None
    return (ta, tb), (m, n, k), ((ak if ta else am) or k, (bn if tb else bk) or n), am


PREFETCHED_ROW = Name("r") + "AHEAD"
"""The row whose table rows are asked for at row `r`."""


def table_product_function(name: str, node: Node) -> Function:
    """The function `name(out, table, index, x, n)`, which carries out the step `node` for n rows."""
    (length, width), count = node.args[0].type.shape, node.args[1].type.event_size
    rows = TableRows(count, width, length - 1)
    write = (_all_dots if node.op == "table_dot" else _all_sums) if count <= TABLE_ROWS_AT_ONCE else _table_row_loop
    what = "Products" if node.op == "table_dot" else "Sums"
    asked = prefetch("to_read", "table", rows.find(PREFETCHED_ROW, "k"), width)
    body = [when(compare(PREFETCHED_ROW, "<", "n"), [loop("k", count, asked)]), *write(node.op, rows)]
    arguments = tuple(map(Argument, ("out", "table", "index", "x", "n")))
    doc = f"{what} of {count} table rows of {width} entries."
    return Function(name, arguments, (do("prefer_full_width"), loop("r", "n", body)), doc)


def prefetch(how: str, array: str, start: ExpressionLike, size: int) -> list[Statement]:
    """Statements that ask for `size` entries of `array` from `start` on; `how` is "to_read" or "to_write"."""
    return [assign("at", start), loop("j", size, [do(how, array, Name("at") + "j")], 0, CACHE_LINE)]


def clamp_index(index: ExpressionLike, last: int) -> Expression:
    """An index of a table, at most its `last` row."""
    return call("min", call("max", index, 0), last)


def row_view(array: str, width: int) -> Expression:
    """Row `r` of an array whose rows have `width` entries."""
    return Name(array).cut(Name("r") * width, width)


class TableRows:
    """The `count` table rows of `width` entries that every row `r` names, up to the `last` one of the table."""

    def __init__(self, count: int, width: int, last: int):
        self.count, self.width, self.last = count, width, last

    def entry(self, r: Expression, k: ExpressionLike) -> Expression:
        """Where index, result or coefficient number `k` of row `r` lies."""
        return r if self.count == 1 else r * self.count + as_expression(k)

    def find(self, r: Expression, k: ExpressionLike) -> Expression:
        """Where table row number `k` of row `r` begins."""
        return clamp_index(to_int(Name("index").at(self.entry(r, k))), self.last) * self.width

    def named(self) -> list[Statement]:
        """The table rows `t_0`, `t_1`, … of row `r`."""
        lines: list[Statement] = []
        for k in range(self.count):
            lines += [assign(f"at_{k}", self.find(Name("r"), k)), assign(f"t_{k}", _table_row(f"at_{k}", self.width))]
        return lines


def _table_row(at: str, width: int) -> Expression:
    return Name("table").cut(at, width)


def _number_in_row(array: str, count: int, k: ExpressionLike) -> Expression:
    """Number `k` of the `count` ones of row `r`."""
    return Name(array).at(Name("r") * count + as_expression(k))


def _all_dots(op: str, rows: TableRows) -> list[Statement]:
    """All products in one loop."""
    count, width, each = rows.count, rows.width, range(rows.count)
    lines = [*rows.named(), assign("y", row_view("x", width)), *(assign(f"s_{k}", ZERO) for k in each)]
    inner = [add_to(f"s_{k}", Name(f"t_{k}").at("j") * Name("y").at("j")) for k in each]
    return [*lines, loop("j", width, inner), *(assign(_number_in_row("out", count, k), f"s_{k}") for k in each)]


def _all_sums(op: str, rows: TableRows) -> list[Statement]:
    """The sum of all rows in one loop."""
    count, width, each = rows.count, rows.width, range(rows.count)
    lines = [*rows.named(), assign("y", row_view("out", width))]
    lines += [assign(f"c_{k}", _number_in_row("x", count, k)) for k in each]
    summed = sum_of(Name(f"c_{k}") * Name(f"t_{k}").at("j") for k in each)
    return [*lines, loop("j", width, [assign(Name("y").at("j"), summed)])]


def _table_row_loop(op: str, rows: TableRows) -> list[Statement]:
    """A loop over the table rows."""
    count, width, y, t = rows.count, rows.width, Name("y").at("j"), Name("t").at("j")
    find = [assign("at", rows.find(Name("r"), "k")), assign("t", _table_row("at", width))]
    if op == "table_dot":
        summed, done = loop("j", width, [add_to("s", t * y)]), assign(_number_in_row("out", count, "k"), "s")
        turn = [*find, assign("s", ZERO), summed, done]
        return [assign("y", row_view("x", width)), loop("k", count, turn)]
    turn = [*find, assign("c", _number_in_row("x", count, "k")), loop("j", width, [add_to(y, Name("c") * t)])]
    return [assign("y", row_view("out", width)), assign(Name("y").whole(), ZERO), loop("k", count, turn)]


def product_operand(builder: ScheduleBuilder, node: Node, row: RowAxis, more: Expression | None = None) -> Expression:
    """The array that `node` lies in, from the tile's first row on, `more` entries later."""
    read = builder.access(node)
    offset = Poly.of(read.view.offset)
    for axis, key in read.view.axes.items():
        if isinstance(key, FixedIndex):
            offset = offset + read.value.strides[axis] * key.position
    if row is not None and row in read.view.coefs:
        offset = offset + Poly.of("t0") * read.view.coefs[row]
    at = tile_start(read.value, row)
    at = at + offset if offset.terms else at
    return product_view_from(read.value, at if more is None else at + more, "an operand")


def emit_table_product(step: Opaque, builder: ScheduleBuilder, row: RowAxis, name: str) -> list[Statement]:
    """The call of the function `name` for a product with rows of a table."""
    out = view_from(step.target, tile_start(step.target, row), name)
    return [Do(call(name, out, *(product_operand(builder, x, row) for x in step.node.args), "n"))]
